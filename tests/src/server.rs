//! The server as a process of its own.

use crate::http::{self, Response};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A running server; killed when dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
}

impl Server {
    /// Starts the binary on a free port, without any variable of this environment that it reads.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BULKHEAD_")) {
            command.env_remove(name);
        }
        let mut process = command
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = BufReader::new(process.stderr.take().expect("piped"));
        let address = listening(log);
        Self { address, process }
    }

    /// The server most tests share, with default settings.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<(Server, Child)> = OnceLock::new();
        let (server, _guard) = SHARED.get_or_init(|| {
            let server = Self::start(&[]);
            let guard = guard(&server.process);
            (server, guard)
        });
        server
    }

    /// `POST /decryptMessage` as a client would.
    pub fn decrypt(&self, passphrase: &str, message: &str) -> Response {
        self.post(
            &json!({"passphrase": passphrase, "message": message}).to_string(),
            &[],
        )
    }

    /// The same, asking for octets.
    pub fn decrypt_octets(&self, passphrase: &str, message: &str) -> Response {
        let body = json!({"passphrase": passphrase, "message": message}).to_string();
        self.post(&body, &[("Accept", "application/octet-stream")])
    }

    /// Posts a body as JSON with further headers.
    pub fn post(&self, body: &str, headers: &[(&str, &str)]) -> Response {
        let headers = [&[("Content-Type", "application/json")], headers].concat();
        http::request(
            self.address,
            "POST",
            "/decryptMessage",
            &headers,
            body.as_bytes(),
        )
    }

    /// A request without a body.
    pub fn get(&self, method: &str, target: &str) -> Response {
        http::request(self.address, method, target, &[], b"")
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.process.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Waits for the process to end.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let end = Instant::now() + patience;
        loop {
            if let Some(status) = self.process.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < end, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Octets of memory the process holds (resident set).
    pub fn resident_octets(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("the process is alive");
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .expect("a resident set")
            * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended, perhaps; either way it is gone then.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Ends a process when this one is gone: statics are never dropped. The pipe to the guard's
/// standard input closes with us, however we end.
fn guard(process: &Child) -> Child {
    Command::new("sh")
        .args(["-c", "cat; kill -9 $0", &process.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh runs")
}

/// Waits for the log line that names the address; reads on so that the pipe never fills up.
fn listening(mut log: BufReader<ChildStderr>) -> SocketAddr {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        let octets = log.read_line(&mut line).expect("a log");
        assert!(octets > 0, "the server ended before it listened:\n{seen}");
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = entry["fields"]["address"].as_str() {
            let address = address.parse().expect("an address");
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return address;
        }
        seen += &line;
    }
}

/// The server's binary: named by `BULKHEAD_BIN`, or beside the test executables.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("BULKHEAD_BIN") {
        return path.into();
    }
    let mut path = std::env::current_exe().expect("a path");
    // target/release/deps/blackbox-… → target/release/bulkhead
    path.pop();
    path.pop();
    let path = path.join("bulkhead");
    assert!(
        path.exists(),
        "no binary at {}: build the workspace first, or name one with BULKHEAD_BIN",
        path.display()
    );
    path
}
