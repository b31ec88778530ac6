//! Requests to `/crypto`.

use super::Table;
use crate::relay::{RELIABLE, Relay, StoreKind};
use bulkhead_tests::http;
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::until;
use serde_json::json;

pub(super) fn add(table: &mut Table) {
    let none = Server::shared().get("GET", "/crypto/sign?message=m");
    table.problem("no signing API is configured", &none);
    without_calls(table);
    with_calls(table);
}

/// A new store makes no call for a window, so that messages wait.
fn without_calls(table: &mut Table) {
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.set("BULKHEAD_UPSTREAM_WINDOW", "1h");
    relay.set("BULKHEAD_MESSAGE_MAX", "100B");
    relay.set("BULKHEAD_BACKLOG_MAX", "1");
    relay.set("BULKHEAD_CALLERS_MAX", "1");
    relay.run();
    let server = relay.server();
    for (situation, query) in [
        ("no message to sign", "sign"),
        ("empty message to sign", "sign?message="),
        ("message to sign with a malformed escape", "sign?message=%4"),
        ("two messages to sign", "sign?message=a&message=b"),
        ("no signature to verify", "verify?message=a"),
        (
            "verification when no call is allowed",
            "verify?message=a&signature=YQ==",
        ),
        ("request with an unknown id", "requests/none"),
    ] {
        table.problem(situation, &server.get("GET", &format!("/crypto/{query}")));
    }
    let large = format!("/crypto/sign?message={}", "x".repeat(101));
    table.problem("large message to sign", &server.get("GET", &large));
    for (situation, callback) in [
        ("callback that is not a URL", "no+url"),
        ("callback with another scheme", "ftp://example.com/"),
        ("callback with a password", "http://user:pass@example.com/"),
        ("callback to a malformed host", "http://a_b!/"),
        (
            "callback to a host with a final dot",
            "http://example.com./",
        ),
        ("callback to port 0", "http://example.com:0/"),
        ("callback without a host", "http://"),
        ("callback to this machine", "http://localhost/"),
        ("callback to a private address", "http://10.1.2.3/"),
    ] {
        let target = format!("/crypto/sign?message=m&callback_url={callback}");
        table.problem(situation, &server.get("GET", &target));
    }
    let long = format!("http://example.com/{}", "x".repeat(2048));
    let target = format!("/crypto/sign?message=m&callback_url={long}");
    table.problem("long callback URL", &server.get("GET", &target));
    let id = relay.accepted("first", None);
    table.problem("full backlog", &relay.sign("second", None).0);
    let url = "https://receiver.example/";
    table.problem(
        "too many callers of a message",
        &relay.sign("first", Some(url)).0,
    );
    for (situation, query) in [
        ("list of requests with an unknown status", "status=all"),
        ("list of requests of a malformed name", "owner=a+b"),
        ("list of requests with a large limit", "limit=101"),
        ("list of requests after an unknown id", "after=1"),
    ] {
        let target = format!("/crypto/requests?{query}");
        table.problem(situation, &server.get("GET", &target));
    }
    let target = format!("/crypto/requests/{id}/redeliver");
    let nothing = http::request(server.address, "POST", &target, &[], b"");
    table.problem("redelivery without a notification", &nothing);
    let store = format!("sqlite:{}", relay.file("relay.db").display());
    table.failure(
        "command for a redelivery without a notification",
        &run(
            &["requests", "redeliver", &id],
            &[("BULKHEAD_STORE", &store)],
        ),
        &[],
    );
    std::fs::rename(relay.file("relay.db"), relay.file("moved.db")).expect("file should be moved");
    until("the loss of the file is known", || {
        relay.health()["store"]["status"] == "failing"
    });
    table.problem("lost store", &relay.sign("third", None).0);
}

fn with_calls(table: &mut Table) {
    let relay = Relay::start(StoreKind::Sqlite, &RELIABLE);
    relay.upstream.control(&json!({"mode": "422", "next": 1}));
    table.problem(
        "message that the signing API rejects",
        &relay.sign("message-that-is-rejected", None).0,
    );
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let id = relay.accepted("notified", Some(&relay.callback("a")));
    until("the webhook is delivered", || {
        relay.request(&id)["notification"]["status"] == "delivered"
    });
    let target = format!("/crypto/requests/{id}/redeliver");
    let redeliver = || http::request(relay.server().address, "POST", &target, &[], b"");
    until("a redelivery is accepted", || redeliver().status == 202);
    table.problem("redelivery at once", &redeliver());
    let store = format!("sqlite:{}", relay.file("relay.db").display());
    let command = || {
        run(
            &["requests", "redeliver", &id],
            &[("BULKHEAD_STORE", &store)],
        )
    };
    until("a redelivery by command is accepted", || {
        command().status.success()
    });
    table.failure("command for a redelivery at once", &command(), &[]);
}
