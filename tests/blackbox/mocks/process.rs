//! The mock upstream as a process: its log, its end, and its use in the compose demo.

use super::can_connect;
use super::upstream::{sign, sign_request, text};
use bulkhead_tests::http::{read, request};
use bulkhead_tests::mock::{Arrival, MockUpstream, Outcome};
use bulkhead_tests::{server, until};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Every response that a client received is in the log file, even after SIGKILL.
#[test]
fn log_is_complete_after_kill_9() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let path = folder.path().join("arrivals");
    let file = path.to_str().expect("text should be UTF-8");
    let mut mock = MockUpstream::start(&["--fail", "0", "--calls", "20", "--log", file]);
    let address = mock.address();
    let answered = Mutex::new(Vec::new());
    let lines = || std::fs::read_to_string(&path).expect("file should be accessible");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let answered = &answered;
            scope.spawn(move || {
                for n in 0.. {
                    let message = format!("{thread}-{n}");
                    let Ok(mut stream) = TcpStream::connect(address) else {
                        return;
                    };
                    drop(stream.write_all(&sign_request(&message)));
                    let Ok(response) = read(&mut stream, false) else {
                        return;
                    };
                    let mut answered = answered.lock().expect("thread should not panic");
                    answered.push((message, response.status));
                }
            });
        }
        until("some calls arrive", || lines().lines().count() > 200);
        mock.kill();
    });
    let text = lines();
    assert!(text.ends_with('\n'));
    let arrivals: Vec<Arrival> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("line should be complete"))
        .collect();
    for (at, arrival) in arrivals.iter().enumerate() {
        assert_eq!(arrival.seq, at as u64);
    }
    let logged: HashSet<_> = arrivals
        .iter()
        .filter_map(|arrival| Some((arrival.message.clone()?, arrival.status)))
        .collect();
    let answered = answered.into_inner().expect("thread should not panic");
    assert!(answered.len() > 100);
    for (message, status) in answered {
        assert!(logged.contains(&(message, Outcome::Answered(status))));
    }
}

#[test]
fn mock_exits_with_its_parent() {
    let mut child = Command::new(server::mock("mock-upstream"))
        .arg("--end-with-stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("binary should start");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("stream should be piped"));
    out.read_line(&mut line).expect("pipe should be readable");
    let ready: Value = serde_json::from_str(&line).expect("text should be JSON");
    let address: SocketAddr = ready["listening"]
        .as_str()
        .and_then(|a| a.parse().ok())
        .expect("address should be valid");
    assert!(
        can_connect(address)
            && child
                .try_wait()
                .expect("child should be waitable")
                .is_none()
    );
    drop(child.stdin.take());
    until("the process ends", || {
        child
            .try_wait()
            .expect("child should be waitable")
            .is_some()
    });
}

/// The search of the servers' logs must know every signed message, even if no test requested it.
#[test]
fn mock_records_messages_signatures_and_its_key() {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let mut child = Command::new(server::mock("mock-upstream"))
        .args([
            "--end-with-stdin",
            "--fail",
            "0",
            "--key",
            "the-key-of-this-test",
        ])
        .env("BULKHEAD_TEST_LOGS", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("binary should start");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("stream should be piped"));
    out.read_line(&mut line).expect("pipe should be readable");
    let ready: Value = serde_json::from_str(&line).expect("text should be JSON");
    let address = ready["listening"]
        .as_str()
        .and_then(|a| a.parse().ok())
        .expect("address should be valid");
    let target = "/crypto/sign?message=a%20message%20to%20keep";
    let headers = [("Authorization", "the-key-of-this-test")];
    let response = request(address, "GET", target, &headers, b"");
    let canaries =
        std::fs::read_to_string(folder.path().join("canaries")).expect("file should be accessible");
    let lines: Vec<_> = canaries.lines().collect();
    assert_eq!(
        lines,
        [
            "the-key-of-this-test",
            "a message to keep",
            &text(&response)[..48]
        ]
    );
    drop(child.stdin.take());
    child.wait().expect("child should be waitable");
}

/// The compose demo in the README depends on this: its message fails first, so that the response is
/// 202, and is signed within a minute, so that a webhook follows.
#[test]
fn compose_sample_fails_first_and_recovers_within_a_minute() {
    let compose = include_str!("../../../compose.yaml");
    let (_, service) = compose
        .split_once("\n  mock-upstream:\n")
        .expect("service should be in compose.yaml");
    let (_, command) = service
        .split_once("command:\n")
        .expect("service should have arguments");
    let arguments = command
        .lines()
        .map_while(|line| line.trim().strip_prefix("- "));
    let own = ["--listen", "--control", "--key"];
    let mut arguments: Vec<_> = arguments
        .filter(|argument| !own.iter().any(|own| argument.starts_with(own)))
        .collect();
    assert!(arguments.contains(&"--verbose"), "{arguments:?}");
    arguments.extend(["--calls", "1000000", "--scale", "0.02"]);
    let mock = MockUpstream::start(&arguments);
    let response = sign(&mock, "hello");
    assert_eq!(response.status, 502);
    // Like the relay without other messages: at the pace of the quota.
    let start = Instant::now();
    let pace = Duration::from_secs(6).mul_f64(0.02);
    until("the message is signed", || {
        std::thread::sleep(pace);
        sign(&mock, "hello").status == 200
    });
    let took = start.elapsed().div_f64(0.02);
    assert!(took < Duration::from_secs(30), "{took:?}");
    let lines = mock.output();
    assert!(lines.contains("hello") && lines.contains("502"), "{lines}");
}
