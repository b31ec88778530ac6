//! The other ends of the signing relay, as processes of their own: the upstream it calls and the
//! receiver it notifies. Both misbehave as they are told, down to single octets, and keep an exact
//! log of what reached them.
//!
//! Each has a second port for that. `POST /control` takes an order, or an array of them, as JSON:
//!
//! | field | meaning |
//! |---|---|
//! | `mode` | an [`Fault`] in kebab case; a status; `redirect`; `refuse` or `down` (nobody can connect); `normal` |
//! | `next` | for so many requests; orders of this kind queue up |
//! | `probability` | for each request with this chance; several such orders stand side by side |
//! | `path` | only for requests whose path begins so |
//! | `delay_ms` | milliseconds to wait before an answer, or before each octet; how long nobody can connect |
//! | `status`, `location`, `retry_after` | of the answer; `"retry_after": null` is a 429 without it |
//!
//! Without `next` and `probability` an order stands until another does for the same path.
//! `{"mode": "normal"}` ends all of them, and opens the listener. `GET /control/arrivals`,
//! `/control/summary` and `/control/deliveries` tell what came.

mod connection;
mod control;
mod listener;
pub mod receiver;
mod record;
mod rules;
mod seeded_random;
pub mod upstream;
mod window;

pub use record::{Arrival, Delivery, Kind, Outcome, Summary};
pub use rules::Fault;
pub use window::max_in_window;

use crate::http::{self, Response};
use crate::server;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// A running mock upstream; killed when dropped, and ends with this process in any case.
pub struct MockUpstream(Process);

impl MockUpstream {
    /// Starts one at free ports. With the same arguments it does the same again.
    pub fn start(arguments: &[&str]) -> Self {
        Self(Process::start("mock-upstream", arguments))
    }

    /// Every arrival so far, in the order of time.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.0.lines("arrivals")
    }

    /// What it counted.
    pub fn summary(&self) -> Summary {
        let page = self.0.page("summary");
        serde_json::from_slice(&page).expect("a summary")
    }
}

/// A running mock receiver; killed when dropped, and ends with this process in any case.
pub struct MockReceiver(Process);

impl MockReceiver {
    /// Starts one at free ports.
    pub fn start(arguments: &[&str]) -> Self {
        Self(Process::start("mock-receiver", arguments))
    }

    /// Every webhook so far, in the order of time.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.0.lines("deliveries")
    }
}

/// What both can do.
macro_rules! process {
    ($mock:ty) => {
        impl $mock {
            /// Where it serves.
            pub fn address(&self) -> SocketAddr {
                self.0.ready.listening
            }

            /// The same as a URL, without a slash at its end.
            pub fn url(&self) -> String {
                format!("http://{}", self.address())
            }

            /// Orders a behaviour, which is in force when this returns.
            #[track_caller]
            pub fn control(&self, order: &Value) {
                let answer = self.try_control(&order.to_string());
                let reason = String::from_utf8_lossy(&answer.body);
                assert_eq!(answer.status, 204, "{order}: {reason}");
            }

            /// The same for orders that may be refused.
            pub fn try_control(&self, order: &str) -> Response {
                self.0.control_request("POST", "/control", order.as_bytes())
            }

            /// What it printed on standard output so far, after the first line.
            pub fn output(&self) -> String {
                self.0.output.lock().expect("no panic").clone()
            }

            /// `kill -9`.
            pub fn kill(&mut self) {
                self.0.kill();
            }
        }
    };
}
process!(MockUpstream);
process!(MockReceiver);

struct Process {
    child: Child,
    ready: Ready,
    output: Arc<Mutex<String>>,
}

/// The first line of every mock.
#[derive(Deserialize)]
struct Ready {
    listening: SocketAddr,
    control: SocketAddr,
}

impl Process {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(server::mock(name))
            .arg("--end-with-stdin")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut first = String::new();
        lines.read_line(&mut first).expect("a pipe");
        let ready = serde_json::from_str(&first)
            .unwrap_or_else(|error| panic!("{name} {arguments:?}: {error}: {first:?}"));
        let output = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&output);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *kept.lock().expect("no panic") += &(line + "\n");
            }
        });
        Self {
            child,
            ready,
            output,
        }
    }

    /// Asks on the control port. No secret is sent there, so that none is taken down for the search
    /// of the logs (`http::request` would).
    fn control_request(&self, method: &str, target: &str, body: &[u8]) -> Response {
        let mut stream = http::connect(self.ready.control);
        let head = http::head(method, target, &[], body.len());
        stream.write_all(&[&head, body].concat()).expect("taken");
        http::read(&mut stream, false).expect("an answer")
    }

    fn page(&self, name: &str) -> Vec<u8> {
        let answer = self.control_request("GET", &format!("/control/{name}"), b"");
        assert_eq!(answer.status, 200);
        answer.body
    }

    fn lines<T: DeserializeOwned>(&self, name: &str) -> Vec<T> {
        let page = self.page(name);
        let entries = serde_json::Deserializer::from_slice(&page).into_iter();
        entries.map(|entry| entry.expect("an entry")).collect()
    }

    fn kill(&mut self) {
        // Already ended, perhaps; either way it is gone then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
