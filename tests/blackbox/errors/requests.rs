//! Requests that are wrong as HTTP, and requests to `/token`.

use super::Table;
use bulkhead_tests::http::{Response, connect, head, read, request};
use bulkhead_tests::server::Server;
use std::io::Write as _;
use std::net::Shutdown;

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Sends bytes, ends the sending side if nothing follows, and returns the response.
fn send(server: &Server, bytes: &[u8], ends: bool) -> Response {
    let mut stream = connect(server.address);
    stream.write_all(bytes).expect("data should be sent");
    if ends {
        stream
            .shutdown(Shutdown::Write)
            .expect("socket should be shut down");
    }
    read(&mut stream, false).expect("response should arrive")
}

pub(super) fn add(table: &mut Table) {
    any_route(table);
    limits(table);
    tokens(table);
}

fn any_route(table: &mut Table) {
    let server = Server::shared();
    let post = |headers: &[(&str, &str)]| {
        request(server.address, "POST", "/decryptMessage", headers, b"{}")
    };
    table.problem("unknown path", &server.get("GET", "/nothing"));
    table.problem(
        "unknown code of a problem",
        &server.get("GET", "/problems/none"),
    );
    table.problem("wrong method", &server.get("GET", "/decryptMessage"));
    let none = [JSON, ("Accept", "image/png")];
    table.problem("Accept excludes all media types", &post(&none));
    table.problem("no Content-Type", &post(&[]));
    let gzip = [JSON, ("Content-Encoding", "gzip")];
    table.problem("compressed body", &post(&gzip));
    let coded = b"POST /decryptMessage HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    table.problem("unknown transfer coding", &send(server, coded, false));
    let hosts = b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    table.problem("two Host headers", &send(server, hosts, false));
    let host = b"GET /livez HTTP/1.1\r\nHost: user@a\r\n\r\n";
    table.problem("malformed Host header", &send(server, host, false));
}

fn limits(table: &mut Table) {
    let server = Server::shared();
    let target = format!("/{}", "x".repeat(10_000));
    table.problem("long request target", &server.get("GET", &target));
    let long = "x".repeat(40_000);
    let headers = [("X-Long", long.as_str())];
    table.problem(
        "large headers",
        &request(server.address, "GET", "/livez", &headers, b""),
    );
    let server = Server::start(&[
        "--body-max",
        "100B",
        "--bodies-max",
        "100B",
        "--body-timeout",
        "500ms",
    ]);
    let large = [b' '; 200];
    let response = request(server.address, "POST", "/decryptMessage", &[JSON], &large);
    table.problem("body over the limit", &response);
    let unfinished = [&head("POST", "/decryptMessage", &[JSON], 90)[..], b"{"].concat();
    table.problem(
        "body does not arrive in time",
        &send(&server, &unfinished, false),
    );
    let chunked =
        b"POST /decryptMessage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\nno size\r\n";
    table.problem("malformed chunk", &send(&server, chunked, false));
    let server = Server::start(&["--body-max", "100B", "--bodies-max", "100B"]);
    let (mut waiting, mut response) = (Vec::new(), None);
    bulkhead_tests::until("an unfinished body has reserved its memory", || {
        let mut stream = connect(server.address);
        stream.write_all(&unfinished).expect("data should be sent");
        waiting.push(stream);
        let body = [b' '; 90];
        let found = request(server.address, "POST", "/decryptMessage", &[JSON], &body);
        response = Some(found).filter(|response| response.status == 503);
        response.is_some()
    });
    table.problem(
        "memory for bodies is used up",
        &response.expect("response was seen"),
    );
}

fn tokens(table: &mut Table) {
    let server = Server::shared();
    let make = |server: &Server| request(server.address, "POST", "/token", &[], b"x");
    table.problem("no token secret is configured", &make(server));
    let server = Server::start_with(&[], &[("SECRET", "0123456789abcdef0123456789abcdef")]);
    let verify =
        |headers: &[(&str, &str)]| request(server.address, "POST", "/token/verify", headers, b"x");
    table.problem("no token to verify", &verify(&[]));
    let twice = [("Bulkhead-Token", "a"), ("Bulkhead-Token", "b")];
    table.problem("two tokens to verify", &verify(&twice));
}
