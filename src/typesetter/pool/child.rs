//! The child's end: what `banshi typesetter` does.
//!
//! Takes orders from its standard input, gives replies on its standard output. Never outlives its
//! parent. If we crash here, the parent sees it and has the report set by another child.

use std::io::{self, Write};
use std::process::ExitCode;

use super::pipe::{Order, PROTOCOL, Reply, Setup, Verdict, broken, read, reason, write};
use crate::problem::{Failure, Outage, Part};
use crate::typesetter::{Fonts, Pdf, Templates, Typesetter, fonts};

/// The stack of a child's typesetting thread, in bytes. The engine recurses over what is nested,
/// and the operating system gives it only what it touches.
const STACK: usize = 64 << 20;

/// What `banshi typesetter` does: sets reports until its standard input closes.
pub fn child() -> ExitCode {
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
    let setter = move || {
        let mut output = io::stdout().lock();
        work(&orders, &mut output)
    };
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let ended = outlive_signals()
        .and_then(|()| named("reader").spawn(reader))
        .and_then(|_| named("typesetter").stack_size(STACK).spawn(setter))
        .map(std::thread::JoinHandle::join);
    match ended {
        Ok(Ok(Ok(code))) => code,
        // The panic has been printed.
        Ok(Err(_)) => ExitCode::from(101),
        Ok(Ok(Err(error))) | Err(error) => {
            eprintln!("the typesetter can't work: {error}");
            ExitCode::FAILURE
        }
    }
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

/// Answers orders until there are no more.
fn work(
    orders: &std::sync::mpsc::Receiver<Vec<u8>>,
    output: &mut impl Write,
) -> io::Result<ExitCode> {
    // The engine spreads its work over rayon's pool. Its cores belong to the other children, so
    // the pool is this thread and nothing else, with its large stack.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .map_err(io::Error::other)?;
    let Ok(hello) = orders.recv() else {
        return Ok(ExitCode::SUCCESS);
    };
    let typesetter = match get_ready(&hello) {
        Ok(typesetter) => typesetter,
        Err(outage) => {
            let (part, message) = (outage.part.as_str().to_owned(), reason(&outage));
            write(
                output,
                &serde_json::to_vec(&Reply::Refused { part, message })?,
            )?;
            return Ok(ExitCode::from(3));
        }
    };
    let fingerprint = format!(
        "{} {}",
        typesetter.fonts.fingerprint(),
        typesetter.templates.sha256()
    );
    write(output, &serde_json::to_vec(&Reply::Ready { fingerprint })?)?;
    while let Ok(order) = orders.recv() {
        let Order::Set { number, manuscript } = serde_json::from_slice(&order)? else {
            return Err(broken("a second hello"));
        };
        let (result, remarks) = typesetter.set(&manuscript);
        let (verdict, file) = match result {
            Ok(Pdf {
                bytes,
                pages,
                fonts,
                rare,
            }) => (Verdict::Set { pages, fonts, rare }, Some(bytes)),
            Err(Failure::Rejected(rejection)) => (
                Verdict::Rejected {
                    problems: rejection.into_problems(),
                },
                None,
            ),
            Err(Failure::Outage(outage)) => {
                let (part, message) = (outage.part.as_str().to_owned(), reason(&outage));
                (Verdict::Outage { part, message }, None)
            }
        };
        write(
            output,
            &serde_json::to_vec(&Reply::Done {
                number,
                verdict,
                remarks,
            })?,
        )?;
        if let Some(file) = file {
            write(output, &file)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A warm typesetter, as the hello asks for.
fn get_ready(hello: &[u8]) -> Result<Typesetter, Outage> {
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
            "the worker is {product} (protocol {protocol}) and this typesetter {} (protocol {PROTOCOL}); \
             restart the worker, so that both are of one version",
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
    typesetter.check()?;
    Ok(typesetter)
}
