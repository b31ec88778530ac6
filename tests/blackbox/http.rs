//! Behaviour common to all routes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::{connect, head, read, request};
use bulkhead_tests::seal::{literal, seal};
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::json;
use std::io::{Read as _, Write as _};

#[test]
fn unknown_paths_and_methods() {
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
fn head_and_options() {
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
fn content_that_is_not_json_is_sent_back_with_the_way_to_go() {
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
fn a_body_over_the_limit_is_answered_and_the_answer_arrives() {
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
        .write_all(b"POST /decryptMessage HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("taken");
    for _ in 0..20 {
        stream.write_all(b"100000\r\n").expect("taken");
        stream.write_all(&body[..1 << 20]).expect("taken");
        stream.write_all(b"\r\n").expect("taken");
    }
    stream.write_all(b"0\r\n\r\n").expect("taken");
    assert_eq!(
        read(&mut stream, false).expect("an answer").problem(),
        "body_too_large"
    );
}

#[test]
fn a_body_that_does_not_come_is_answered() {
    let server = Server::start(&["--body-timeout", "200ms"]);
    let mut stream = connect(server.address);
    let headers = [("Content-Type", "application/json")];
    stream
        .write_all(&head("POST", "/decryptMessage", &headers, 100))
        .expect("taken");
    stream.write_all(b"{").expect("taken");
    let response = read(&mut stream, false).expect("an answer");
    assert_eq!(
        (response.status, response.problem().as_str()),
        (408, "body_timeout")
    );
}

#[test]
fn long_targets_and_headers() {
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
fn request_ids_are_taken_over_if_sane() {
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
fn a_full_queue_is_an_answer_at_once() {
    let one = ["--decrypt-workers", "1", "--decrypt-instances", "1"];
    let server = Server::start(&[&one[..], &["--decrypt-queue-max", "1"]].concat());
    let default = bulkhead_tests::fixtures::text("bench/default.asc");
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| server.decrypt("topsecret", &default)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .collect()
    });
    assert!(statuses.iter().any(|response| response.status == 200));
    let refused = statuses
        .iter()
        .find(|response| response.status == 503)
        .expect("one too many");
    assert_eq!(refused.problem(), "overloaded");
    assert!(
        refused
            .header("retry-after")
            .is_some_and(|after| after.parse::<u32>().is_ok())
    );
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
}

/// Bodies that announce no length take the room they need, not the room they might need.
#[test]
fn room_for_bodies_is_shared() {
    const HEAD: &[u8] = b"POST /decryptMessage HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let server = Server::start(&["--body-max", "1MiB", "--bodies-max", "1MiB"]);
    let unfinished: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = connect(server.address);
            stream.write_all(HEAD).expect("taken");
            stream.write_all(b"1\r\n{\r\n").expect("taken");
            stream
        })
        .collect();
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
    // One that takes all of the room: what comes beside it is refused, and served once it is gone.
    let mut large = connect(server.address);
    large.write_all(HEAD).expect("taken");
    large
        .write_all(&[b"c0000\r\n", &vec![b' '; 0xc_0000][..], b"\r\n"].concat())
        .expect("taken");
    drop(unfinished);
    let body = " ".repeat(900_000);
    let mut refused = None;
    until("no room", || {
        refused = Some(server.post(&body, &[])).filter(|response| response.status == 503);
        refused.is_some()
    });
    let refused = refused.expect("just seen");
    assert_eq!(refused.problem(), "overloaded");
    assert!(refused.header("retry-after").is_some());
    drop(large);
    until("room again", || server.post(&body, &[]).status != 503);
}

/// These never come to the server's own code. Their status arrives nevertheless, however much was sent.
#[test]
fn input_that_is_not_http_gets_a_bare_status() {
    let server = Server::shared();
    let many_headers = format!(
        "GET /livez HTTP/1.1\r\nHost: t\r\n{}\r\n",
        "X: y\r\n".repeat(2000)
    );
    let huge_head = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(5 << 20));
    let huge_target = format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "y".repeat(70_000));
    for (sent, status) in [
        ("hello\r\n\r\n", 400),
        ("GET /livez HTTP/3.0\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (&many_headers, 431),
        (&huge_head, 431),
        (&huge_target, 414),
    ] {
        let mut stream = connect(server.address);
        // A good request first, and one without a body.
        for method in ["GET", "HEAD"] {
            let request = format!("{method} /livez HTTP/1.1\r\nHost: t\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("taken");
            let response = read(&mut stream, method == "HEAD").expect("an answer");
            assert_eq!(response.status, 200);
        }
        stream.write_all(sent.as_bytes()).expect("taken");
        let response = read(&mut stream, false).expect("an answer");
        assert_eq!((response.status, response.body.len()), (status, 0));
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed in good order");
        assert!(rest.is_empty(), "{rest:?}");
    }
}

/// Clients that ask and never read: their answers are held within a limit, and not for ever.
#[test]
fn answers_that_nobody_takes() {
    const ANSWER_OCTETS: usize = 16 << 20;
    let message = STANDARD.encode(seal(&literal(&vec![0; ANSWER_OCTETS])));
    let body = json!({"passphrase": "topsecret", "message": message}).to_string();
    let server = Server::start(&[
        "--answers-max",
        "40MiB",
        "--answer-timeout",
        "2s",
        "--connections-max",
        "4",
    ]);
    let before = server.resident_octets();
    let octets = "Accept: application/octet-stream\r\nContent-Type: application/json";
    let head = format!(
        "POST /decryptMessage HTTP/1.1\r\nHost: t\r\n{octets}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let ask = || {
        let mut stream = connect(server.address);
        stream.write_all(head.as_bytes()).expect("taken");
        stream.write_all(body.as_bytes()).expect("taken");
        stream
    };
    let silent = [ask(), ask()];
    // Both answers are under way: their first octets are there to read.
    for stream in &silent {
        assert_eq!(stream.peek(&mut [0]).expect("an answer"), 1);
    }
    let refused = read(&mut ask(), false).expect("an answer");
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (503, "overloaded")
    );
    assert!(
        refused.json()["detail"]
            .to_string()
            .contains("--answers-max")
    );
    // Their time passes; room, connections and memory come back.
    until("room again", || {
        read(&mut ask(), false).is_ok_and(|answer| answer.status == 200)
    });
    until("memory again", || {
        server.resident_octets() < before + (16 << 20)
    });
    assert_eq!(server.get("GET", "/livez").status, 200);
    for mut stream in silent {
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        assert!(answer.len() < ANSWER_OCTETS, "it was cut");
    }
}

#[test]
fn requests_without_a_host_and_to_the_server_as_a_whole() {
    let server = Server::shared();
    let ask = |request: &str| {
        let mut stream = connect(server.address);
        stream.write_all(request.as_bytes()).expect("taken");
        read(&mut stream, false).expect("an answer")
    };
    let hostless = ask("GET /livez HTTP/1.1\r\n\r\n");
    assert_eq!(
        (hostless.status, hostless.problem().as_str()),
        (400, "malformed_request")
    );
    let twice = ask("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(
        (twice.status, twice.problem().as_str()),
        (400, "malformed_request")
    );
    assert_eq!(ask("GET /livez HTTP/1.0\r\n\r\n").status, 200);
    let coded =
        ask("POST /token HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(
        (coded.status, coded.problem().as_str()),
        (501, "unknown_transfer_coding")
    );
    let whole = ask("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(
        (whole.status, whole.header("allow")),
        (204, Some("GET, HEAD, POST, OPTIONS"))
    );
}

#[test]
fn waiting_for_a_worker_has_an_end() {
    let server = Server::start(&[
        "--decrypt-workers",
        "1",
        "--decrypt-instances",
        "1",
        "--decrypt-queue-timeout",
        "50ms",
        "--s2k-octets-max",
        "100GiB",
    ]);
    // About a second of work: SHA-256 over 65,011,712 octets, for each of 16 session keys.
    let skesk = b"\x8c\x0d\x04\x09\x03\x08saltsalt\xff";
    let slow = [&skesk.repeat(16)[..], b"\xd2\x1f\x01", &[7; 30]].concat();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| server.decrypt("topsecret", &STANDARD.encode(slow)));
        let mut refused = None;
        until("the worker is busy", || {
            let answer = server.decrypt("topsecret", SAMPLE);
            refused = Some(answer).filter(|answer| answer.status == 503);
            refused.is_some()
        });
        let detail = refused.expect("just seen").json()["detail"].to_string();
        assert!(detail.contains("--decrypt-queue-timeout"), "{detail}");
        assert_eq!(slow.join().expect("no panic").problem(), "undecryptable");
    });
    assert_eq!(server.decrypt("topsecret", SAMPLE).status, 200);
}

/// Many answers of all kinds behind each other, read only once the server can write no more: none
/// is taken for another, wherever a write had to stop.
#[test]
fn answers_in_a_row_to_a_client_that_reads_late() {
    const PINGS: usize = 40_000;
    let server = Server::shared();
    // What it opens to looks like the bare status of the last answer, again and again.
    let text = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".repeat(200_000);
    let message = STANDARD.encode(seal(&literal(text.as_bytes())));
    let body = json!({"passphrase": "topsecret", "message": message}).to_string();
    let mut stream = connect(server.address);
    let mut sender = stream.try_clone().expect("a second handle");
    let sending = std::thread::spawn(move || {
        let ping = b"HEAD /livez HTTP/1.1\r\nHost: t\r\n\r\n".repeat(PINGS);
        sender.write_all(&ping).expect("taken");
        let head = format!(
            "POST /decryptMessage HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n\
             Accept: application/octet-stream\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        sender.write_all(head.as_bytes()).expect("taken");
        sender.write_all(body.as_bytes()).expect("taken");
        sender
            .write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\nnonsense\r\n\r\n")
            .expect("taken");
    });
    // The first answer is there; the others fill the socket before anybody reads.
    stream.peek(&mut [0]).expect("an answer");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("closed in good order");
    sending.join().expect("no panic");

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

/// Status and body of the next answer in what was read.
fn next<'a>(rest: &mut &'a [u8], body: bool) -> (u16, &'a [u8]) {
    let end = rest
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let octets = if body { length.unwrap_or(0) } else { 0 };
    let found = &rest[end..end + octets];
    *rest = &rest[end + octets..];
    (status.expect("a status"), found)
}

/// One that never pauses would never let a timer fire.
#[test]
fn the_time_for_a_body_is_over_however_busily_it_comes() {
    let server = Server::start(&["--body-timeout", "200ms"]);
    let mut stream = connect(server.address);
    stream
        .write_all(b"POST /decryptMessage HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("taken");
    let pieces = b"1\r\n \r\n".repeat(10_000);
    let mut reader = stream.try_clone().expect("a clone");
    let response = std::thread::scope(|scope| {
        let answer = scope.spawn(move || read(&mut reader, false).expect("an answer"));
        while !answer.is_finished() {
            // In the end the server reads no more of it.
            let _closed = stream.write_all(&pieces);
        }
        answer.join().expect("no panic")
    });
    assert_eq!(
        (response.status, response.problem().as_str()),
        (408, "body_timeout")
    );
}

/// Clients that write all of their body before they read anything still get to see the refusal.
#[test]
fn refusals_arrive_at_clients_that_send_on() {
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
            .expect("taken");
        for _ in 0..8 {
            stream.write_all(&piece).expect("taken, though refused");
            if expected == 408 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        let response = read(&mut stream, false).expect("an answer");
        assert_eq!(response.status, expected, "{headers:?}");
    }
}
