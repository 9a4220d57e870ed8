//! The child's end: what `banshi typesetter` does.
//!
//! Takes orders from its standard input, gives replies on its standard output. Never opens
//! anything once it has its faces and templates, and never outlives its parent: it ends when its
//! standard input does, which the kernel sees to however the parent dies. (It does not ask for a
//! signal at its parent's death: that signal comes when the *thread* that started it ends, as
//! threads of the worker may at any time.) If we crash here, the parent sees it and has the report
//! set by another child.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::confine;
use super::pipe::{Order, PROTOCOL, Reply, Setup, Verdict, broken, read, reason, write};
use crate::config::{self, Confine};
use crate::problem::{Failure, Outage, Part};
use crate::typesetter::proof::{MOST_PAGES, Page, Proof};
use crate::typesetter::{Fonts, Pdf, Templates, Typesetter, fonts};

/// The stack of a child's typesetting thread, in bytes. The engine recurses over what is nested,
/// and the operating system gives it only what it touches.
const STACK: usize = 64 << 20;

/// What `banshi typesetter` does: sets reports until its standard input closes.
pub fn child() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to hear it when the worker is gone.
            drop(writeln!(io::stderr(), "the typesetter can't work: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Gets ready, confines itself, and only then starts the threads, which are confined with it.
fn run() -> io::Result<ExitCode> {
    outlive_signals()?;
    let Ok(hello) = read(&mut io::stdin().lock()) else {
        return Ok(ExitCode::SUCCESS);
    };
    let ready = match get_ready(&hello) {
        Ok(ready) => ready,
        Err(outage) => return refuse(&outage),
    };
    let mut unconfined = Vec::new();
    if ready.render.confine != Confine::Off {
        unconfined.extend(confine::files().err());
    }
    let (send, orders) = std::sync::mpsc::channel();
    let reader = move || {
        let mut input = io::stdin().lock();
        // The parent has closed the pipe, or is gone. Whatever is being set, nobody will read it.
        while let Ok(frame) = read(&mut input) {
            if send.send(frame).is_err() {
                break;
            }
        }
        leave()
    };
    let setter = move || work(ready, unconfined, &orders);
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    named("reader").spawn(reader)?;
    let setter = named("typesetter").stack_size(STACK).spawn(setter)?;
    // A panic has been printed.
    setter.join().unwrap_or(Ok(ExitCode::from(101)))
}

/// Answers the worker why there is nothing to be had of this child.
fn refuse(outage: &Outage) -> io::Result<ExitCode> {
    let (part, message) = (outage.part.as_str().to_owned(), reason(outage));
    send_reply(&Reply::Refused { part, message })?;
    Ok(ExitCode::from(3))
}

fn send_reply(reply: &Reply) -> io::Result<()> {
    write(&mut io::stdout().lock(), &serde_json::to_vec(reply)?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread that sets can't be asked to stop, only the process can"
)]
fn leave() {
    std::process::exit(0)
}

/// A stop signal to the whole group of processes, as systemd sends it, is for the worker: a child
/// ends when the worker closes the pipe, after the reports in hand.
#[cfg(unix)]
fn outlive_signals() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let _entered = runtime.enter();
    // What is once caught stays caught, also when nobody listens any more.
    drop(signal(SignalKind::terminate())?);
    drop(signal(SignalKind::interrupt())?);
    Ok(())
}

#[cfg(not(unix))]
fn outlive_signals() -> io::Result<()> {
    Ok(())
}

/// Closes what is still open, sets the samples, and answers orders until there are no more.
fn work(
    ready: Ready,
    mut unconfined: Vec<String>,
    orders: &std::sync::mpsc::Receiver<Vec<u8>>,
) -> io::Result<ExitCode> {
    let Ready {
        typesetter,
        fingerprint,
        render,
    } = ready;
    // The engine spreads its work over rayon's pool. Its cores belong to the other children, so
    // the pool is this thread and nothing else, with its large stack.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .map_err(io::Error::other)?;
    if let Err(error) = confine::limits(render.memory << 20) {
        unconfined.push(format!("limits of memory and files ({error})"));
    }
    if render.confine != Confine::Off {
        unconfined.extend(confine::calls().err());
    }
    if let Err(outage) = typesetter.check() {
        return refuse(&outage);
    }
    send_reply(&Reply::Ready {
        fingerprint,
        unconfined,
    })?;
    while let Ok(order) = orders.recv() {
        let (number, made, remarks) = match serde_json::from_slice(&order)? {
            Order::Set { number, manuscript } => {
                let (result, remarks) = typesetter.set(&manuscript);
                (number, result.map(set), remarks)
            }
            Order::Picture {
                number,
                manuscript,
                pictures,
            } => {
                let drawn = typesetter.picture(&manuscript, pictures);
                (number, drawn.map(pictured), Vec::new())
            }
            Order::Prove {
                number,
                sheet,
                tables_alone,
                pictures,
            } => {
                let proof = typesetter.prove(&sheet, tables_alone, pictures);
                (number, proof.map(drawn), Vec::new())
            }
            Order::Hello { .. } => return Err(broken("a second hello")),
        };
        let (verdict, files) = match made {
            Ok(made) => made,
            Err(Failure::Rejected(rejection)) => {
                let problems = rejection.into_problems();
                (Verdict::Rejected { problems }, Vec::new())
            }
            Err(Failure::Outage(outage)) => {
                let (part, message) = (outage.part.as_str().to_owned(), reason(&outage));
                (Verdict::Outage { part, message }, Vec::new())
            }
        };
        send_reply(&Reply::Done {
            number,
            verdict,
            remarks,
        })?;
        for file in files {
            write(&mut io::stdout().lock(), &file)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is answered of a PDF, and the files that follow.
fn set(pdf: Pdf) -> (Verdict, Vec<Vec<u8>>) {
    let Pdf {
        bytes,
        companions,
        pages,
        fonts,
        rare,
        seal,
        took,
    } = pdf;
    let (companions, files): (_, Vec<_>) = companions.into_iter().unzip();
    let verdict = Verdict::Set {
        companions,
        pages,
        fonts,
        rare,
        seal,
        took,
    };
    (verdict, std::iter::once(bytes).chain(files).collect())
}

/// What is answered of pictures, which follow: of as many pages as a proof has.
fn pictured(mut pictures: Vec<Vec<u8>>) -> (Verdict, Vec<Vec<u8>>) {
    pictures.truncate(MOST_PAGES);
    let pages = pictures.len();
    (Verdict::Pictured { pages }, pictures)
}

/// What is answered of a proof, and the pictures that follow.
fn drawn(proof: Proof) -> (Verdict, Vec<Vec<u8>>) {
    let all_pages = proof.all_pages;
    let pages = proof.pages.into_iter().map(Page::parted);
    let (pages, pictures) = pages.unzip();
    (Verdict::Drawn { pages, all_pages }, pictures)
}

/// What needs files, done: faces mapped, templates parsed.
struct Ready {
    typesetter: Typesetter,
    fingerprint: String,
    render: config::Render,
}

/// Reads all that the hello asks for.
fn get_ready(hello: &[u8]) -> Result<Ready, Outage> {
    let unclear = |error| Outage::because(Part::Typesetter, "the hello can't be read", error);
    let Order::Hello {
        protocol,
        product,
        setup,
    } = serde_json::from_slice(hello).map_err(unclear)?
    else {
        return Err(Outage::new(
            Part::Typesetter,
            "a report came before the hello",
        ));
    };
    if protocol != PROTOCOL || product != crate::PRODUCT {
        let text = format!(
            "the worker is {product} (protocol {protocol}) and this typesetter {} (protocol \
             {PROTOCOL}); restart the worker, so that both are of one version",
            crate::PRODUCT
        );
        return Err(Outage::new(Part::Typesetter, text));
    }
    let Setup {
        fonts: faces,
        templates,
        render,
        digests,
    } = serde_json::from_value(setup).map_err(unclear)?;
    fonts::know(digests);
    let templates = Templates::load(templates.folder())?;
    let typesetter = Typesetter::new(Fonts::load(&faces)?, templates, &render)?;
    let fingerprint = format!(
        "{} {}",
        typesetter.fonts.fingerprint(),
        typesetter.templates.sha256()
    );
    Ok(Ready {
        typesetter,
        fingerprint,
        render,
    })
}
