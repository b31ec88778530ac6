//! Allowed receivers of callbacks, and their responses.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::dns::{Reply, outbound_with_dns};
use super::server::{Server, read_request};
use super::*;
use crate::listed::assert_listed;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn error_text(result: Result<impl std::fmt::Debug, TargetError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn forbidden_address_and_localhost_are_rejected_without_dns() {
    let outbound = Outbound::new(&setup(&[])).unwrap();
    for (host, reason) in [
        ("127.0.0.1", "the address is loopback (127.0.0.0/8)"),
        ("127.255.255.254", "the address is loopback (127.0.0.0/8)"),
        ("0", "the address is of this network (0.0.0.0/8)"),
        ("0x7f.1", "the address is loopback (127.0.0.0/8)"),
        ("2130706433", "the address is loopback (127.0.0.0/8)"),
        ("0177.1", "the address is loopback (127.0.0.0/8)"),
        ("１２７.１", "the address is loopback (127.0.0.0/8)"),
        ("%31%30.1.2.3", "the address is private (10.0.0.0/8)"),
        ("10.1.2.3.", "the address is private (10.0.0.0/8)"),
        (
            "169.254.169.254",
            "the address is link-local (169.254.0.0/16)",
        ),
        (
            "100.100.100.200",
            "the address is shared among a carrier's customers (100.64.0.0/10)",
        ),
        ("[::1]", "the address is loopback (::1/128)"),
        ("[::]", "the address is unspecified (::/128)"),
        (
            "[::ffff:93.184.215.14]",
            "the address is an IPv4 address in IPv6 form (::ffff:0:0/96)",
        ),
        (
            "[::127.0.0.1]",
            "the address is an IPv4 address in IPv6 form (::/96)",
        ),
        (
            "[64:ff9b::a00:1]",
            "the address is for NAT64 (64:ff9b::/96)",
        ),
        ("[2002:7f00:1::]", "the address is for 6to4 (2002::/16)"),
        ("[2001:0:1::]", "the address is for Teredo (2001::/32)"),
        ("[fd00:ec2::254]", "the address is private (fc00::/7)"),
        ("[fe80::1]", "the address is link-local (fe80::/10)"),
        (
            "[1::1]",
            "the address is not one for hosts (outside 2000::/3)",
        ),
        ("localhost", "the host is this machine (localhost)"),
        ("LocalHost", "the host is this machine (localhost)"),
        ("a.b.localhost", "the host is this machine (localhost)"),
        ("ｌocalhost", "the host is this machine (localhost)"),
        ("loc%61lhost", "the host is this machine (localhost)"),
        ("localhost.", "the host ends with a dot: remove it"),
    ] {
        for url in [format!("http://{host}/x"), format!("https://{host}:8443")] {
            assert_eq!(error_text(outbound.callback_target(&url)), reason, "{url}");
        }
    }
    for url in [
        "http://93.184.215.14/",
        "https://[2606:4700::1111]:8443/a?b",
        "http://receiver.example/",
        "http://localhost.example/",
        "http://notlocalhost/",
    ] {
        assert!(outbound.callback_target(url).is_ok(), "{url}");
    }
}

#[test]
fn allowed_host_is_accepted() {
    let outbound = Outbound::new(&setup(&[
        "10.0.0.0/8",
        "127.0.0.1:8080",
        "[fd00::1]",
        "*.localhost",
    ]))
    .unwrap();
    for (url, passes) in [
        ("http://10.1.2.3:81/", true),
        ("http://11.0.0.1/", true),
        ("http://127.0.0.1:8080/", true),
        ("http://127.0.0.1/", false),
        ("http://[fd00::1]/", true),
        ("http://[fd00::2]/", false),
        ("http://[::ffff:10.1.2.3]/", false),
        ("http://a.localhost/", true),
        ("http://localhost/", false),
    ] {
        assert_eq!(outbound.callback_target(url).is_ok(), passes, "{url}");
    }
}

#[test]
fn url_over_limit_is_rejected_also_when_escaped() {
    let outbound = Outbound::new(&setup(&[])).unwrap();
    let prefix = "http://receiver.example/";
    let fits = format!(
        "{prefix}{}",
        "a".repeat(CALLBACK_URL_BYTES_MAX - prefix.len())
    );
    assert_eq!(outbound.callback_target(&fits).unwrap().as_str(), fits);
    let escaped = format!("{prefix}{}", "ä".repeat(CALLBACK_URL_BYTES_MAX / 4));
    for url in [format!("{fits}a"), format!("{fits}#a"), escaped] {
        let reason = error_text(outbound.callback_target(&url));
        assert_eq!(reason, "the URL has more than 2048 bytes");
    }
}

#[tokio::test]
async fn one_forbidden_address_rejects_name() {
    let server = Server::answering(ANSWER).await;
    let port = server.address.port();
    let outbound = outbound_with_dns(&setup(&["127.0.0.1", "named.example"]), |name| {
        Reply::Addresses(match name {
            "good.example" => vec!["127.0.0.1"],
            "mixed.example" => vec!["127.0.0.1", "10.0.0.1"],
            "six.example" => vec!["127.0.0.1", "fd00::1"],
            "mapped.example" => vec!["::ffff:127.0.0.1"],
            "other.example" => vec!["127.0.0.2"],
            "named.example" => vec!["127.0.0.2", "127.0.0.1"],
            _ => return Reply::NoSuchName,
        })
    })
    .await;
    let call = async |name: &str| {
        let target = outbound
            .callback_target(&format!("http://{name}:{port}/"))
            .unwrap();
        outbound.callback(&target, post("x"), generous()).await
    };
    for name in ["good.example", "named.example"] {
        assert_eq!(call(name).await.unwrap().status, 200, "{name}");
    }
    assert_eq!(server.accepted(), 2);
    for (name, reason) in [
        (
            "mixed.example",
            "an address of the host is private (10.0.0.0/8)",
        ),
        (
            "six.example",
            "an address of the host is private (fc00::/7)",
        ),
        (
            "mapped.example",
            "an address of the host is an IPv4 address in IPv6 form (::ffff:0:0/96)",
        ),
        (
            "other.example",
            "an address of the host is loopback (127.0.0.0/8)",
        ),
        ("none.example", "the name has no address"),
    ] {
        let failure = call(name).await.unwrap_err();
        assert_eq!(failure.to_string(), reason);
        assert!(!failure.sent());
    }
    // The list and the checks apply only to callbacks.
    let upstream = Target::upstream(&format!("http://other.example:{port}")).unwrap();
    let result = outbound.upstream(&upstream, get(), generous()).await;
    assert_eq!(
        result,
        Err(Failure::NotConnected("the connection was refused"))
    );
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn addresses_are_checked_at_every_attempt() {
    let server = Server::answering(ANSWER).await;
    let queries = AtomicUsize::new(0);
    // The first attempt (two queries) gets an allowed address, the second one gets another.
    let outbound = outbound_with_dns(&setup(&["127.0.0.1"]), move |_| {
        Reply::Addresses(match queries.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => vec!["127.0.0.1"],
            _ => vec!["169.254.169.254"],
        })
    })
    .await;
    let url = format!("http://rebinding.example:{}/", server.address.port());
    let target = outbound.callback_target(&url).unwrap();
    let first = outbound.callback(&target, post("x"), generous()).await;
    assert_eq!(first.unwrap().status, 200);
    let second = outbound.callback(&target, post("x"), generous()).await;
    assert!(matches!(second, Err(Failure::NotAllowed(_))), "{second:?}");
    assert_eq!(server.accepted(), 1);
}

/// The list of exceptions does not depend on what another call has kept.
#[tokio::test]
async fn kept_addresses_are_checked_at_every_attempt() {
    let server = Server::answering(ANSWER).await;
    let outbound = outbound_with_dns(&setup(&[]), |_| Reply::Keep(vec!["127.0.0.1"])).await;
    let url = format!("http://receiver.example:{}/", server.address.port());
    // The upstream's address is not checked, and is kept.
    let upstream = Target::upstream(&url).unwrap();
    let answer = outbound.upstream(&upstream, get(), generous()).await;
    assert_eq!(answer.unwrap().status, 200);
    for _ in 0..2 {
        let target = outbound.callback_target(&url).unwrap();
        let result = outbound.callback(&target, post("x"), generous()).await;
        assert!(matches!(result, Err(Failure::NotAllowed(_))), "{result:?}");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn target_is_checked_by_callback() {
    let server = Server::answering(ANSWER).await;
    let strict = Outbound::new(&setup(&[])).unwrap();
    let port = server.address.port();
    for url in [server.url(), format!("http://localhost:{port}/")] {
        let target = Target::upstream(&url).unwrap();
        let result = strict.callback(&target, post("x"), generous()).await;
        assert!(matches!(result, Err(Failure::NotAllowed(_))), "{url}");
    }
    assert_eq!(server.accepted(), 0);
    // The address of the upstream is not restricted.
    let target = Target::upstream(&format!("http://localhost:{port}/")).unwrap();
    let answer = strict.upstream(&target, get(), generous()).await;
    assert_eq!(answer.unwrap().body, "ok");
}

#[tokio::test]
async fn next_address_is_tried_with_same_host() {
    let (requests, mut received) = mpsc::unbounded_channel();
    let server = Server::start_at("127.0.0.3:0", move |mut stream| {
        let requests = requests.clone();
        async move {
            requests.send(read_request(&mut stream).await).unwrap();
            stream.write_all(ANSWER.as_bytes()).await.unwrap();
        }
    })
    .await;
    let outbound = outbound_with_dns(&setup(&["*.example"]), |_| {
        Reply::Addresses(vec!["127.0.0.2", "127.0.0.3", "127.0.0.4"])
    })
    .await;
    let port = server.address.port();
    let url = format!("http://receiver.example:{port}/path");
    let target = outbound.callback_target(&url).unwrap();
    let answer = outbound.callback(&target, post("x"), generous()).await;
    assert_eq!(answer.unwrap().status, 200);
    let request = received.recv().await.unwrap();
    let host = format!("\r\nhost: receiver.example:{port}\r\n");
    assert!(request.contains(&host), "{request}");
    assert!(request.starts_with("POST /path HTTP/1.1\r\n"));
}

#[tokio::test]
async fn silent_dns_ends_at_deadline() {
    let outbound = outbound_with_dns(&setup(&[]), |_| Reply::Nothing).await;
    let target = outbound
        .callback_target("http://receiver.example/")
        .unwrap();
    let limits = within(Duration::from_millis(300));
    let result = outbound.callback(&target, post("x"), limits).await;
    let expected = Failure::NotConnected("the connection was not established in time");
    assert_eq!(result, Err(expected));
    assert!(Instant::now() < limits.deadline + TIME_MAX / 2);
}

async fn deliver(answer: impl Into<Vec<u8>>) -> Result<Response, Failure> {
    let server = Server::answering(answer).await;
    let target = outbound().callback_target(&server.url()).unwrap();
    let result = outbound().callback(&target, post("x"), generous()).await;
    assert_eq!(server.accepted(), 1);
    result
}

#[tokio::test]
async fn callback_needs_only_status_line_of_response() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1_000_000));
    let endless_head = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(100_000));
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(5000));
    let long_header = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(40_000));
    for (answer, status) in [
        (ANSWER, 200),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("HTTP/1.0 202 Accepted\r\n\r\n", 202),
        ("HTTP/1.1 200 OK\r\n\r\nwithout end", 200),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", 200),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nlong",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ngarbage",
            200,
        ),
        (&endless, 200),
        ("HTTP/1.1 307 x\r\nLocation: http://127.0.0.1/\r\n\r\n", 307),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 x\r\n\r\n", 500),
        ("HTTP/1.1 103\nA: b\n\nHTTP/1.1 200\n\n", 200),
        // curl accepts all of these.
        ("HTTP/1.1 200 OK\r\n", 200),
        ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", 200),
        ("HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n", 200),
        ("HTTP/1.1 200 O\u{1}K\r\nX: a\u{1}\u{7f}\r\n\r\n", 200),
        ("HTTP/1.1 200 OK\r\nX y: z\r\n: z\r\n\r\n", 200),
        (&many_headers, 200),
        (&long_header, 200),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
            200,
        ),
        // curl accepts the status lines of these, and rejects a header.
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 200),
        ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", 200),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok", 200),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: odd\r\n\r\nok", 200),
        (&endless_head, 200),
    ] {
        let expected = Response {
            status,
            retry_after: None,
            body: Bytes::new(),
        };
        assert_eq!(deliver(answer).await, Ok(expected), "{answer:.60?}");
    }
}

#[tokio::test]
async fn retry_after_of_receiver_is_returned_from_odd_headers() {
    for header in [
        "Retry-After: 120",
        "retry-after : 120 ",
        "X\r\nRETRY-AFTER:120",
    ] {
        let answer = format!("HTTP/1.1 503 Busy\r\nX: \u{1}\r\n{header}\r\n\r\n");
        let retry_after = deliver(answer).await.unwrap().retry_after;
        assert_eq!(retry_after.as_deref(), Some("120"), "{header:?}");
    }
}

#[tokio::test]
async fn failure_of_callback_names_status_line() {
    let fault = |fault| Err(Failure::StatusLine(fault));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(20_000);
    let long_line = format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(400_000));
    for (answer, expected) in [
        ("garbage", fault(StatusLineFault::Protocol)),
        ("SSH-2.0-OpenSSH_9.9\r\n", fault(StatusLineFault::Protocol)),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}", fault(StatusLineFault::Tls)),
        ("HTTP/1.1 20 OK\r\n\r\n", fault(StatusLineFault::Status)),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            fault(StatusLineFault::SwitchingProtocols),
        ),
        ("", Err(Failure::CutOff)),
        ("HTTP/1.1 200 OK", Err(Failure::CutOff)),
        ("HTTP/1.1 100 Continue\r\n\r\n", Err(Failure::CutOff)),
        (&interim, Err(Failure::TooLong)),
        (&long_line, Err(Failure::TooLong)),
    ] {
        let result = deliver(answer).await;
        assert_eq!(result, expected, "{answer:.60?}");
    }
    for (situation, answer) in [
        ("attempt: the receiver is not an HTTP server", "garbage"),
        (
            "attempt: the receiver expects TLS",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}",
        ),
        (
            "attempt: the receiver's status is not one of HTTP",
            "HTTP/1.1 20 OK\r\n\r\n",
        ),
        (
            "attempt: the receiver changes the protocol",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        ),
    ] {
        let failure = deliver(answer).await.unwrap_err();
        assert_listed(situation, &failure, &[]);
    }
}

#[tokio::test]
async fn callback_is_sent_whole_with_one_length() {
    let (requests, mut received) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            requests.send(read_request(&mut stream).await).unwrap();
            stream.write_all(ANSWER.as_bytes()).await.unwrap();
        }
    })
    .await;
    let target = outbound()
        .callback_target(&format!("{}path?a=b", server.url()))
        .unwrap();
    let large = "x".repeat(1 << 20);
    for body in ["", "body", &large] {
        let mut request = post(body.to_owned());
        request.headers = vec![
            (hyper::header::CONTENT_TYPE, "text/plain".parse().unwrap()),
            (hyper::header::CONTENT_LENGTH, "0".parse().unwrap()),
        ];
        let answer = outbound().callback(&target, request, generous()).await;
        assert_eq!(answer.unwrap().status, 200);
        let expected = format!(
            "POST /path?a=b HTTP/1.1\r\nhost: {}\r\nuser-agent: bulkhead/{}\r\nconnection: close\r\n\
             content-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
            server.address,
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        assert!(received.recv().await.unwrap() == expected, "{body:.10}");
    }
}

/// The receiver responds, but neither reads the request nor closes the connection.
#[tokio::test]
async fn callback_may_be_answered_before_it_is_read() {
    let server = Server::start(|mut stream| async move {
        stream.write_all(ANSWER.as_bytes()).await.unwrap();
        let () = std::future::pending().await;
        drop(stream);
    })
    .await;
    let target = outbound().callback_target(&server.url()).unwrap();
    let request = post(vec![0; 16 << 20]);
    let answer = outbound().callback(&target, request, generous()).await;
    assert_eq!(answer.unwrap().status, 200);
}

/// Some receivers respond first and read the request afterwards.
#[tokio::test]
async fn request_is_sent_to_its_end_after_status_line() {
    let (requests, mut received) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let requests = requests.clone();
        async move {
            let status = b"HTTP/1.1 200 OK\r\n";
            stream.write_all(status).await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"END") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            requests.send(request.len()).unwrap();
            stream.write_all(b"\r\n").await.unwrap();
        }
    })
    .await;
    let target = outbound().callback_target(&server.url()).unwrap();
    // This is more than the kernel buffers.
    let body = "x".repeat(16 << 20) + "END";
    let body_bytes = body.len();
    let answer = outbound().callback(&target, post(body), generous()).await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(received.recv().await.unwrap() > body_bytes);
}

#[tokio::test]
async fn silent_receiver_is_reset_at_deadline() {
    for answer in ["", "HTTP/1.1 200", "HTTP/1.1 100 Continue\r\nX: "] {
        let (ends, mut ended) = mpsc::unbounded_channel();
        let server = Server::start(move |mut stream| {
            let ends = ends.clone();
            async move {
                read_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                ends.send(stream.read(&mut [0]).await).unwrap();
            }
        })
        .await;
        let target = outbound().callback_target(&server.url()).unwrap();
        let limits = within(Duration::from_millis(300));
        let result = outbound().callback(&target, post("x"), limits).await;
        assert_eq!(result, Err(Failure::TimedOut), "{answer}");
        assert!(Instant::now() >= limits.deadline);
        let kind = ended.recv().await.unwrap().unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn rest_of_response_is_read_for_short_time() {
    let server = Server::start(|mut stream| async move {
        read_request(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let () = std::future::pending().await;
    })
    .await;
    let target = outbound().callback_target(&server.url()).unwrap();
    for time in [TIME_MAX, Duration::from_millis(300)] {
        let limits = within(time);
        let result = outbound().callback(&target, post("x"), limits).await;
        assert_eq!(result.unwrap().status, 200);
        assert!(Instant::now() < limits.deadline + TIME_MAX / 2);
        if time == TIME_MAX {
            assert!(Instant::now() < limits.deadline - TIME_MAX / 2);
        }
    }
}
