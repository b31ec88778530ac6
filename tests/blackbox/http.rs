//! Behaviour common to all routes.

use bulkhead_tests::fixtures::SAMPLE;
use bulkhead_tests::http::{connect, head, read, request};
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
    let server = Server::start(&["--decrypt-workers", "1", "--decrypt-queue-max", "1"]);
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

/// hyper refuses these by itself, with a bare status.
#[test]
fn what_is_no_http_is_answered_too() {
    let server = Server::shared();
    let many_headers = format!("GET /livez HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(2000));
    let huge_head = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(5 << 20));
    let huge_target = format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "y".repeat(70_000));
    for (sent, status, code) in [
        ("hello\r\n\r\n", 400, "malformed_request"),
        ("GET /livez HTTP/3.0\r\n\r\n", 400, "malformed_request"),
        (
            "GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
            400,
            "malformed_request",
        ),
        (&many_headers, 431, "headers_too_large"),
        (&huge_head, 431, "headers_too_large"),
        (&huge_target, 414, "target_too_long"),
    ] {
        let mut stream = connect(server.address);
        // A good request first, and one without a body: the answer must be told from theirs.
        for method in ["GET", "HEAD"] {
            let request = format!("{method} /livez HTTP/1.1\r\nHost: t\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("taken");
            let response = read(&mut stream, method == "HEAD").expect("an answer");
            assert_eq!(response.status, 200);
        }
        stream.write_all(sent.as_bytes()).expect("taken");
        let response = read(&mut stream, false).expect("an answer");
        assert_eq!(
            (response.status, response.problem().as_str()),
            (status, code)
        );
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed in good order");
        assert!(rest.is_empty(), "{rest:?}");
    }
}
