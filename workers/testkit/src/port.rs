//! Ports for servers.
//!
//! Invariant: while a [`Port`] lives, no other `Port` on this machine has its number, and no
//! outgoing connection is given it, not even while the server is stopped.
//!
//! Binding to port 0 would not give that. It hands out a number from the range of outgoing
//! connections, so a client that knocks at a stopped broker can be given the broker's own port,
//! and the broker cannot come back. The numbers here lie below that range.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::{Error, Result};

const LOWEST: u16 = 10_000;
const FEWEST: u16 = 2_000;
const DEFAULT_OUTGOING_START: u16 = 32_768;
const RESERVATION_ATTEMPTS: usize = 1_000;
const START_ATTEMPTS: usize = 3;

/// A loopback port that is this value's alone for as long as it lives.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// A socket in the abstract namespace: as visible as the port itself, unique, and released
    /// by the kernel however the process ends.
    _reservation: UnixListener,
}

impl Port {
    /// Reserves a port on which nothing listens.
    pub(crate) fn reserve() -> Result<Self> {
        let numbers = candidates(outgoing_start());
        for _ in 0..RESERVATION_ATTEMPTS {
            if let Some(port) = Self::claim(rand::random_range(numbers.clone())) {
                return Ok(port);
            }
        }
        Err(Error::Unsuitable(format!(
            "no free port between {} and {} in {RESERVATION_ATTEMPTS} attempts; \
             end servers that earlier runs left",
            numbers.start, numbers.end
        )))
    }

    fn claim(number: u16) -> Option<Self> {
        let name = format!("learnexpert-testkit-port-{number}");
        let address = SocketAddr::from_abstract_name(name).ok()?;
        let reservation = UnixListener::bind_addr(&address).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self {
            number,
            _reservation: reservation,
        })
    }

    /// The port's number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// The first port that the kernel gives to outgoing connections.
fn outgoing_start() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(DEFAULT_OUTGOING_START)
}

/// Where the range of outgoing connections leaves no room below it, the numbers overlap with it.
fn candidates(outgoing_start: u16) -> std::ops::Range<u16> {
    if outgoing_start >= LOWEST + FEWEST {
        LOWEST..outgoing_start
    } else {
        LOWEST..DEFAULT_OUTGOING_START
    }
}

/// Runs `start`, which reserves its ports itself, and runs it afresh when a program that knows
/// nothing of reservations took one of them first.
pub(crate) async fn retry_on_taken_port<T, Start>(mut start: impl FnMut() -> Start) -> Result<T>
where
    Start: Future<Output = Result<T>>,
{
    let mut attempt = 1;
    loop {
        match start().await {
            Err(error) if error.is_port_taken() && attempt < START_ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn failed_start(last_words: &str) -> Error {
        Error::ProcessFailed {
            name: "server".into(),
            reason: "ended".into(),
            log: "log".into(),
            last_words: last_words.into(),
        }
    }

    #[test]
    fn a_reserved_port_is_not_given_twice() {
        let port = Port::reserve().unwrap();
        assert!(Port::claim(port.number()).is_none());
    }

    #[test]
    fn a_dropped_port_can_be_had_again() {
        let number = Port::reserve().unwrap().number();
        assert!(Port::claim(number).is_some());
    }

    #[test]
    fn a_port_on_which_something_listens_is_not_given() {
        let port = Port::reserve().unwrap();
        let number = port.number();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        drop(port);
        assert!(Port::claim(number).is_none());
    }

    #[test]
    fn ports_lie_below_those_of_outgoing_connections() {
        assert_eq!(candidates(32_768), 10_000..32_768);
        assert_eq!(candidates(1_024), 10_000..32_768);
        assert!(Port::reserve().unwrap().number() < outgoing_start());
    }

    #[tokio::test]
    async fn a_start_that_lost_its_port_is_tried_again() {
        let attempts = Cell::new(0);
        let started = retry_on_taken_port(async || {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 3 {
                return Err(failed_start("bind: Address already in use"));
            }
            Ok(attempts.get())
        });
        assert_eq!(started.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_start_that_failed_otherwise_is_not_tried_again() {
        let attempts = Cell::new(0);
        let started: Result<()> = retry_on_taken_port(async || {
            attempts.set(attempts.get() + 1);
            Err(failed_start("out of memory"))
        })
        .await;
        assert!(started.is_err());
        assert_eq!(attempts.get(), 1);
    }
}
