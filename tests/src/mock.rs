//! The services that the signing relay calls, as separate processes: the upstream and the webhook
//! receiver. Both can misbehave on command, down to single bytes, and log exactly what reached
//! them.
//!
//! Each mock has a second port for control. `POST /control` accepts a command, or an array of
//! commands, as JSON:
//!
//! | field | meaning |
//! |---|---|
//! | `mode` | a [`Fault`] in kebab case, a status, `redirect`, `refuse` or `down` (closes the listener), or `normal` |
//! | `next` | the number of requests to which the command applies; such commands queue up |
//! | `probability` | the probability for each request; several such commands can be in force |
//! | `path` | the prefix of the paths to which the command applies |
//! | `delay_ms` | milliseconds before a response, or before each byte, or until the listener reopens |
//! | `status`, `location`, `retry_after` | of the response; `"retry_after": null` is a 429 without the header |
//!
//! Without `next` and `probability` a command stays in force until another one for the same path.
//! `{"mode": "normal"}` removes all commands and reopens the listener. `GET /control/arrivals`,
//! `/control/summary` and `/control/deliveries` return the logs.

pub mod authority;
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

/// A running mock upstream. Its process is killed when this value is dropped or the test process
/// ends.
pub struct MockUpstream(Process);

impl MockUpstream {
    /// Starts a mock on free ports. Equal arguments give equal behaviour.
    pub fn start(arguments: &[&str]) -> Self {
        Self(Process::start("mock-upstream", arguments))
    }

    /// Returns all arrivals so far, in the order of time.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.0.lines("arrivals")
    }

    /// Returns the mock's counts.
    pub fn summary(&self) -> Summary {
        let page = self.0.page("summary");
        serde_json::from_slice(&page).expect("summary should be valid")
    }
}

/// A running mock receiver. Its process is killed when this value is dropped or the test process
/// ends.
pub struct MockReceiver(Process);

impl MockReceiver {
    /// Starts a mock on free ports.
    pub fn start(arguments: &[&str]) -> Self {
        Self(Process::start("mock-receiver", arguments))
    }

    /// Returns all webhooks so far, in the order of time.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.0.lines("deliveries")
    }
}

/// The methods of both mocks.
macro_rules! process {
    ($mock:ty) => {
        impl $mock {
            /// Returns the address of the service.
            pub fn address(&self) -> SocketAddr {
                self.0.ready.listening
            }

            /// Returns the URL of the service, without a slash at its end.
            pub fn url(&self) -> String {
                format!("http://{}", self.address())
            }

            /// Sends a control command. The command is in force when this method returns.
            #[track_caller]
            pub fn control(&self, order: &Value) {
                let response = self.try_control(&order.to_string());
                let reason = String::from_utf8_lossy(&response.body);
                assert_eq!(response.status, 204, "{order}: {reason}");
            }

            /// Sends a control command that the mock may reject.
            pub fn try_control(&self, order: &str) -> Response {
                self.0.control_request("POST", "/control", order.as_bytes())
            }

            /// Returns the standard output so far, without its first line.
            pub fn output(&self) -> String {
                self.0
                    .output
                    .lock()
                    .expect("thread should not panic")
                    .clone()
            }

            /// Kills the process with SIGKILL.
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

/// The first line that a mock prints.
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
            .expect("binary should start");
        let mut lines = BufReader::new(child.stdout.take().expect("stream should be piped"));
        let mut first = String::new();
        lines
            .read_line(&mut first)
            .expect("pipe should be readable");
        let ready = serde_json::from_str(&first)
            .unwrap_or_else(|error| panic!("{name} {arguments:?}: {error}: {first:?}"));
        let output = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&output);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *kept.lock().expect("thread should not panic") += &(line + "\n");
            }
        });
        Self {
            child,
            ready,
            output,
        }
    }

    /// Sends a request to the control port. It does not use `http::request`, because that function
    /// would record the body as a secret.
    fn control_request(&self, method: &str, target: &str, body: &[u8]) -> Response {
        let mut stream = http::connect(self.ready.control);
        let head = http::head(method, target, &[], body.len());
        stream
            .write_all(&[&head, body].concat())
            .expect("data should be sent");
        http::read(&mut stream, false).expect("response should arrive")
    }

    fn page(&self, name: &str) -> Vec<u8> {
        let response = self.control_request("GET", &format!("/control/{name}"), b"");
        assert_eq!(response.status, 200);
        response.body
    }

    fn lines<T: DeserializeOwned>(&self, name: &str) -> Vec<T> {
        let page = self.page(name);
        let entries = serde_json::Deserializer::from_slice(&page).into_iter();
        entries
            .map(|entry| entry.expect("entry should be valid"))
            .collect()
    }

    fn kill(&mut self) {
        // The kill fails if the process has already ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
