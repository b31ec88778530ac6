//! Stores that fail: no request is accepted without being stored.

use super::{RELIABLE, RESPONSE_TIME_MAX, Relay, StoreKind};
use bulkhead_tests::server::{Server, binary, run};
use bulkhead_tests::until;
use serde_json::json;
use std::collections::BTreeSet;
use std::process::Command;

/// A full disk, simulated by a limit on the size of files. Exceeding such a limit is also a signal, which ends a
/// process by default.
#[test]
fn full_disk_returns_503_and_keeps_accepted_requests() {
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.upstream.control(&json!({"mode": "hang"}));
    // In KiB: enough for the tables, their log and some hundred requests.
    let limited = format!("ulimit -f 2000; exec {}", binary().display());
    relay.server = Some(Server::start_command(
        Command::new("bash").args(["-c", &(limited + " --listen 127.0.0.1:0")]),
        &relay.variables(),
    ));
    let mut accepted_ids = BTreeSet::new();
    let mut rejections = 0;
    for number in 0..3000 {
        let (response, took) = relay.sign(&format!("message-for-a-full-disk-{number}"), None);
        assert!(took < RESPONSE_TIME_MAX, "{took:?}");
        match response.status {
            200 => {}
            202 => {
                let id = response.json()["id"]
                    .as_str()
                    .expect("id should be a string")
                    .to_owned();
                accepted_ids.insert(id);
            }
            503 => {
                assert_eq!(response.problem(), "store_unavailable");
                rejections += 1;
            }
            _ => panic!("{response:?}"),
        }
        if rejections > 20 {
            break;
        }
    }
    assert!(
        rejections > 20,
        "the disk should be full after {} accepted requests",
        accepted_ids.len()
    );
    assert!(!accepted_ids.is_empty());
    assert_eq!(
        relay.health()["capabilities"]["signing"]["status"],
        "failing"
    );
    // After a restart without the limit, accepted requests exist and are signed.
    relay.upstream.control(&json!({"mode": "normal"}));
    relay.run();
    for id in &accepted_ids {
        let _there = relay.request(id);
    }
    relay.wait_for_calls();
    until("some requests are signed", || {
        accepted_ids
            .iter()
            .any(|id| relay.request(id)["status"] == "signed")
    });
    relay.check_quota();
}

/// A second server on the same file would use the quota twice.
#[test]
fn second_server_on_the_same_file_fails_to_start() {
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.run();
    let output = run(&["--listen", "127.0.0.1:0"], &relay.variables());
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && log.contains("relay.db"),
        "{log}"
    );
}
