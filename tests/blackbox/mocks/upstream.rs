//! The mock upstream.

use super::{End, can_connect, read_to_end, read_until_silence, send_and_read};
use bulkhead_tests::http::{Response, connect, head, read, request};
use bulkhead_tests::mock::upstream::{KEY, PUBLIC_KEY};
use bulkhead_tests::mock::{Arrival, Fault, Kind, MockUpstream, Outcome, max_in_window};
use bulkhead_tests::until;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Returns a mock without failures unless they are ordered.
fn reliable() -> MockUpstream {
    MockUpstream::start(&["--fail", "0", "--calls", "1000000"])
}

fn get(address: SocketAddr, target: &str) -> Response {
    request(address, "GET", target, &[("Authorization", KEY)], b"")
}

pub(super) fn sign(mock: &MockUpstream, message: &str) -> Response {
    get(mock.address(), &format!("/crypto/sign?message={message}"))
}

/// Returns the bytes of a request to sign.
pub(super) fn sign_request(message: &str) -> Vec<u8> {
    let target = format!("/crypto/sign?message={message}");
    head("GET", &target, &[("Authorization", KEY)], 0)
}

pub(super) fn text(response: &Response) -> &str {
    std::str::from_utf8(&response.body).expect("text should be UTF-8")
}

fn statuses(mock: &MockUpstream) -> Vec<Outcome> {
    let arrivals = mock.arrivals().into_iter();
    arrivals.map(|arrival| arrival.status).collect()
}

#[test]
fn upstream_verifies_only_right_signatures() {
    let mock = reliable();
    let response = sign(&mock, "gr%C3%BC%C3%9Fe+an%20alle%26");
    assert_eq!(response.status, 200);
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let signature = text(&response);
    let verify = |message: &str, signature: &str| {
        let target = format!("/crypto/verify?message={message}&signature={signature}");
        get(mock.address(), &target).status
    };
    assert_eq!(verify("gr%C3%BC%C3%9Fe%20an+alle%26", signature), 200);
    assert_eq!(verify("another", signature), 400);
    assert_eq!(verify("another", "AAAA"), 400);
    assert_eq!(get(mock.address(), "/crypto/verify?message=m").status, 400);
    for target in [
        "/crypto/sign",
        "/crypto/sign?message=",
        "/crypto/sign?message=%ff",
    ] {
        assert_eq!(get(mock.address(), target).status, 400, "{target}");
    }
    let arrivals = mock.arrivals();
    assert_eq!(arrivals[0].message.as_deref(), Some("grüße an alle&"));
    let kinds: Vec<_> = arrivals.iter().map(|arrival| arrival.kind).collect();
    assert_eq!(kinds[..2], [Kind::Sign, Kind::Verify]);
    assert_eq!(mock.summary().signed_messages, 1);
    // This path is for tests and does not count.
    let before = arrivals.len();
    assert_eq!(text(&get(mock.address(), "/public-key")), PUBLIC_KEY);
    assert_eq!(mock.arrivals().len(), before);
}

#[test]
#[ignore = "needs openssl"]
fn openssl_verifies_upstream_signatures() {
    use base64::Engine as _;
    let mock = reliable();
    let response = sign(&mock, "for-openssl");
    let bytes = base64::engine::general_purpose::URL_SAFE
        .decode(&response.body)
        .expect("text should be base64url");
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("file should be written");
        path
    };
    let verified = |message: &str| {
        Command::new("openssl")
            .args(["dgst", "-sha256", "-verify"])
            .arg(file("key", PUBLIC_KEY.as_bytes()))
            .arg("-signature")
            .arg(file("signature", &bytes))
            .arg(file("message", message.as_bytes()))
            .output()
            .expect("openssl should start")
            .status
            .success()
    };
    assert!(verified("for-openssl"));
    assert!(!verified("for-openssl\n"));
}

#[test]
fn every_call_counts_whatever_its_status() {
    let mock = MockUpstream::start(&["--fail", "0", "--calls", "6", "--key", "another-key"]);
    let with = |key: &str, target: &str| {
        let headers = [("Authorization", key)];
        request(mock.address(), "GET", target, &headers, b"").status
    };
    assert_eq!(with("another-key", "/"), 200);
    assert_eq!(with(KEY, "/"), 401);
    assert_eq!(with("Bearer another-key", "/crypto/sign?message=m"), 401);
    assert_eq!(with("another-key", "/nowhere"), 404);
    let response = request(mock.address(), "POST", "/crypto/sign", &[], b"message=m");
    assert_eq!(response.status, 401);
    mock.control(&json!({"mode": "reset", "next": 1}));
    assert_eq!(
        send_and_read(mock.address(), &sign_request("m")).end,
        End::Reset
    );
    let rejected = sign(&mock, "m");
    assert_eq!(rejected.status, 429);
    let wait: u64 = rejected
        .header("retry-after")
        .expect("header should be present")
        .parse()
        .expect("wait should be in seconds");
    assert!((50..=60).contains(&wait), "{wait}");
    let summary = mock.summary();
    assert_eq!((summary.arrivals, summary.over_quota), (7, 1));
    assert_eq!(summary.max_in_window, 7);
    assert_eq!((summary.calls, summary.window_ms), (6, 60_000.0));
    let by_kind: Vec<_> = summary.by_kind.into_iter().collect();
    assert_eq!(by_kind, [(Kind::Sign, 3), (Kind::Key, 2), (Kind::Other, 2)]);
    let over: Vec<_> = mock
        .arrivals()
        .iter()
        .map(|arrival| arrival.over_quota)
        .collect();
    assert_eq!(over, [false, false, false, false, false, false, true]);
}

/// Responses with 429 depend only on the times in the log.
#[test]
fn quota_follows_from_the_logged_times() {
    const CALLS: usize = 4;
    let window = Duration::from_millis(50);
    let mock = MockUpstream::start(&["--fail", "0", "--calls", "4", "--window", "50ms"]);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut kept = connect(mock.address());
    for _ in 0..300 {
        let bytes = b"GET / HTTP/1.1\r\nHost: m\r\nAuthorization: mock-upstream-key\r\n\r\n";
        kept.write_all(bytes).expect("data should be sent");
        read(&mut kept, false).expect("response should arrive");
        std::thread::sleep(Duration::from_micros(random.gen_range(0..25_000)));
    }
    let arrivals = mock.arrivals();
    assert_eq!(arrivals.len(), 300);
    for (at, arrival) in arrivals.iter().enumerate() {
        let within = |other: &&Arrival| other.at + window > arrival.at;
        let over = arrivals[..=at].iter().filter(within).count() > CALLS;
        assert_eq!(arrival.over_quota, over, "{arrival:?}");
        let expected = Outcome::Answered(if over { 429 } else { 200 });
        assert_eq!(arrival.status, expected);
    }
    let over = arrivals.iter().filter(|arrival| arrival.over_quota).count();
    assert!((1..299).contains(&over), "{over}");
    let max = max_in_window(&arrivals, window);
    assert!(max > CALLS);
    assert_eq!(mock.summary().max_in_window, max);
}

#[test]
fn half_of_the_messages_fail_and_recover() {
    let arguments = [
        "--calls",
        "1000000",
        "--degraded",
        "3s..18s",
        "--scale",
        "0.01",
    ];
    let mock = MockUpstream::start(&arguments);
    let other = MockUpstream::start(&arguments);
    let messages: Vec<_> = (0..60).map(|n| format!("message-{n}")).collect();
    let mut failed = Vec::new();
    for message in &messages {
        let status = sign(&mock, message).status;
        // Equal seeds give equal failures.
        assert_eq!(sign(&other, message).status, status);
        assert!([200, 502].contains(&status));
        if status == 502 {
            failed.push(message);
        }
    }
    assert!((15..45).contains(&failed.len()), "{}", failed.len());
    for message in &failed {
        let mut bodies = HashSet::new();
        until("the message is signed", || {
            let response = sign(&mock, message);
            let media_type = response.header("content-type").map(str::to_owned);
            bodies.insert((response.status, media_type));
            response.status == 200
        });
        assert!(bodies.iter().all(|(status, _)| [200, 502].contains(status)));
    }
    assert_eq!(mock.summary().signed_messages, messages.len());
    // At least 30 ms, which are 3 s when scaled, pass from the first failure to the first success.
    let arrivals = mock.arrivals();
    for message in &failed {
        let mut own = arrivals
            .iter()
            .filter(|a| a.message.as_ref() == Some(message));
        let first = own.next().expect("message should have failed first").at;
        let last = own
            .next_back()
            .expect("message should have succeeded last")
            .at;
        assert!(last >= first + Duration::from_millis(30));
    }
}

#[test]
fn broken_responses_are_sent_as_ordered() {
    let mock = reliable();
    let whole = send_and_read(mock.address(), &sign_request("m"));
    assert_eq!((whole.response().status, whole.end), (200, End::Orderly));
    let broken = |mode: &str| {
        mock.control(&json!({"mode": mode, "next": 1}));
        send_and_read(mock.address(), &sign_request("m"))
    };
    mock.control(&json!({"mode": "hang", "next": 1}));
    read_until_silence(mock.address(), &sign_request("m"), b"");
    let received = broken("reset");
    assert_eq!((received.bytes.len(), received.end), (0, End::Reset));
    let received = broken("garbage");
    assert_eq!(received.end, End::Orderly);
    assert!(!received.bytes.is_empty() && !received.bytes.starts_with(b"HTTP/"));
    let received = broken("half");
    assert_eq!(received.end, End::Orderly);
    let text = String::from_utf8_lossy(&received.bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .expect("head should be complete");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 344\r\n"));
    assert_eq!(body.len(), 172);
    // The commands are used up, so that the mock works again.
    assert_eq!(sign(&mock, "m").status, 200);
    let faults = [Fault::Hang, Fault::Reset, Fault::Garbage, Fault::Half];
    let mut expected = vec![Outcome::Answered(200)];
    expected.extend(faults.map(Outcome::Broken));
    expected.push(Outcome::Answered(200));
    assert_eq!(statuses(&mock), expected);
}

#[test]
fn slow_responses_arrive_complete() {
    let mock = reliable();
    let slow = |mode: &str, delay: u64| {
        mock.control(&json!({"mode": mode, "next": 1, "delay_ms": delay}));
        let received = send_and_read(mock.address(), &sign_request("m"));
        assert_eq!(
            (received.response().status, &received.end),
            (200, &End::Orderly)
        );
        assert_eq!(received.response().body.len(), 344);
        let head = received.bytes.len() - 344;
        (
            received.took,
            u32::try_from(head).expect("head should be short"),
        )
    };
    let wait = Duration::from_millis(1);
    assert!(slow("late", 150).0 >= 150 * wait);
    assert!(slow("drip", 1).0 >= 344 * wait);
    let (took, head) = slow("slow-headers", 1);
    assert!(took >= head * wait && head > 60);
    // The default delays are scaled: 20 s, and 1 s per byte.
    let mock = MockUpstream::start(&["--fail", "0", "--scale", "0.005"]);
    mock.control(&json!({"mode": "late"}));
    let late = send_and_read(mock.address(), &sign_request("m"));
    assert!((Duration::from_millis(100)..Duration::from_secs(10)).contains(&late.took));
}

/// Each byte arrives before the next one is sent.
#[test]
fn drip_sends_single_bytes() {
    let mock = reliable();
    mock.control(&json!({"mode": "drip", "delay_ms": 3_600_000}));
    let received = read_until_silence(mock.address(), &sign_request("m"), b"\r\n\r\n");
    assert!(received.starts_with(b"HTTP/1.1 200 "));
    mock.control(&json!({"mode": "slow-headers", "delay_ms": 3_600_000}));
    read_until_silence(mock.address(), &sign_request("m"), b"");
    // Some bytes arrive before others are sent.
    mock.control(&json!({"mode": "drip", "delay_ms": 100}));
    let mut stream = connect(mock.address());
    stream
        .write_all(&sign_request("m"))
        .expect("data should be sent");
    let mut piece = [0; 4096];
    for _ in 0..3 {
        let read = stream.read(&mut piece).expect("bytes should arrive");
        assert!((1..300).contains(&read), "{read}");
    }
}

#[test]
fn status_200_without_a_signature_is_sent_as_ordered() {
    let mock = reliable();
    let right = sign(&mock, "m");
    let answered = |mode: &str| {
        mock.control(&json!({"mode": mode}));
        let response = sign(&mock, "m");
        assert_eq!(response.status, 200);
        response
    };
    let cut = answered("truncated-base64");
    assert!(right.body.starts_with(&cut.body) && cut.body.len() % 4 == 1);
    let wrong = answered("wrong-signature");
    assert_eq!(wrong.body.len(), right.body.len());
    assert_ne!(wrong.body, right.body);
    let html = answered("html-200");
    assert_eq!(
        html.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(text(&html).contains("<p>"));
    // Only the first signature was right.
    assert_eq!(mock.summary().signed_messages, 1);
    mock.control(&json!({"mode": "normal"}));
    let target = format!("/crypto/verify?message=m&signature={}", text(&wrong));
    assert_eq!(get(mock.address(), &target).status, 400);
}

#[test]
fn ordered_status_has_its_retry_after() {
    let mock = reliable();
    let ordered = |order: Value| {
        mock.control(&order);
        let response = sign(&mock, "m");
        let after = response.header("retry-after").map(str::to_owned);
        (response.status, after)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(ordered(json!({"mode": "429"})), (429, some("60")));
    assert_eq!(
        ordered(json!({"mode": "429", "retry_after": null})),
        (429, None)
    );
    assert_eq!(
        ordered(json!({"mode": "429", "retry_after": 7})),
        (429, some("7"))
    );
    assert_eq!(
        ordered(json!({"mode": "503", "retry_after": "soon"})),
        (503, some("soon"))
    );
    for status in [500, 401, 404] {
        assert_eq!(ordered(json!({"mode": status.to_string()})), (status, None));
    }
    // A fault on one path only.
    mock.control(&json!([{"mode": "normal"}, {"mode": "500", "path": "/crypto/verify"}]));
    let target = "/crypto/verify?message=m&signature=AAAA";
    assert_eq!(get(mock.address(), target).status, 500);
    assert_eq!(sign(&mock, "m").status, 200);
    let rejected = mock.try_control(r#"{"mode": "nap"}"#);
    assert_eq!(rejected.status, 400);
    assert!(text(&rejected).contains("nap"));
}

#[test]
fn random_faults_match_their_probability() {
    let mock = reliable();
    mock.control(&json!([
        {"mode": "500", "probability": 0.3},
        {"mode": "garbage", "probability": 0.3},
    ]));
    for _ in 0..300 {
        send_and_read(mock.address(), &sign_request("m"));
    }
    let statuses = statuses(&mock);
    let count = |wanted: Outcome| statuses.iter().filter(|status| **status == wanted).count();
    // Expected are 90, 63 and 147. The bounds are five standard deviations.
    assert!((50..130).contains(&count(Outcome::Answered(500))));
    assert!((28..98).contains(&count(Outcome::Broken(Fault::Garbage))));
    assert!((104..190).contains(&count(Outcome::Answered(200))));
}

#[test]
fn connection_reset_before_reading_is_not_an_arrival() {
    let mock = reliable();
    let mut kept = connect(mock.address());
    let bytes = b"GET / HTTP/1.1\r\nHost: m\r\n\r\n";
    kept.write_all(bytes).expect("data should be sent");
    assert_eq!(
        read(&mut kept, false)
            .expect("response should arrive")
            .status,
        401
    );
    mock.control(&json!({"mode": "reset-before", "next": 2}));
    // This works on an open connection and on a new one.
    kept.write_all(bytes).expect("data should be sent");
    assert_eq!(read_to_end(&mut kept, &mut Vec::new()), End::Reset);
    assert_eq!(
        send_and_read(mock.address(), &sign_request("m")).end,
        End::Reset
    );
    assert_eq!(sign(&mock, "m").status, 200);
    let summary = mock.summary();
    assert_eq!((summary.arrivals, summary.cut_unread), (2, 2));
}

#[test]
fn closed_listener_reopens_on_the_same_port() {
    let mock = reliable();
    let mut kept = connect(mock.address());
    assert!(can_connect(mock.address()));
    mock.control(&json!({"mode": "refuse"}));
    assert!(!can_connect(mock.address()));
    // No other process can bind the port meanwhile, and open connections are cut.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
    let bound = rustix::net::bind(socket.expect("socket should be created"), &mock.address());
    assert_eq!(bound, Err(rustix::io::Errno::ADDRINUSE));
    read_to_end(&mut kept, &mut Vec::new());
    mock.control(&json!({"mode": "normal"}));
    assert_eq!(sign(&mock, "m").status, 200);
    let closed = Instant::now();
    mock.control(&json!({"mode": "refuse", "delay_ms": 100}));
    assert!(!can_connect(mock.address()));
    until("the listener is open", || can_connect(mock.address()));
    assert!(closed.elapsed() >= Duration::from_millis(100));
    assert_eq!(sign(&mock, "m").status, 200);
}

/// A request arrives when its head is complete. One connection may carry many requests.
#[test]
fn arrival_time_is_that_of_the_complete_head() {
    let mock = reliable();
    let bytes = sign_request("m");
    let (beginning, rest) = bytes.split_at(bytes.len() - 1);
    let mut slow = connect(mock.address());
    slow.write_all(beginning).expect("data should be sent");
    let mut kept = TcpStream::connect(mock.address()).expect("listener should accept");
    let two =
        "GET /crypto/sign?message=n HTTP/1.1\r\nAuthorization: mock-upstream-key\r\n\r\n".repeat(2);
    kept.write_all(two.as_bytes()).expect("data should be sent");
    until("two calls arrive", || mock.arrivals().len() == 2);
    slow.write_all(rest).expect("data should be sent");
    assert_eq!(
        read(&mut slow, false)
            .expect("response should arrive")
            .status,
        200
    );
    let arrivals = mock.arrivals();
    let messages: Vec<_> = arrivals
        .iter()
        .filter_map(|a| a.message.as_deref())
        .collect();
    assert_eq!(messages, ["n", "n", "m"]);
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
}
