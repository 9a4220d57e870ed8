//! The two languages of the pages.

/// The language of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lang {
    En,
    Zh,
}

impl Lang {
    /// The one that was chosen, or the first that a browser accepts.
    pub(super) fn of(chosen: Option<&str>, accepted: Option<&str>) -> Lang {
        match chosen {
            Some("zh") => return Lang::Zh,
            Some("en") => return Lang::En,
            _ => {}
        }
        // In the order in which a browser writes them, which is that of its user's wishes.
        for language in accepted.unwrap_or_default().split(',') {
            let language = language.trim().to_ascii_lowercase();
            if language.starts_with("zh") {
                return Lang::Zh;
            }
            if language.starts_with("en") {
                return Lang::En;
            }
        }
        Lang::En
    }

    /// The tag of the page's `lang`.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Zh => "zh-CN",
        }
    }

    /// One of two wordings.
    pub(super) fn say<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Lang::En => en,
            Lang::Zh => zh,
        }
    }

    /// Seconds as one says them.
    pub(super) fn span(self, seconds: u64) -> String {
        let (d, h, min, s) = match self {
            Lang::En => (" d", " h", " min", " s"),
            Lang::Zh => ("天", "小时", "分", "秒"),
        };
        let gap = self.say(" ", "");
        match seconds {
            0..60 => format!("{seconds}{s}"),
            60..600 => format!("{}{min}{gap}{}{s}", seconds / 60, seconds % 60),
            600..3_600 => format!("{}{min}", seconds / 60),
            3_600..86_400 => {
                format!("{}{h}{gap}{}{min}", seconds / 3_600, seconds % 3_600 / 60)
            }
            _ => format!(
                "{}{d}{gap}{}{h}",
                seconds / 86_400,
                seconds % 86_400 / 3_600
            ),
        }
    }

    /// How a job ended, or where it is.
    pub(super) fn state(self, state: &str) -> &str {
        let (en, zh) = match state {
            "completed" => ("completed", "已完成"),
            "rejected" => ("rejected", "已退回"),
            "failed" => ("failed", "失败"),
            "in_hand" => ("in hand", "处理中"),
            "waiting" => ("waiting", "等待重试"),
            "unknown" => ("unknown", "未知"),
            "crashed" => ("crashed", "多次崩溃"),
            "unrouted" => ("unrouted", "无法投递"),
            "stuck" => ("stuck", "无法处置"),
            other => (other, other),
        };
        self.say(en, zh)
    }

    /// The name of a queue.
    pub(super) fn queue(self, name: &str) -> &str {
        let (en, zh) = match name {
            "bulk" => ("bulk", "普通"),
            "urgent" => ("urgent", "加急"),
            "retry" => ("retry", "等待重试"),
            "dead" => ("dead", "死信"),
            "unrouted" => ("unrouted", "无法投递"),
            other => (other, other),
        };
        self.say(en, zh)
    }
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_that_is_ours_is_spoken() {
        let zh = [
            (None, Some("zh-CN,zh;q=0.9,en;q=0.8")),
            (None, Some("fr, zh-TW")),
            (Some("zh"), Some("en-US")),
        ];
        for (chosen, accepted) in zh {
            assert_eq!(Lang::of(chosen, accepted), Lang::Zh);
        }
        for (chosen, accepted) in [
            (None, None),
            (Some("en"), Some("zh")),
            (Some("x"), Some("fr")),
        ] {
            assert_eq!(Lang::of(chosen, accepted), Lang::En);
        }
    }

    #[test]
    fn numbers_and_spans_read_well() {
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(number(12), "12");
        assert_eq!(Lang::En.span(7_500), "2 h 5 min");
        assert_eq!(Lang::Zh.span(90), "1分30秒");
    }
}
