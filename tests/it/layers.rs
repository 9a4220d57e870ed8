//! The pipeline is one way: a module imports only modules of a smaller number, and the report knows
//! no tokio, lapin, typst or `object_store`.

use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

use crate::support::repository;

/// The modules in the order of the pipeline. `config`, `escape`, `telemetry` and `tls` are
/// open to all.
const LAYERS: [(&str, u8); 34] = [
    ("config", 0),
    ("escape", 0),
    ("telemetry", 0),
    ("tls", 0),
    ("problem", 1),
    ("attachment", 1),
    ("digest", 1),
    ("loopback", 1),
    ("timing", 1),
    ("disk", 2),
    ("signature", 2),
    ("report", 2),
    ("job", 3),
    ("webpage", 3),
    ("typesetter", 4),
    ("workbook", 4),
    ("sign", 5),
    ("store", 5),
    ("event", 6),
    ("transport", 7),
    ("import", 8),
    ("admin", 8),
    ("bulk", 8),
    ("contract", 8),
    ("fleet", 8),
    ("merge", 8),
    ("check", 9),
    ("worker", 9),
    ("verify", 9),
    ("console", 9),
    ("archive", 10),
    ("commands", 11),
    ("lib", 12),
    ("main", 12),
];

fn layer(module: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, layer)| *layer)
}

/// The first names after `crate::` and the first names of every other path in a file.
#[derive(Default)]
struct Names {
    ours: Vec<String>,
    others: Vec<String>,
}

impl Names {
    fn add(&mut self, first: &str, second: Option<&str>) {
        match (first, second) {
            ("crate" | "banshi", Some(second)) => self.ours.push(second.to_owned()),
            (first, _) => self.others.push(first.to_owned()),
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, first: Option<&str>) {
        match tree {
            syn::UseTree::Path(path) => {
                let name = path.ident.to_string();
                match first {
                    Some("crate") => self.ours.push(name),
                    Some(_) => {}
                    None => {
                        self.others.push(name.clone());
                        self.tree(&path.tree, Some(&name));
                    }
                }
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(tree, first));
            }
            syn::UseTree::Name(name) if first == Some("crate") => {
                self.ours.push(name.ident.to_string())
            }
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, None);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        if let Some(first) = names.next() {
            self.add(&first, names.next().as_deref());
        }
        visit::visit_path(self, path);
    }
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("src is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn a_module_imports_only_what_stands_before_it_on_the_road() {
    let src = repository("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 15, "the whole source is read");
    let mut wrong = Vec::new();
    for file in files {
        let below = file.strip_prefix(&src).expect("below src");
        let module = below
            .components()
            .next()
            .expect("a name")
            .as_os_str()
            .to_string_lossy();
        let module = module.trim_end_matches(".rs");
        let own =
            layer(module).unwrap_or_else(|| panic!("{module} has no layer: give it one here"));
        let text = std::fs::read_to_string(&file).expect("a source");
        let mut names = Names::default();
        names.visit_file(&syn::parse_file(&text).expect("Rust"));
        for name in names.ours {
            let allowed = match layer(&name) {
                // config uses none of ours.
                Some(0) => module != "config" || name == "config",
                Some(other) => name == module || other < own,
                None => true, // a name of the crate root, such as PRODUCT
            };
            if !allowed {
                wrong.push(format!("{} uses crate::{name}", below.display()));
            }
        }
        if module == "report" {
            let banned = ["tokio", "lapin", "typst", "object_store"];
            let found = names
                .others
                .iter()
                .filter(|name| banned.contains(&name.as_str()));
            wrong.extend(found.map(|name| format!("{} uses {name}", below.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
