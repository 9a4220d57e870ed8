//! Hard cases: reports at the ends of what the form allows, made so that nobody has to wait for
//! a real one to see what it looks like. All but the widest figures keep every rule.

use super::official::{FORMS, Form, Kind};
use serde_json::{Value, json};

use super::jobs::{CORPUS, consistent, corpus, remove};

/// A report that is hard to set.
pub struct Case {
    /// Its name, which its pictures have too.
    pub name: &'static str,
    /// What is hard about it.
    pub what: &'static str,
    /// The report's job.
    pub job: Value,
}

/// The case of which only the first two pages and the last are looked at.
pub const HUNDRED: &str = "hundred-pages";

/// An agency's name of forty characters, the longest that is known.
const LONGEST: &str =
    "新疆维吾尔自治区克孜勒苏柯尔克孜自治州阿合奇县哈拉布拉克乡人民政府党政综合办公室";

/// Characters of names and places that few faces have; those of the repository draw them in every
/// role.
const RARE: &str = "\
    䶮曌祎堃喆㛃㙍㻬䴔䴖㟃㬎㳇㸆㺄㽏䃅䅟䐃䓖䓛䓨䓫䓬䗖䗛䗪䗴䜣䝙䢺䢼䣘䥽䦃䲟䲠䲢䴓䴕\
    䴗䴘䴙䶊𠅤𠙶𠳐𡎚𡐓𢫕𢫬𣗋𣲘𣲗𤋮𤩽𤫉𥕢𥖨𥻗𦈡𦒍𦙶𦝼𦭜𦰡𧿹𨐈𨙸𨚕𨟠𨭉𨱇𨱏𨱑𨱔𨺙𩽾𩾃𩾌\
    𪟝𪣻𪤗𪨰𪨶𪩘𪾢𫄧𫄨𫄷𫄸𫇭𫌀𫍙𫍣𫍯𫍲𫍽𫓧𫓯𫓶𫔍𫔎𫖮𫖯𫖳𫗧𫗴𫘝𫘦𫘧𫘨𫘪𫛭𫟅𫟦𫟷𫟼𫠊𫠜\
    𫢸𫫇𫭟𫭢𫭼𫮃𫰛𫵷𫶇𫷷𫸩𬀩𬀪𬂩𬃊𬇕𬇙𬇹𬉼𬊈𬊤𬌗𬍛𬍡𬍤𬒈𬒔𬒗𬕂𬘓𬘘𬘡𬘩𬘫𬘬𬘭𬘯𬙂𬙊𬙋\
    𬜬𬜯𬞟𬟁𬟽𬣙𬣞𬣡𬣳𬤇𬤊𬤝𬨂𬨎𬩽𬪩𬬩𬬭𬬮𬬱𬬸𬬹𬬻𬬿𬭁𬭊𬭎𬭚𬭛𬭤𬭩𬭬𬭯𬭳𬭶𬭸𬭼𬮱𬮿𬯀\
    𬯎𬱖𬱟𬳵𬳶𬳽𬳿𬴂𬴃𬴊𬶋𬶍𬶏𬶐𬶟𬶠𬶨𬶭𬶮𬷕𬸘𬸚𬸣𬸦𬸪𬹼𬺈𬺓";

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |name, what, job| all.push(Case { name, what, job });
    let [form_2019, form_2021] = FORMS;

    let mut job = plain("longest-agency", form_2021);
    job["data"]["agency"] = json!(LONGEST);
    add(
        "longest-agency",
        "an agency's name of forty characters, in the title and the signature",
        job,
    );

    for (name, form) in [
        ("widest-figures-2019", form_2019),
        ("widest-figures-2021", form_2021),
    ] {
        let mut job = plain(name, form);
        every_count(&mut job, form, &json!(1_000_000_000_000_i64));
        // Every row, column and total the largest that there is: that cannot add up.
        job["on_violation"] = json!("warn");
        add(
            name,
            "10^12, the largest figure, in every cell of every table",
            job,
        );
    }

    let mut job = plain("long-overview", form_2021);
    job["data"]["overview"] = json!(prose(0, 3400));
    add(
        "long-overview",
        "总体情况 of 3,400 characters, where the notice asks for a thousand",
        job,
    );

    let mut job = plain(HUNDRED, form_2021);
    job["data"]["overview"] = json!(prose(3, 57_000));
    add(
        HUNDRED,
        "a hundred pages; here the first, the second and the last",
        job,
    );

    add(
        "every-level",
        "all four levels, on lines of their own and run in",
        every_level(form_2021),
    );

    let mut job = plain("no-introduction", form_2019);
    remove(&mut job, "/data", "introduction");
    add("no-introduction", "no text before section 一", job);

    let mut job = plain("only-zeros", form_2021);
    every_count(&mut job, form_2021, &json!(0));
    job["data"]["proactive_disclosure"]["article_20_8"]["fees"]["amount"] = json!("0");
    add("only-zeros", "nothing but zeros in every table", job);

    add(
        "rare-characters",
        "characters of names and places that few faces have, in every role",
        rare(form_2021),
    );

    for (name, form) in [("notes-2019", form_2019), ("notes-2021", form_2021)] {
        let mut job = plain(name, form);
        for section in ["proactive_disclosure", "requests", "review_and_litigation"] {
            job["data"][section]["notes"] = json!([
                "注：本表数据为本机关及所属单位汇总数，统计口径与上一年度一致。",
                "表中“其他处理”包括申请人主动撤回的申请，以及经补正后仍不属于政府信息公开申请的事项；\
                 同一申请人就同一事项重复提交的，只计一件，其余计入“重复申请”。\n因四舍五入，占比之和可能不等于100%。",
                "数据来源：政府信息公开申请办理系统。",
            ]);
        }
        add(name, "three notes under every table", job);
    }

    for (name, form) in [("remarks-2019", form_2019), ("remarks-2021", form_2021)] {
        let mut job = plain(name, form);
        for section in ["proactive_disclosure", "requests", "review_and_litigation"] {
            remark_everywhere(&mut job["data"][section]);
        }
        add(name, "a remark at every figure of every table", job);
    }

    add(
        "tables",
        "tables in the text: wide, long, over several pages, with long cells",
        tables(form_2021),
    );

    let mut job = plain("one-line", form_2021);
    remove(&mut job, "/data", "introduction");
    remove(&mut job, "/data", "issued_on");
    job["data"]["overview"] = json!(["本年度无应公开事项。"]);
    job["data"]["problems_and_improvements"] = json!(["无。"]);
    job["data"]["other_matters"] = json!(["本年度未收取信息处理费。"]);
    add(
        "one-line",
        "a line a section, no introduction, no date and so no signature",
        job,
    );

    let mut job = plain("empty-sections", form_2019);
    for section in [
        "introduction",
        "overview",
        "problems_and_improvements",
        "other_matters",
    ] {
        job["data"][section] = json!([]);
    }
    add(
        "empty-sections",
        "sections without a word of text, and a signature",
        job,
    );

    let mut job = plain("chosen-title", form_2021);
    job["data"]["title"] =
        json!("中国（某某）自由贸易试验区管理委员会\n关于二〇二三年度\n政府信息公开工作年度报告");
    add("chosen-title", "a title broken by its sender", job);
    all
}

/// The official form's own text for a small report, with figures in every cell that add up.
fn plain(name: &str, form: &'static Form) -> Value {
    let base = if form.edition == "2019" {
        "zibo-bigdata-2020"
    } else {
        "pingtan-2023"
    };
    let mut job = corpus(base);
    let rows = (0..form.rows().len() as u64)
        .map(|row| std::array::from_fn(|kind| (row * 7 + kind as u64 * 5) % 23))
        .collect();
    let results =
        std::array::from_fn(|group| std::array::from_fn(|result| (group + result) as u64));
    consistent(&mut job, form, rows, results);
    job["job_id"] = json!(name);
    if job["data"].get("title").is_some() {
        remove(&mut job, "/data", "title");
    }
    let data = &mut job["data"];
    data["agency"] = json!("某市档案局");
    data["introduction"] = json!([
        "根据《中华人民共和国政府信息公开条例》的规定，编制本报告。报告中所列数据的统计期限为1月1日至12月31日。"
    ]);
    data["overview"] =
        json!(["本机关按照“公开为常态、不公开为例外”的要求，主动公开政府信息1204条。"]);
    data["problems_and_improvements"] = json!(["公开的内容还不够贴近群众需求，下一年将改进。"]);
    data["other_matters"] = json!(["本年度未收取信息处理费。"]);
    job
}

/// Puts a value into every cell of the tables that counts, and money of the same size into the
/// others.
fn every_count(job: &mut Value, form: &Form, value: &Value) {
    fn fill(node: &mut Value, value: &Value) {
        match node {
            Value::Object(fields) => {
                for (name, field) in fields {
                    if name != "notes" {
                        fill(field, value);
                    }
                }
            }
            cell => *cell = value.clone(),
        }
    }
    fill(&mut job["data"]["requests"], value);
    fill(&mut job["data"]["review_and_litigation"], value);
    for (band, item, figure) in form.figures() {
        let cell = &mut job["data"]["proactive_disclosure"][band.field][item.field][figure.field];
        *cell = match figure.kind {
            Kind::Count | Kind::Change => value.clone(),
            Kind::Amount => json!("999999999999.99万元"),
            Kind::AmountWan => json!("999999999999.999999"),
        };
    }
}

/// Adds a remark to every count. A change, 本年增/减, takes none.
fn remark_everywhere(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            for (name, field) in fields {
                if name != "change" {
                    remark_everywhere(field);
                }
            }
        }
        Value::Number(number) => *node = json!({ "value": number, "remark": "其中涉密2件" }),
        _ => {}
    }
}

/// Real paragraphs after the first few, again and again, until there are so many characters.
fn prose(skip: usize, characters: usize) -> Vec<String> {
    let paragraphs: Vec<String> = CORPUS
        .iter()
        .flat_map(|name| {
            let mut job = corpus(name);
            match job["data"]["overview"].take() {
                Value::Array(blocks) => blocks,
                _ => Vec::new(),
            }
        })
        .filter_map(|block| block.as_str().map(str::to_owned))
        .filter(|paragraph| paragraph.chars().count() > 100)
        .collect();
    let mut left = characters;
    let mut text = Vec::new();
    for paragraph in paragraphs.iter().cycle().skip(skip) {
        let paragraph: String = paragraph.chars().take(left).collect();
        left -= paragraph.chars().count();
        text.push(paragraph);
        if left == 0 {
            break;
        }
    }
    text
}

fn every_level(form: &'static Form) -> Value {
    let mut job = plain("every-level", form);
    let text = "本机关按照有关要求，持续做好政府信息公开工作，全年主动公开政府信息1204条，\
                办理政府信息公开申请36件，均在法定期限内答复。";
    job["data"]["overview"] = json!([
        text,
        { "heading": "一、组织领导" },
        text,
        { "heading": "（一）主动公开" },
        text,
        { "heading": "1.规范性文件" },
        text,
        { "heading": "（1）制发与废止" },
        text,
        { "heading": "（二）一个标题长得一行放不下、因而必须转到第二行、而且第二行也应当顶格的依申请公开情况" },
        "（三）政府信息管理。".to_owned() + text,
        "1.清理文件。".to_owned() + text,
        "（1）存量文件。".to_owned() + text,
        "（2）增量文件。".to_owned() + text,
        "2.更新目录。".to_owned() + text,
        "（四）平台建设。".to_owned() + text,
        "二、监督保障。".to_owned() + text,
    ]);
    job["data"]["problems_and_improvements"] =
        json!([{ "heading": "（一）问题" }, text, { "heading": "（二）改进" }, text]);
    job
}

fn rare(form: &'static Form) -> Value {
    let mut job = plain("rare-characters", form);
    let data = &mut job["data"];
    data["agency"] = json!("䶮曌县祎堃镇人民政府");
    data["introduction"] = json!(["联系人：䶮曌、祎堃、喆𬭎；地址：䶮曌县𬇕𬊈路𪣻堰1号。"]);
    data["overview"] = json!([
        { "heading": "（一）䶮曌祎堃喆：人名、地名用字" },
        RARE,
        { "table": {
            "caption": "䶮曌县地名用字",
            "columns": ["地名", "用字", "件数"],
            "rows": [["𪣻堰", "𪣻", 3], ["𬇕水", "𬇕", 5], ["㙍上", "㙍", 8]],
        } },
    ]);
    data["requests"]["notes"] = json!(["㛃、㬎、𫖮、𬸣等字见于申请人姓名。"]);
    job
}

fn tables(form: &'static Form) -> Value {
    let mut job = plain("tables", form);
    let months = (1..=12).map(|month| format!("{month}月"));
    let wide: Vec<String> = std::iter::once("栏目".to_owned()).chain(months).collect();
    let lines = ["政策文件", "政策解读", "回应关切", "规划计划", "财政预决算"];
    let wide_rows: Vec<Vec<Value>> = (1..)
        .zip(lines)
        .map(|(row, label)| {
            let figures = (1..=12).map(|month| json!((row * 37 + month * 11) % 190));
            std::iter::once(json!(label)).chain(figures).collect()
        })
        .collect();
    let long: Vec<[Value; 4]> = (1..=60)
        .map(|row| {
            let title = match row % 3 {
                0 => "关于做好政务公开工作的通知",
                1 => "关于印发某市数字档案室建设实施方案的通知",
                _ => "关于进一步加强机关档案管理、规范电子文件归档与移交进馆有关工作的若干意见（试行）",
            };
            let date = format!("2023-{:02}-{:02}", row % 12 + 1, row % 28 + 1);
            [json!(row), json!(title), json!(date), json!(row * 13 % 97)]
        })
        .collect();
    let sentence = "持续做好稳岗就业、生态环境、惠民惠农、公共安全等重点民生领域的信息公开，";
    job["data"]["overview"] = json!([
        "全年各栏目发布信息如下。",
        { "table": { "caption": "各栏目各月发布信息数（条）", "columns": wide, "rows": wide_rows } },
        "全年制发文件如下。",
        { "table": { "caption": "制发文件目录", "columns": ["序号", "文件名称", "日期", "页数"], "rows": long } },
        "重点工作如下。",
        { "table": {
            "columns": ["工作", "内容", "网址"],
            "rows": [
                [
                    "主动公开", sentence.repeat(3),
                    "https://www.example.gov.cn/zwgk/2023/fdzdgknr/index.html",
                ],
                ["依申请公开", sentence.repeat(14), "https://www.example.gov.cn/ysqgk"],
                ["监督保障", sentence, "无"],
            ],
        } },
        { "table": { "columns": ["仅一列"], "rows": [["仅一行"]] } },
        "以上情况，特此说明。",
    ]);
    job
}

#[test]
fn the_cases_are_as_hard_as_they_say() {
    use banshi::report::MAX_COUNT;
    for case in cases() {
        let widest = case.name.starts_with("widest-figures");
        let refused = super::refused(&case.job);
        assert!(
            refused.is_empty(),
            "{}, {}: {refused:?}",
            case.name,
            case.what
        );
        assert_eq!(case.job["job_id"], json!(case.name));
        assert_eq!(
            case.job["on_violation"] == json!("warn"),
            widest,
            "{}",
            case.name
        );
        if widest {
            let text = case.job["data"].to_string();
            assert!(text.contains(&MAX_COUNT.to_string()));
        }
    }
    assert_eq!(LONGEST.chars().count(), 40);
    let overview: usize = prose(0, 3400).iter().map(|text| text.chars().count()).sum();
    assert_eq!(overview, 3400);
}
