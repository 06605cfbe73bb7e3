//! Handshakes of clients: how many at a time, how they ended, and what is none.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What a client is told that speaks HTTP where TLS is meant.
const SPEAKS_HTTPS: &str = "this port speaks https, and the request came as plain http: ask for it with https://\n";

/// A client that has been told so has this long to take it, and so much more to say: to close while its
/// bytes are unread would take the answer back from it (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(1);
const MOST_UNREAD: u64 = 64 << 10;

/// Enough to tell the methods of HTTP; the first byte of TLS is no letter (RFC 8446, 5.1: 22).
const LONGEST_METHOD: usize = 8;

/// Handshakes by how they ended.
#[derive(Debug, Default)]
pub struct Handshakes {
    done: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

impl Handshakes {
    /// The counts with the values of the label `result`.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [("done", read(&self.done)), ("failed", read(&self.failed)), ("timeout", read(&self.slow))]
    }

    pub(super) fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }
}

/// Places for handshakes that are not complete: what they cost, in memory and in time of the processor, is
/// bounded by them.
#[derive(Debug)]
pub struct Places {
    all: Semaphore,
    /// Of one address, silent ones too; None: as many as there are connections.
    each: Option<usize>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    /// For so many at a time, whoever they are: behind a proxy all clients may have one address.
    pub fn new(all: usize) -> Self {
        Self { all: Semaphore::new(all), each: None, by_address: Mutex::default() }
    }

    /// The same, and no more than so many connections of one address (of an IPv6 network of 64 bits) that
    /// have not shaken hands.
    pub fn with_most_of_each(all: usize, each: usize) -> Self {
        Self { each: Some(each), ..Self::new(all) }
    }

    /// How many are free.
    pub fn free(&self) -> usize {
        self.all.available_permits()
    }

    /// Counts a connection of this address until the guest is dropped; nothing where it has too many.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Guest<'_>> {
        let Some(most) = self.each else { return Some(Guest { places: self, address: None }) };
        let address = network(address);
        let mut by_address = self.by_address();
        let count = by_address.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest { places: self, address: Some(address) })
    }

    /// A place, once there is one. Those who wait get theirs in the order in which they came.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes the semaphore.
        self.all.acquire().await.ok()
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that has not shaken hands.
pub(super) struct Guest<'a> {
    places: &'a Places,
    address: Option<IpAddr>,
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut count) = self.places.by_address().entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Whose an address is: an IPv6 host has a whole network of 64 bits to choose from (RFC 4291, 2.5.4).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

/// A connection whose first bytes can be looked at before anybody takes them.
pub trait Peek {
    /// Waits for bytes, and copies those that are there without taking them; 0 at the end.
    fn peek(&self, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>>;
}

impl Peek for TcpStream {
    async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::peek(self, buffer).await
    }
}

/// Whether the first bytes are a method of HTTP, or the beginning of one.
pub(super) async fn speaks_http(stream: &impl Peek) -> io::Result<bool> {
    let mut first = [0; LONGEST_METHOD];
    let seen = stream.peek(&mut first).await?;
    let word = first[..seen].split(|byte| *byte == b' ').next().unwrap_or_default();
    Ok(!word.is_empty() && word.iter().all(u8::is_ascii_uppercase))
}

/// Answers in the client's words, and closes. Who does not take it is not waited for.
pub(super) async fn say_https(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let length = SPEAKS_HTTPS.len();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let told = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(SPEAKS_HTTPS.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MOST_UNREAD), &mut tokio::io::sink()).await
    };
    // Whatever comes of it: the connection is over.
    let _ = tokio::time::timeout(LINGER, told).await;
}
