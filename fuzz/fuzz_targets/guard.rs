//! Whatever comes from the broker: the scanner neither panics nor stands still, the client library
//! can read all that it gives out, and what the library can read of a message passes as it is.
//!
//! The first byte says what the rest is: frames as they come, or the payload of a content header.
//! The next three are the sizes of the pieces that it comes in.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/transport/amqp/guard/header.rs"]
mod header;
#[path = "../../src/transport/amqp/guard/oracle.rs"]
mod oracle;
#[path = "../../src/transport/amqp/guard/scanner.rs"]
mod scanner;

fuzz_target!(|data: &[u8]| {
    let [kind, first, second, third, rest @ ..] = data else {
        return;
    };
    let sizes = [*first, *second, *third].map(usize::from);
    if kind % 2 == 0 {
        oracle::hold_to_header(rest, &sizes);
    } else {
        oracle::hold_to_frames(rest, &sizes);
    }
});
