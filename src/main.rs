use banshi::{job, report};
fn main() {
    let s = banshi::config::Settings::load(None, std::env::vars()).unwrap_or_else(|e| panic!("{e}"));
    let editions: report::Editions = report::FORMS.iter().map(|f| (f.name.to_owned(), *f)).collect();
    for f in std::env::args().skip(1) {
        let b = std::fs::read(&f).unwrap();
        match job::read(&b, None, &s.limits, &editions) {
            Ok(j) => { println!("{f}: ok {}", j.identity.sha256); for w in j.report.warnings() { println!("  {w}"); }
              if std::env::var("VIEW").is_ok() { println!("{}", report::view::view(j.report())); } }
            Err(r) => { println!("{f}: {:?}", r.identity); for w in r.rejection.problems() { println!("  {w}"); } }
        }
    }
}
