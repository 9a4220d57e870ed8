//! What the crate ofd-core makes of an OFD: whether it conforms, and pictures of its pages.
//!
//! `ofd-core-pages FILE.ofd DPI FOLDER` prints what is wrong, and writes FOLDER/core-1.png and so on.

use std::error::Error;
use std::path::Path;

use ofd_core::OfdReader;
use ofd_core::render::RenderOptions;
use ofd_core::verify::check_path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, dpi, folder] = arguments.as_slice() else {
        return Err("ofd-core-pages FILE.ofd DPI FOLDER".into());
    };
    let report = check_path(file);
    for problem in &report.problems {
        println!("{problem}");
    }
    if !report.conforms() {
        return Err("it does not conform".into());
    }
    let mut reader = OfdReader::open(file)?;
    let body = reader.ofd().doc_bodies[0].clone();
    let document = reader.load_document(&body)?;
    let options = RenderOptions::with_dpi(dpi.parse()?);
    for page in 0..document.pages().len() {
        let picture = Path::new(folder).join(format!("core-{}.png", page + 1));
        reader.render_page_to_file(&document, page, &options, picture)?;
    }
    println!("conforms");
    Ok(())
}
