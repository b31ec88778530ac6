//! Starts and observes the server as a separate process.

use crate::canaries;
use crate::http::{self, Response};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A running server. It is killed when this value is dropped.
pub struct Server {
    /// The address on which the server listens.
    pub address: SocketAddr,
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts the binary on a free port. Variables of this environment that the binary reads are
    /// removed.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts the binary with variables. If logs are kept, the server logs at trace level, unless a
    /// variable says otherwise.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_exactly(
            &[&["--listen", "127.0.0.1:0"], arguments].concat(),
            variables,
        )
    }

    /// Starts the binary with exactly these arguments, which must include the address.
    pub fn start_exactly(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_command(Command::new(binary()).args(arguments), variables)
    }

    /// Starts a command that becomes the server.
    pub fn start_command(command: &mut Command, variables: &[(&str, &str)]) -> Self {
        Self::spawn(command, variables)
            .unwrap_or_else(|log| panic!("the server should listen, but ended:\n{log}"))
    }

    /// Starts a server that may kill itself at any time. Returns `None` if it ended before it
    /// listened.
    pub fn start_to_crash(variables: &[(&str, &str)]) -> Option<Self> {
        let mut command = Command::new(binary());
        Self::spawn(command.args(["--listen", "127.0.0.1:0"]), variables).ok()
    }

    /// Starts a server. Returns its log if it ended before it listened.
    fn spawn(command: &mut Command, variables: &[(&str, &str)]) -> Result<Self, String> {
        remove_our_variables(command);
        let mut log_file = None;
        if let Some((file, audit)) = canaries::log_files() {
            command.env("BULKHEAD_LOG", "trace");
            command.env("BULKHEAD_ACCESS_LOG", "on");
            command.env("BULKHEAD_AUDIT_LOG", audit);
            log_file = Some(file);
        }
        for (name, value) in variables {
            if is_secret(name) {
                let file = std::fs::read_to_string(value);
                canaries::record_secret(file.as_deref().unwrap_or(value));
            }
        }
        let mut process = command
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("binary should start");
        let mut lines = BufReader::new(process.stderr.take().expect("stream should be piped"));
        let (address, start) = listening(&mut lines);
        if let Some(file) = &mut log_file {
            file.write_all(start.as_bytes())
                .expect("file should be written");
        }
        let Some(address) = address else {
            process.wait().expect("process should end");
            return Err(start);
        };
        let log = Arc::new(Mutex::new(start));
        let kept = Arc::clone(&log);
        // Keeps reading, so that the pipe does not fill up.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(file) = &mut log_file {
                    writeln!(file, "{line}").expect("file should be written");
                }
                *kept.lock().expect("thread should not panic") += &(line + "\n");
            }
        });
        Ok(Self {
            address,
            process,
            log,
        })
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("thread should not panic").clone()
    }

    /// Returns the log. While it is locked, the server's standard error is not read.
    pub fn shared_log(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.log)
    }

    /// Returns a server with default settings, which most tests share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<(Server, Child)> = OnceLock::new();
        let (server, _guard) = SHARED.get_or_init(|| {
            let server = Self::start(&[]);
            let guard = guard(&server.process);
            (server, guard)
        });
        server
    }

    /// Sends `POST /decryptMessage` and accepts JSON.
    pub fn decrypt(&self, passphrase: &str, message: &str) -> Response {
        self.post(
            &json!({"passphrase": passphrase, "message": message}).to_string(),
            &[],
        )
    }

    /// Sends `POST /decryptMessage` and accepts the plaintext as bytes.
    pub fn decrypt_bytes(&self, passphrase: &str, message: &str) -> Response {
        let body = json!({"passphrase": passphrase, "message": message}).to_string();
        self.post(&body, &[("Accept", "application/octet-stream")])
    }

    /// Posts a body as JSON to `/decryptMessage`, with further headers.
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

    /// Sends a request without a body.
    pub fn get(&self, method: &str, target: &str) -> Response {
        http::request(self.address, method, target, &[], b"")
    }

    /// Returns the samples of one name in `GET /metrics` that have these labels. Each of them has
    /// the fields `labels` and `value`. Some samples exist only after a first count.
    pub fn samples(&self, name: &str, labels: &[(&str, &str)]) -> Vec<Value> {
        let document = self.get("GET", "/metrics").json();
        let metrics = document["metrics"]
            .as_array()
            .expect("value should be an array");
        let samples = metrics
            .iter()
            .filter_map(|metric| metric["samples"].as_array())
            .flatten()
            .filter(|sample| sample["name"] == name);
        let carries = |sample: &&Value| {
            let mut labels = labels.iter();
            labels.all(|(label, value)| sample["labels"][label] == *value)
        };
        samples.filter(carries).cloned().collect()
    }

    /// Returns the sum of their values, which are integers. Panics if there is no such sample,
    /// because a wrong name would otherwise count as zero.
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let samples = self.samples(name, labels);
        assert!(
            !samples.is_empty(),
            "a sample {name} with {labels:?} should exist"
        );
        let values = samples.iter().map(|sample| sample["value"].as_u64());
        values
            .map(|value| value.expect("value should be an integer"))
            .sum()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        // The shell's `kill`, because a small image has no other.
        let status = Command::new("sh")
            .args(["-c", "kill -s $0 $1", name, &self.process.id().to_string()])
            .status()
            .expect("sh should run");
        assert!(status.success());
    }

    /// Returns whether the process runs.
    pub fn is_alive(&self) -> bool {
        // A process that has ended stays in `/proc` until its parent has waited for it.
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(path).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    /// Waits for the process to end. Panics after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.process.try_wait().expect("child should be waitable") {
                return status;
            }
            assert!(Instant::now() < end, "the server should end in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Returns the maximum resident memory so far, in bytes.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Returns the processor time that the process has used.
    pub fn cpu_time(&self) -> Duration {
        /// Linux reports times in this unit on every machine.
        const TICK: Duration = Duration::from_millis(10);
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(path).expect("process should run");
        // The name of the process ends with a parenthesis. Twelve fields later come the times in user and in kernel mode.
        let (_, fields) = stat.rsplit_once(')').expect("name should be there");
        let ticks = fields.split_whitespace().skip(11).take(2);
        TICK * ticks
            .map(|n| n.parse::<u32>().expect("number"))
            .sum::<u32>()
    }

    /// Returns the number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(path).expect("process should run").count()
    }

    /// Returns the number of executable mappings without a file: compiled code, and the kernel's
    /// own.
    pub fn code_mappings(&self) -> usize {
        let path = format!("/proc/{}/maps", self.process.id());
        let maps = std::fs::read_to_string(path).expect("process should run");
        let is_code = |line: &&str| {
            let mut columns = line.split_whitespace().skip(1);
            columns.next().is_some_and(|rights| rights.contains('x')) && columns.nth(2) == Some("0")
        };
        maps.lines().filter(is_code).count()
    }

    fn memory(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).expect("process should run");
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .expect("status should list the resident memory")
            * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The kill fails if the process has already ended.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs the binary until it ends. Variables of this environment that the binary reads are removed.
pub fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    remove_our_variables(&mut command);
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("binary should start")
}

/// A developer's environment must not change the result of a test.
fn remove_our_variables(command: &mut Command) {
    let ours = |name: &str| name.starts_with("BULKHEAD_") || name.starts_with("SECRET");
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
}

/// Starts a process that kills the server when this process ends, because statics are never
/// dropped. The guard's standard input closes when this process ends for any reason.
fn guard(process: &Child) -> Child {
    Command::new("sh")
        .args(["-c", "cat; kill -9 $0", &process.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh should run")
}

/// Waits for the log line that contains the address. Returns the address and the log so far.
/// Without such a line, returns the whole log.
fn listening(log: &mut BufReader<ChildStderr>) -> (Option<SocketAddr>, String) {
    let mut seen = String::new();
    loop {
        let start = seen.len();
        let bytes = log.read_line(&mut seen).expect("log should be readable");
        if bytes == 0 {
            return (None, seen);
        }
        let entry: Value = serde_json::from_str(&seen[start..]).unwrap_or_default();
        if let Some(address) = entry["fields"]["address"].as_str() {
            // Further addresses, which may be Unix sockets, follow.
            let address = address.split(',').next().unwrap_or_default();
            return (
                Some(address.parse().expect("address should be valid")),
                seen,
            );
        }
    }
}

/// Returns whether a variable contains a secret, or names a file that contains one.
fn is_secret(variable: &str) -> bool {
    let variable = variable.strip_suffix("_FILE").unwrap_or(variable);
    [
        "SECRET",
        "SECRET_PREVIOUS",
        "BULKHEAD_ACCESS_KEY",
        "BULKHEAD_UPSTREAM_API_KEY",
        "BULKHEAD_WEBHOOK_SECRET",
        "BULKHEAD_WEBHOOK_SECRET_PREVIOUS",
        "BULKHEAD_STORE_PASSWORD",
    ]
    .contains(&variable)
}

/// Returns the path of the server's binary: `BULKHEAD_BIN`, or else the file beside this
/// executable.
pub fn binary() -> PathBuf {
    std::env::var_os("BULKHEAD_BIN")
        .map_or_else(|| next_to_this_executable("bulkhead"), PathBuf::from)
}

/// Returns the path of a mock's binary: in the folder `BULKHEAD_MOCKS`, or else beside this
/// executable.
pub fn mock(name: &str) -> PathBuf {
    let folder = std::env::var_os("BULKHEAD_MOCKS").map(PathBuf::from);
    folder.map_or_else(|| next_to_this_executable(name), |folder| folder.join(name))
}

fn next_to_this_executable(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("path should be known");
    // target/release/deps/blackbox-… or target/release/bulkhead-bench → target/release/bulkhead
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no {name} near {}: build the workspace first, or set BULKHEAD_BIN and BULKHEAD_MOCKS",
                here.display()
            )
        })
}
