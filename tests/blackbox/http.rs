//! Behaviour of all routes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::{connect, head, read, request};
use bulkhead_tests::seal::{literal, seal};
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

#[test]
fn unknown_path_and_method_return_404_and_405() {
    let server = Server::shared();
    let response = server.get("GET", "/nothing");
    assert_eq!(
        (response.status, response.problem().as_str()),
        (404, "not_found")
    );
    let response = server.get("GET", "/decryptMessage");
    assert_eq!(
        (response.status, response.problem().as_str()),
        (405, "method_not_allowed")
    );
    assert_eq!(response.header("allow"), Some("POST, OPTIONS"));
    let response = server.get("DELETE", "/livez");
    assert_eq!(response.status, 405);
    assert_eq!(response.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn head_and_options_return_no_body() {
    let server = Server::shared();
    let response = server.get("HEAD", "/livez");
    assert_eq!((response.status, response.body.len()), (200, 0));
    for (target, allow) in [
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/decryptMessage", "POST, OPTIONS"),
    ] {
        let response = server.get("OPTIONS", target);
        assert_eq!(
            (response.status, response.header("allow")),
            (204, Some(allow))
        );
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(server.get("GET", path).json(), json!({"status": "ok"}));
    }
}

#[test]
fn other_content_type_returns_415_with_accept_post() {
    for headers in [
        &[][..],
        &[("Content-Type", "application/x-www-form-urlencoded")],
    ] {
        let address = Server::shared().address;
        let response = request(address, "POST", "/decryptMessage", headers, b"{}");
        assert_eq!(
            (response.status, response.problem().as_str()),
            (415, "unsupported_media_type")
        );
        assert_eq!(response.header("accept-post"), Some("application/json"));
    }
}

#[test]
fn body_over_the_limit_returns_413_to_a_client_that_sends_on() {
    let server = Server::start(&["--body-max", "1MiB"]);
    let body = vec![b' '; 20 << 20];
    let headers = [("Content-Type", "application/json")];
    let response = request(server.address, "POST", "/decryptMessage", &headers, &body);
    assert_eq!(
        (response.status, response.problem().as_str()),
        (413, "body_too_large")
    );

    // The same without an announced length.
    let mut stream = connect(server.address);
    stream
        .write_all(b"POST /decryptMessage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("data should be sent");
    for _ in 0..20 {
        stream
            .write_all(b"100000\r\n")
            .expect("data should be sent");
        stream
            .write_all(&body[..1 << 20])
            .expect("data should be sent");
        stream.write_all(b"\r\n").expect("data should be sent");
    }
    stream.write_all(b"0\r\n\r\n").expect("data should be sent");
    assert_eq!(
        read(&mut stream, false)
            .expect("response should arrive")
            .problem(),
        "body_too_large"
    );
}

#[test]
fn missing_body_returns_408_after_timeout() {
    let server = Server::start(&["--body-timeout", "200ms"]);
    let mut stream = connect(server.address);
    let headers = [("Content-Type", "application/json")];
    stream
        .write_all(&head("POST", "/decryptMessage", &headers, 100))
        .expect("data should be sent");
    stream.write_all(b"{").expect("data should be sent");
    let response = read(&mut stream, false).expect("response should arrive");
    assert_eq!(
        (response.status, response.problem().as_str()),
        (408, "body_timeout")
    );
}

#[test]
fn long_target_and_headers_return_414_and_431() {
    let server = Server::shared();
    let response = server.get("GET", &format!("/{}", "x".repeat(10_000)));
    assert_eq!(
        (response.status, response.problem().as_str()),
        (414, "target_too_long")
    );
    let long = "x".repeat(40_000);
    let response = request(server.address, "GET", "/livez", &[("X-Long", &long)], b"");
    assert_eq!(
        (response.status, response.problem().as_str()),
        (431, "headers_too_large")
    );
}

#[test]
fn request_id_is_kept_if_well_formed() {
    let server = Server::shared();
    let send = |id| {
        request(
            server.address,
            "GET",
            "/livez",
            &[("X-Request-Id", id)],
            b"",
        )
    };
    assert_eq!(send("order-66").header("x-request-id"), Some("order-66"));
    let odd = send("a b\tc");
    assert_eq!(odd.header("x-request-id").map(str::len), Some(32));
}

#[test]
fn full_queue_returns_503_at_once() {
    let one = ["--decrypt-workers", "1", "--decrypt-instances", "1"];
    let server = Server::start(&[&one[..], &["--decrypt-queue-max", "1"]].concat());
    let default = bulkhead_tests::fixtures::text("bench/default.asc");
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| server.decrypt("topsecret", &default)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("thread should not panic"))
            .collect()
    });
    assert!(statuses.iter().any(|response| response.status == 200));
    let rejected = statuses
        .iter()
        .find(|response| response.status == 503)
        .expect("a request should be rejected");
    assert_eq!(rejected.problem(), "overloaded");
    assert!(
        rejected
            .header("retry-after")
            .is_some_and(|after| after.parse::<u32>().is_ok())
    );
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
}

/// A body of unknown length reserves only the memory that it needs.
#[test]
fn body_memory_budget_is_shared_by_requests() {
    const HEAD: &[u8] = b"POST /decryptMessage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let server = Server::start(&["--body-max", "1MiB", "--bodies-max", "1MiB"]);
    let unfinished: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(HEAD).expect("data should be sent");
            stream
                .write_all(b"1\r\n{\r\n")
                .expect("data should be sent");
            stream
        })
        .collect();
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
    drop(unfinished);
    let body = " ".repeat(900_000);
    let is_free = || server.post(&body, &[]).status != 503;
    until("the budget is free", is_free);
    // A body that takes nearly the whole budget: another one gets 503 until the first is gone. If the other one arrives
    // first, both are sent again.
    let mut rejected = None;
    let mut large = None;
    until("the budget is exhausted", || {
        let mut stream = connect(server.address);
        stream.write_all(HEAD).expect("data should be sent");
        stream
            .write_all(&[b"c0000\r\n", &vec![b' '; 0xc_0000][..], b"\r\n"].concat())
            .expect("data should be sent");
        large = Some(stream);
        rejected = Some(server.post(&body, &[])).filter(|response| response.status == 503);
        rejected.is_some()
    });
    let rejected = rejected.expect("value was seen");
    assert_eq!(rejected.problem(), "overloaded");
    assert!(rejected.header("retry-after").is_some());
    drop(large);
    until("the budget is free", is_free);
}

/// hyper rejects these requests by itself. The status arrives, however much was sent.
#[test]
fn malformed_http_returns_a_bare_status() {
    let server = Server::shared();
    let many_headers = format!(
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: y\r\n".repeat(2000)
    );
    let huge_head = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(5 << 20));
    let huge_target = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "y".repeat(70_000)
    );
    for (sent, status) in [
        ("hello\r\n\r\n", 400),
        ("GET /livez HTTP/3.0\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (&many_headers, 431),
        (&huge_head, 431),
        (&huge_target, 414),
    ] {
        let mut stream = connect(server.address);
        // Earlier responses on the same connection, with and without a body, must not be confused
        // with the error.
        for method in ["GET", "HEAD"] {
            let request = format!("{method} /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream
                .write_all(request.as_bytes())
                .expect("data should be sent");
            let response = read(&mut stream, method == "HEAD").expect("response should arrive");
            assert_eq!(response.status, 200);
        }
        stream
            .write_all(sent.as_bytes())
            .expect("data should be sent");
        let response = read(&mut stream, false).expect("response should arrive");
        assert_eq!((response.status, response.body.len()), (status, 0));
        let mut rest = Vec::new();
        stream
            .read_to_end(&mut rest)
            .expect("connection should close in order");
        assert!(rest.is_empty(), "{rest:?}");
    }
}

/// Clients that never read their responses: the memory for them is limited, and so is the time.
#[test]
fn unread_responses_are_limited_and_time_out() {
    const RESPONSE_BYTES: usize = 16 << 20;
    let message = STANDARD.encode(seal(&literal(&vec![0; RESPONSE_BYTES])));
    let body = json!({"passphrase": "topsecret", "message": message}).to_string();
    let server = Server::start(&[
        "--responses-max",
        "40MiB",
        "--response-timeout",
        "5s",
        "--connections-max",
        "4",
    ]);
    let before = server.resident_bytes();
    let bytes = "Accept: application/octet-stream\r\nContent-Type: application/json";
    let head = format!(
        "POST /decryptMessage HTTP/1.1\r\nHost: localhost\r\n{bytes}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let send = || {
        let mut stream = connect(server.address);
        stream
            .write_all(head.as_bytes())
            .expect("data should be sent");
        stream
            .write_all(body.as_bytes())
            .expect("data should be sent");
        stream
    };
    let silent = [send(), send()];
    // Both responses are under way: their first bytes have arrived.
    for stream in &silent {
        assert_eq!(stream.peek(&mut [0]).expect("response should arrive"), 1);
    }
    let rejected = read(&mut send(), false).expect("response should arrive");
    assert_eq!(
        (rejected.status, rejected.problem().as_str()),
        (503, "overloaded")
    );
    assert!(
        rejected.json()["detail"]
            .to_string()
            .contains("--responses-max")
    );
    // After the timeout, the budget, the connections and the memory are free again.
    until("the budget is free", || {
        read(&mut send(), false).is_ok_and(|response| response.status == 200)
    });
    until("the memory is released", || {
        server.resident_bytes() < before + (16 << 20)
    });
    assert_eq!(server.get("GET", "/livez").status, 200);
    for mut stream in silent {
        let mut response = Vec::new();
        let _reset = stream.read_to_end(&mut response);
        assert!(response.len() < RESPONSE_BYTES, "response should be cut");
    }
}

#[test]
fn missing_or_malformed_host_is_rejected_and_options_asterisk_works() {
    // An open server on loopback accepts few hosts otherwise.
    let server = Server::start(&["--allowed-hosts", "*"]);
    let send = |request: &str| {
        let mut stream = connect(server.address);
        stream
            .write_all(request.as_bytes())
            .expect("data should be sent");
        read(&mut stream, false).expect("response should arrive")
    };
    let hostless = send("GET /livez HTTP/1.1\r\n\r\n");
    assert_eq!(
        (hostless.status, hostless.problem().as_str()),
        (400, "malformed_request")
    );
    let twice = send("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(
        (twice.status, twice.problem().as_str()),
        (400, "malformed_request")
    );
    for host in ["a b", "user@host", "a:b", "[::1", "a/b"] {
        let malformed = send(&format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let found = (malformed.status, malformed.problem());
        assert_eq!(found, (400, "malformed_request".to_owned()), "{host}");
    }
    let target = send("GET http://user@host/livez HTTP/1.1\r\nHost: host\r\n\r\n");
    assert_eq!(
        (target.status, target.problem().as_str()),
        (400, "malformed_request")
    );
    for host in ["", "a", "a:80", "[::1]:80", "a_b.example."] {
        let valid = send(&format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(valid.status, 200, "{host}");
    }
    assert_eq!(send("GET /livez HTTP/1.0\r\n\r\n").status, 200);
    let coded = send(
        "POST /token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    );
    assert_eq!(
        (coded.status, coded.problem().as_str()),
        (501, "unknown_transfer_coding")
    );
    let whole = send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(
        (whole.status, whole.header("allow")),
        (204, Some("GET, HEAD, POST, OPTIONS"))
    );
}

#[test]
fn queued_request_returns_503_after_queue_timeout() {
    let server = Server::start(&[
        "--decrypt-workers",
        "1",
        "--decrypt-instances",
        "1",
        "--decrypt-queue-timeout",
        "50ms",
        "--s2k-bytes-max",
        "100GiB",
    ]);
    // About a second of work: SHA-256 over 65,011,712 bytes for each of 16 session keys.
    let skesk = b"\x8c\x0d\x04\x09\x03\x08saltsalt\xff";
    let slow = [&skesk.repeat(16)[..], b"\xd2\x1f\x01", &[7; 30]].concat();
    std::thread::scope(|scope| {
        // On a busy machine the slow message may be the rejected one. It is then sent again.
        let slow = scope.spawn(|| {
            let mut response = server.decrypt("topsecret", &STANDARD.encode(&slow));
            while response.status == 503 {
                response = server.decrypt("topsecret", &STANDARD.encode(&slow));
            }
            response
        });
        let mut rejected = None;
        until("a request is rejected", || {
            let response = server.decrypt("topsecret", SAMPLE);
            rejected = Some(response).filter(|response| response.status == 503);
            rejected.is_some() || slow.is_finished()
        });
        let slow = slow.join().expect("thread should not panic");
        assert_eq!(slow.problem(), "undecryptable");
        let rejected = rejected.expect("a request should be rejected");
        let detail = rejected.json()["detail"].to_string();
        assert!(detail.contains("--decrypt-queue-timeout"), "{detail}");
    });
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
}

/// The client reads only after the server's writes have blocked. Wherever a write was interrupted,
/// no response is confused with another.
#[test]
fn pipelined_responses_stay_in_order_for_a_late_reader() {
    const PINGS: usize = 40_000;
    let server = Server::shared();
    // The plaintext repeats the text of hyper's own error response.
    let text = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".repeat(200_000);
    let message = STANDARD.encode(seal(&literal(text.as_bytes())));
    let body = json!({"passphrase": "topsecret", "message": message}).to_string();
    let mut stream = connect(server.address);
    let mut sender = stream.try_clone().expect("socket should be cloned");
    let sending = std::thread::spawn(move || {
        let ping = b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(PINGS);
        sender.write_all(&ping).expect("data should be sent");
        let head = format!(
            "POST /decryptMessage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/octet-stream\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        sender
            .write_all(head.as_bytes())
            .expect("data should be sent");
        sender
            .write_all(body.as_bytes())
            .expect("data should be sent");
        sender
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n")
            .expect("data should be sent");
    });
    // The first response has arrived. The other responses fill the socket before the client reads.
    stream.peek(&mut [0]).expect("response should arrive");
    let mut all = Vec::new();
    stream
        .read_to_end(&mut all)
        .expect("connection should close in order");
    sending.join().expect("thread should not panic");

    let mut rest = &all[..];
    for _ in 0..PINGS {
        assert_eq!(next(&mut rest, false).0, 200);
    }
    assert_eq!(next(&mut rest, false).0, 100);
    let (status, opened) = next(&mut rest, true);
    assert!(status == 200 && opened == text.as_bytes());
    assert_eq!(next(&mut rest, true).0, 200);
    assert_eq!(next(&mut rest, true), (400, &[][..]));
    assert!(rest.is_empty());
}

/// Parses the status and the body of the next response.
fn next<'a>(rest: &mut &'a [u8], body: bool) -> (u16, &'a [u8]) {
    let end = rest
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("head should be complete")
        + 4;
    let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let bytes = if body { length.unwrap_or(0) } else { 0 };
    let found = &rest[end..end + bytes];
    *rest = &rest[end + bytes..];
    (status.expect("status should be a number"), found)
}

/// A client that never pauses must not prevent the timer from firing.
#[test]
fn body_timeout_ends_a_body_that_never_pauses() {
    let server = Server::start(&["--body-timeout", "200ms"]);
    let mut stream = connect(server.address);
    stream
        .write_all(b"POST /decryptMessage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("data should be sent");
    let pieces = b"1\r\n \r\n".repeat(10_000);
    let mut reader = stream.try_clone().expect("socket should be cloned");
    let response = std::thread::scope(|scope| {
        let response_thread =
            scope.spawn(move || read(&mut reader, false).expect("response should arrive"));
        while !response_thread.is_finished() {
            // The server stops reading in the end.
            let _closed = stream.write_all(&pieces);
        }
        response_thread.join().expect("thread should not panic")
    });
    assert_eq!(
        (response.status, response.problem().as_str()),
        (408, "body_timeout")
    );
}

/// Clients that write their whole body before they read still receive the error.
#[test]
fn early_error_reaches_a_client_that_sends_on() {
    let server = Server::start(&["--body-timeout", "100ms"]);
    let json = ("Content-Type", "application/json");
    for (target, headers, expected) in [
        ("/decryptMessage", &[json][..], 408),
        ("/nothing", &[], 404),
        ("/nothing", &[("Expect", "100-continue")], 404),
        ("/nothing", &[("Expect", "nothing known")], 404),
    ] {
        let mut stream = connect(server.address);
        let piece = vec![b' '; 1 << 20];
        stream
            .write_all(&head("POST", target, headers, 8 << 20))
            .expect("data should be sent");
        for _ in 0..8 {
            stream
                .write_all(&piece)
                .expect("data should be sent despite the error");
            if expected == 408 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let response = read(&mut stream, false).expect("response should arrive");
        assert_eq!(response.status, expected, "{headers:?}");
    }
}

/// A fragment belongs to the client. Clients that send it mean `%23`.
#[test]
fn raw_number_sign_ends_the_request_target() {
    let server = Server::shared();
    for (target, status) in [
        ("/livez#", 200),
        ("/livez#/nothing", 200),
        ("/livez?a#b?c", 200),
        ("/livez%23", 404),
        ("/nothing#/livez", 404),
    ] {
        assert_eq!(server.get("GET", target).status, status, "{target}");
    }
}

/// Load balancers keep connections for a minute and reuse them without asking.
#[test]
fn idle_connection_is_kept_for_its_own_time() {
    let server = Server::start(&["--headers-timeout", "100ms", "--idle-timeout", "1s"]);
    let mut stream = connect(server.address);
    for _ in 0..2 {
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("data should be sent");
        let response = read(&mut stream, false).expect("response should arrive");
        assert_eq!(response.status, 200);
    }
    let answered = Instant::now();
    let end = stream
        .read(&mut [0])
        .expect("connection should close in order");
    assert_eq!(end, 0);
    assert!(answered.elapsed() >= Duration::from_millis(900));
}

/// The long idle time does not apply to a client that has begun a request, or that has never sent one.
#[test]
fn late_head_closes_the_connection_whatever_the_idle_time_is() {
    let server = Server::start(&["--headers-timeout", "200ms", "--idle-timeout", "1h"]);
    let mut silent = connect(server.address);
    let mut begun = connect(server.address);
    begun
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("data should be sent");
    let response = read(&mut begun, false).expect("response should arrive");
    assert_eq!(response.status, 200);
    begun
        .write_all(b"GET /livez HTTP/1.1\r\n")
        .expect("data should be sent");
    for stream in [&mut silent, &mut begun] {
        let end = stream
            .read(&mut [0])
            .expect("connection should close in order");
        assert_eq!(end, 0);
    }
}
