//! The tutorial of docs/forms.md, typed as it stands there: each step ends as the page says.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::deployment::Deployment;
use crate::support::{pdf, repository};

/// A step: its text and its boxes, each with what its first line says that it is.
struct Step {
    text: String,
    boxes: Vec<(String, String)>,
}

/// The steps of the page, in its order.
fn steps() -> Vec<Step> {
    let page = fs::read_to_string(repository("docs/forms.md")).unwrap();
    let (_, rest) = page.split_once("## A form in ten steps\n").unwrap();
    let (tutorial, _) = rest.split_once("\n## The document").unwrap();
    let begins = |number: usize| {
        let mark = format!("**{number}.**");
        tutorial
            .find(&mark)
            .unwrap_or_else(|| panic!("a step {mark}"))
    };
    let step = |number: usize| {
        let end = if number == 10 {
            tutorial.len()
        } else {
            begins(number + 1)
        };
        let mut step = Step {
            text: String::new(),
            boxes: Vec::new(),
        };
        for (at, part) in tutorial[begins(number)..end].split("```").enumerate() {
            match part.split_once('\n') {
                Some((kind, inside)) if at % 2 == 1 => {
                    step.boxes.push((kind.to_owned(), inside.to_owned()));
                }
                _ => step.text.push_str(part),
            }
        }
        step
    };
    (1..=10).map(step).collect()
}

/// Somebody who types what the page says.
struct Newcomer {
    deployment: Deployment,
    package: PathBuf,
    sample: Value,
    /// What the last command said.
    said: String,
}

impl Newcomer {
    fn run(&mut self, command: &str) -> bool {
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        let ran = self
            .deployment
            .banshi(&arguments)
            .current_dir(self.deployment.folder())
            .output()
            .unwrap();
        for text in [ran.stdout, ran.stderr] {
            self.said.push_str(&String::from_utf8(text).unwrap());
        }
        ran.status.success()
    }

    /// `banshi templates check`, as the page leaves it running.
    fn look(&mut self) -> bool {
        let sample = serde_json::to_string_pretty(&self.sample).unwrap();
        fs::write(self.package.join("sample.json"), sample).unwrap();
        self.said.clear();
        self.run("banshi templates check templates/unit-permits")
    }

    /// Adds the members of a box to an object.
    fn add(object: &mut Value, members: &str) {
        let members: Value = serde_json::from_str(&format!("{{{members}}}")).unwrap();
        let object = object.as_object_mut().unwrap();
        object.extend(members.as_object().unwrap().clone());
    }

    fn take(&mut self, kind: &str, inside: &str) {
        match kind {
            "toml form.toml" => {
                let path = self.package.join("form.toml");
                let whole = inside.starts_with("title = ");
                let before = if whole {
                    String::new()
                } else {
                    fs::read_to_string(&path).unwrap()
                };
                fs::write(path, format!("{before}\n{inside}")).unwrap();
            }
            "json sample.json" => self.sample = serde_json::from_str(inside).unwrap(),
            "json data" => Self::add(&mut self.sample["data"], inside),
            "json job" => Self::add(&mut self.sample, inside),
            "sh" => {
                self.said.clear();
                for command in inside.lines() {
                    match command.strip_prefix("export ") {
                        Some(set) => {
                            let (name, value) = set.split_once('=').unwrap();
                            assert_eq!(name, "BANSHI__TEMPLATES__DIR");
                            let folder = self.deployment.path(value);
                            let deployment =
                                std::mem::replace(&mut self.deployment, Deployment::spool());
                            self.deployment =
                                deployment.with("TEMPLATES__DIR", folder.to_str().unwrap());
                        }
                        None => assert!(self.run(command), "{command}: {}", self.said),
                    }
                }
            }
            other => panic!("a box of {other}"),
        }
    }

    /// Whether all lines of a box were said.
    fn told(&self, expected: &str) {
        for line in expected.lines() {
            assert!(self.said.contains(line), "{line}\nis not in\n{}", self.said);
        }
    }
}

fn page(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!(".pages/1-{number}.png"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_ends_as_the_page_says() {
    let deployment = Deployment::spool();
    fs::create_dir_all(deployment.path("templates")).unwrap();
    let package = deployment.path("templates/unit-permits/1");
    let mut newcomer = Newcomer {
        deployment,
        package: package.clone(),
        sample: Value::Null,
        said: String::new(),
    };
    // What the text of a step asks to be changed for a moment, and where that is.
    let changes = [
        (5, "7731", "7730", "/data/permits/decided"),
        (7, "7000", "7001", "/data/units/rows/0/granted"),
    ];
    for (number, step) in (1..).zip(steps()) {
        let change = changes.iter().find(|(at, ..)| *at == number);
        let typed = step.boxes.iter().any(|(kind, _)| kind == "sh");
        for (kind, inside) in &step.boxes {
            if kind == "text" {
                if let Some((_, from, to, place)) = change {
                    assert!(
                        step.text.contains(from) && step.text.contains(to),
                        "{}",
                        step.text
                    );
                    let cell = newcomer.sample.pointer_mut(place).unwrap();
                    assert_eq!(*cell, json!(from.parse::<u32>().unwrap()));
                    *cell = json!(to.parse::<u32>().unwrap());
                    assert!(!newcomer.look(), "{}", newcomer.said);
                }
                // With --watch on, it says so by itself.
                if change.is_none() && !typed {
                    assert!(newcomer.look(), "step {number}: {}", newcomer.said);
                }
                newcomer.told(inside);
                continue;
            }
            newcomer.take(kind, inside);
        }
        if let Some((_, from, _, place)) = change {
            *newcomer.sample.pointer_mut(place).unwrap() = json!(from.parse::<u32>().unwrap());
        }
        // However far one has come, the form is right and its pages are drawn. Step 1 has the
        // sample of the package, and step 9 on has what step 8 left.
        if (2..9).contains(&number) {
            assert!(newcomer.look(), "step {number}: {}", newcomer.said);
            assert!(page(package.parent().unwrap(), 1).is_file());
        }
    }
    let file = newcomer.deployment.path("out/unit-permits-sample.pdf");
    let tables = pdf::tables(&file);
    assert_eq!(tables[1].cell(&["区城市管理局", "许可（件）"]).text, "402");
    assert_eq!(tables[1].cell(&["合计", "按时办结率"]).text, "99.5%");

    // The worker of the last step takes a job for it.
    let deployment = &newcomer.deployment;
    deployment
        .send("permits-1", newcomer.sample.to_string().as_bytes())
        .await;
    deployment.work_until_idle();
    let events = deployment.events().await;
    assert_eq!(events[0]["type"], json!("report.completed"), "{events:?}");
    let stored = "store/unit-permits/1/2024/unit-permits-sample.pdf";
    assert_eq!(
        fs::read(deployment.path(stored)).unwrap(),
        fs::read(&file).unwrap()
    );
}
