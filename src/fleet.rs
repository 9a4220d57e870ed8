//! What is known of all workers together: what became of jobs, at what rate, and how each worker
//! is.
//!
//! Takes the events' log and the workers' own words, gives figures and lists. Everything is in
//! memory and bounded, whatever comes in. If we crash here, it is read again from the log, and
//! the workers say how they are within seconds.

mod ends;
mod history;
mod outcome;
mod overview;
mod reader;
mod status;
mod workers;

pub use self::ends::{End, Ends, Wanted, follow};
pub use self::history::{Bucket, Filter, History, Load, MINUTES, Search};
pub use self::outcome::Outcome;
pub use self::overview::{Deadline, Fleet, Overview, Queue, Story, Told};
pub use self::reader::{history, listen, story};
pub use self::status::{InHand, Jobs, Waiting, WorkerStatus, this_worker};
pub use self::workers::{Heard, Workers};
