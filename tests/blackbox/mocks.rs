//! Tests of the mocks themselves over real sockets, because the tests of the relay depend on them.

mod process;
mod receiver;
mod upstream;

use bulkhead_tests::http;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The time without data that counts as silence.
const SILENCE: Duration = Duration::from_millis(200);

/// The end of a connection.
#[derive(Debug, Eq, PartialEq)]
enum End {
    Orderly,
    Reset,
}

/// All data of a connection, and its end.
struct Received {
    bytes: Vec<u8>,
    end: End,
    took: Duration,
}

impl Received {
    fn response(&self) -> http::Response {
        http::read(&mut &self.bytes[..], false).expect("response should arrive")
    }
}

/// Sends bytes and reads until the connection ends.
fn send_and_read(address: SocketAddr, bytes: &[u8]) -> Received {
    let start = Instant::now();
    let mut stream = http::connect(address);
    let sent = stream.write_all(bytes);
    let mut bytes = Vec::new();
    let end = match sent {
        Ok(()) => read_to_end(&mut stream, &mut bytes),
        // A reset is reported once. Here it arrived before all bytes were sent.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            End::Reset
        }
    };
    let took = start.elapsed();
    Received { bytes, end, took }
}

fn read_to_end(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> End {
    match stream.read_to_end(bytes) {
        Ok(_) => End::Orderly,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            End::Reset
        }
    }
}

/// Sends bytes and reads until the server falls silent without ending the connection. The data must
/// end with `last`.
fn read_until_silence(address: SocketAddr, bytes: &[u8], last: &[u8]) -> Vec<u8> {
    let mut stream = http::connect(address);
    stream.write_all(bytes).expect("data should be sent");
    let mut received = Vec::new();
    let mut byte = [0];
    while !received.ends_with(last) {
        stream
            .read_exact(&mut byte)
            .expect("another byte should arrive");
        received.push(byte[0]);
    }
    stream
        .set_read_timeout(Some(SILENCE))
        .expect("time-out should be set");
    let next = stream.read(&mut byte);
    let kind = next.expect_err("no data should arrive").kind();
    assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut));
    received
}

fn can_connect(address: SocketAddr) -> bool {
    match TcpStream::connect(address) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            false
        }
    }
}
