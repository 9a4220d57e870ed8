//! banshi (版式, "fixed layout"): a report job becomes the official PDF, kept and announced.
//!
//! # The pipeline
//!
//! ```text
//! job → checked report → pages → PDF → stored → event → acknowledged
//! ```
//!
//! 1. [`transport`] hands over a `Delivery`: the bytes of a job, not yet acknowledged.
//! 2. [`job`] reads it: the envelope, the limits, the [`report`]. Every problem is found at
//!    once; [`problem`] has the two kinds of error, the job's fault and the world's.
//! 3. [`typesetter`] sets the report with the Typst templates, in a child process.
//! 4. [`store`] keeps the PDF and then the manifest, the commit point.
//! 5. [`event`] says what happened, made from the manifest alone.
//! 6. [`transport`] confirms the event, and only then is the job acknowledged.
//!
//! [`worker`] is the only module that knows this order; every other module is a part it calls.
//! The modules below stand in the order of the pipeline, and a module imports only those above it
//! ([`config`], [`escape`], [`telemetry`] and [`tls`] are open to all). Read `worker`, `problem`,
//! `report`, `typesetter` and `transport`, in that order, and the names of the tests in `tests/it`.

// Open to all.
pub mod config;
pub mod escape;
pub mod telemetry;
pub mod tls;

// 1: the ground.
pub mod attachment;
pub mod digest;
pub mod disk;
pub mod loopback;
pub mod problem;
pub mod sign;
pub mod signature;
pub mod timing;

// 2: the report, 3: the job around it.
pub mod report;

pub mod job;

// Beside the road: what a clerk fills in.
pub mod workbook;

// 3: the same report for the web, 4: pages and PDF.
pub mod webpage;

pub mod typesetter;

// 5: stored.
pub mod store;

// 6: published.
pub mod event;

// 7: in and out.
pub mod transport;

// 8: the order of it all, what an operator asks of it; and back again, from the PDF.
pub mod admin;
pub mod bulk;
pub mod check;
pub mod contract;
pub mod fleet;
pub mod import;
pub mod merge;
pub mod verify;
pub mod worker;

// 9: all of it together, in a browser.
pub mod console;

// 10: out of the store into packages for an archive.
pub mod archive;

// 11: the command line.
pub mod commands;

/// Every thread of every program of this crate. Typesetting is a million small allocations a
/// report, which this one makes cheaper than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The product and its version, as manifests and PDFs name it.
pub const PRODUCT: &str = concat!("banshi ", env!("CARGO_PKG_VERSION"));
