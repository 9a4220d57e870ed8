//! A wire to an S3 server that does harm when it is told to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a wire does to a request.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    /// Answers by itself, with this status and code; the server hears nothing.
    Answer(u16, &'static str),
    /// The server does what it is asked, and its answer is cut off.
    CutTheAnswer,
    /// The server does what it is asked, and its answer never comes.
    SwallowTheAnswer,
    /// A bit of the body is changed on the way to the server.
    ChangeTheBody,
    /// The request is on its way for so long.
    Delay(Duration),
    /// The answer says of an object that it is of the year 2020.
    AnswerOld,
}

/// Harm for the next requests of this method to names that end so, as many of them.
struct Plan {
    method: &'static str,
    ends: &'static str,
    times: usize,
    harm: Harm,
}

impl Plan {
    fn is_for(&self, head: &str) -> bool {
        let mut words = head.split_whitespace();
        self.times > 0
            && words.next() == Some(self.method)
            && words.next().is_some_and(|path| path.ends_with(self.ends))
    }
}

/// A proxy on a port of its own. It ends with the process.
pub struct Wire {
    address: String,
    plan: Arc<Mutex<Option<Plan>>>,
}

impl Wire {
    /// A wire to a server's `host:port`, which does no harm yet.
    pub fn to(server: &str) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let plan = Arc::new(Mutex::new(None));
        let (server, shared) = (server.to_owned(), Arc::clone(&plan));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (server, plan) = (server.clone(), Arc::clone(&shared));
                // A connection that one side leaves is over, as on any wire.
                std::thread::spawn(move || carry(client?, &server, &plan));
            }
        });
        Wire { address, plan }
    }

    /// Its own `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// From now on: harm for this many puts.
    pub fn harm(&self, times: usize, harm: Harm) {
        self.harm_to("PUT", "", times, harm);
    }

    /// From now on: harm for this many requests of a method to names that end so.
    pub fn harm_to(&self, method: &'static str, ends: &'static str, times: usize, harm: Harm) {
        *self.plan.lock().expect("nobody panicked") = Some(Plan {
            method,
            ends,
            times,
            harm,
        });
    }

    /// How many requests are still to be harmed.
    pub fn left(&self) -> usize {
        let plan = self.plan.lock().expect("nobody panicked");
        plan.as_ref().map_or(0, |plan| plan.times)
    }
}

/// One request, and its answer.
fn carry(mut client: TcpStream, server: &str, plan: &Mutex<Option<Plan>>) -> std::io::Result<()> {
    let (head, mut body) = request(&mut client)?;
    let harm = {
        let mut plan = plan.lock().expect("nobody panicked");
        match plan.as_mut() {
            Some(plan) if plan.is_for(&head) => {
                plan.times -= 1;
                Some(plan.harm)
            }
            _ => None,
        }
    };
    match harm {
        Some(Harm::Answer(status, code)) => {
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
            let length = body.len();
            write!(
                client,
                "HTTP/1.1 {status} {code}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n\
                 {body}"
            )?;
            return Ok(());
        }
        Some(Harm::ChangeTheBody) => *body.last_mut().expect("a body") ^= 1,
        Some(Harm::Delay(time)) => std::thread::sleep(time),
        _ => {}
    }
    let mut upstream = TcpStream::connect(server)?;
    // One request a connection: the header is not among those that are signed.
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    upstream.write_all(head.as_bytes())?;
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    match harm {
        Some(Harm::CutTheAnswer) => Ok(()),
        Some(Harm::SwallowTheAnswer) => {
            // Until the client gives up.
            client.read_to_end(&mut Vec::new())?;
            Ok(())
        }
        Some(Harm::AnswerOld) => {
            let answer = String::from_utf8_lossy(&answer);
            for line in answer.split_inclusive("\r\n") {
                let line = match line.to_ascii_lowercase().starts_with("last-modified:") {
                    true => "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT\r\n",
                    false => line,
                };
                client.write_all(line.as_bytes())?;
            }
            Ok(())
        }
        _ => client.write_all(&answer),
    }
}

/// The head of a request with its empty line, and its body.
pub fn request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    Ok((head, body))
}
