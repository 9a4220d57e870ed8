//! A network that fails: a TCP proxy between a worker and whatever it talks to.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Which of a worker's two connections to the broker, as their names say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Consume,
    Publish,
}

/// How the network is.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Nothing passes to the server. What was sent waits, as if it were sent again and again.
    pub hold_to_server: bool,
    /// Nothing passes to the client. With both: a black hole; with one: half open.
    pub hold_to_client: bool,
    /// New connections are reset.
    pub refuse: bool,
    /// Every piece is this much later.
    pub latency: Duration,
    /// Bytes a second and direction; 0 for no limit.
    pub rate: u64,
    /// Each connection is reset after this many bytes to the server, drawn for each anew.
    pub cut_after: Option<Range<u64>>,
    /// Only this connection is concerned; the others have fair weather.
    pub only: Option<Role>,
}

/// The proxy. Its connections end with it.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    weather: watch::Sender<Weather>,
    /// Counted up, it resets every connection that there is.
    resets: watch::Sender<u64>,
    accepted: AtomicU64,
}

impl Proxy {
    /// In front of a port of this machine.
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather::default()),
            resets: watch::Sender::new(0),
            accepted: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, port, Arc::clone(&shared)));
        Proxy {
            port: own,
            shared,
            accepting,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather, for the connections that there are, too.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Fair weather.
    pub fn pass(&self) {
        self.set(Weather::default());
    }

    /// Resets every connection that there is. What was held is lost.
    pub fn reset(&self) {
        self.shared.resets.send_modify(|count| *count += 1);
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.reset();
    }
}

async fn accept(listener: TcpListener, target: u16, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let weather = shared.weather.borrow().clone();
        let server = match weather.refuse {
            true => None,
            false => TcpStream::connect(("127.0.0.1", target)).await.ok(),
        };
        let Some(server) = server else {
            // An answer as of a machine on which nobody listens.
            client.set_zero_linger().expect("a socket");
            continue;
        };
        let cut = weather.cut_after.map_or(u64::MAX, rand::random_range);
        tokio::spawn(carry(client, server, cut, Arc::clone(&shared)));
    }
}

/// Carries both ways until either side ends, or the connection is reset.
async fn carry(client: TcpStream, server: TcpStream, cut: u64, shared: Arc<Shared>) {
    let mut resets = shared.resets.subscribe();
    let role = watch::Sender::new(None);
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let mut up = Pump {
        from: from_client,
        to: to_server,
        to_server: true,
        left: cut,
        role: role.subscribe(),
        weather: shared.weather.subscribe(),
    };
    let mut down = Pump {
        from: from_server,
        to: to_client,
        to_server: false,
        left: u64::MAX,
        role: role.subscribe(),
        weather: shared.weather.subscribe(),
    };
    let reset = tokio::select! {
        cut = up.run(Some(&role)) => cut,
        cut = down.run(None) => cut,
        _ = resets.changed() => true,
    };
    if reset {
        for half in [&up.from, &down.from] {
            half.as_ref().set_zero_linger().expect("a socket");
        }
    }
}

/// One direction of a connection.
struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    to_server: bool,
    left: u64,
    role: watch::Receiver<Option<Role>>,
    weather: watch::Receiver<Weather>,
}

impl Pump {
    /// Until the end; whether the connection is to be reset.
    async fn run(&mut self, role: Option<&watch::Sender<Option<Role>>>) -> bool {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let read = match self.from.read(&mut bytes).await {
                Ok(0) | Err(_) => return false,
                Ok(read) => read,
            };
            if let Some(role) = role
                && role.borrow().is_none()
                && let Some(found) = role_in(&bytes[..read])
            {
                role.send_replace(Some(found));
            }
            let weather = self.passable().await;
            if weather.rate > 0 {
                sleep(Duration::from_secs_f64(read as f64 / weather.rate as f64)).await;
            }
            sleep(weather.latency).await;
            self.left = self.left.saturating_sub(read as u64);
            if self.left == 0 {
                return true;
            }
            if self.to.write_all(&bytes[..read]).await.is_err() {
                return false;
            }
        }
    }

    /// The weather, once it lets this direction through.
    async fn passable(&mut self) -> Weather {
        loop {
            let weather = self.weather.borrow_and_update().clone();
            if weather.only.is_some() && weather.only != *self.role.borrow() {
                return Weather::default();
            }
            let held = match self.to_server {
                true => weather.hold_to_server,
                false => weather.hold_to_client,
            };
            if !held {
                return weather;
            }
            if self.weather.changed().await.is_err() {
                return Weather::default();
            }
        }
    }
}

/// A connection's name stands in the client's first words.
fn role_in(bytes: &[u8]) -> Option<Role> {
    let says = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    if says(b" consume") {
        Some(Role::Consume)
    } else if says(b" publish") {
        Some(Role::Publish)
    } else {
        None
    }
}
