//! The store on the command line, while a server runs.

use super::{RELIABLE, Relay, StoreKind, UpstreamProfile, on_both_stores};
use bulkhead_tests::server::run;
use bulkhead_tests::until;
use serde_json::{Value, json};
use std::process::Output;

on_both_stores!(requests_command_lists_shows_and_redelivers);

fn bulkhead(relay: &Relay, arguments: &[&str]) -> Output {
    run(arguments, &relay.variables())
}

fn stdout_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text should be UTF-8")
}

fn requests_command_lists_shows_and_redelivers(kind: StoreKind) {
    // A new store makes no call for a window, which leaves time to list waiting requests.
    let profile = UpstreamProfile {
        window_ms: 5000,
        ..RELIABLE
    };
    let mut relay = Relay::prepare(kind, &profile);
    assert!(stdout_of(&bulkhead(&relay, &["migrate"])).contains("up to date"));
    relay.run();
    let waiting = relay.accepted("a-message-that-waits", None);
    let listed = stdout_of(&bulkhead(&relay, &["requests", "list", "pending"]));
    assert!(
        listed.starts_with(&waiting) && listed.lines().count() == 1,
        "{listed}"
    );
    assert!(!listed.contains("a-message-that-waits"));
    relay.wait_for_calls();
    relay.wait_until_signed(&waiting);
    assert_eq!(
        stdout_of(&bulkhead(&relay, &["requests", "list", "pending"])),
        ""
    );

    relay.receiver.control(&json!({"mode": "410"}));
    relay
        .upstream
        .control(&json!({"mode": "late", "delay_ms": 1900, "next": 1}));
    let url = relay.callback("gone");
    let parked = relay.accepted("a-message-for-nobody", Some(&url));
    until("the notification is parked", || {
        relay.request(&parked)["notification"]["status"] == "parked"
    });
    let listed = stdout_of(&bulkhead(&relay, &["requests", "list", "parked"]));
    assert!(
        listed.contains(&parked) && listed.contains("410"),
        "{listed}"
    );
    let shown = stdout_of(&bulkhead(&relay, &["requests", "show", &parked]));
    let shown: Value = serde_json::from_str(&shown).expect("text should be JSON");
    assert_eq!(shown["notification"]["status"], "parked");
    relay.receiver.control(&json!({"mode": "normal"}));
    // The first attempt may be less than a second ago.
    until("the notification is due again", || {
        let output = bulkhead(&relay, &["requests", "redeliver", &parked]);
        if String::from_utf8_lossy(&output.stderr).contains("Try again in a second") {
            return false;
        }
        stdout_of(&output).contains("due")
    });
    until("the running server delivers the webhook", || {
        relay.request(&parked)["notification"]["status"] == "delivered"
    });
    for arguments in [["requests", "show"], ["requests", "redeliver"]] {
        for id in ["0".repeat(44).as_str(), "none"] {
            let output = bulkhead(&relay, &[arguments[0], arguments[1], id]);
            assert!(
                !output.status.success() && !output.stderr.is_empty(),
                "{output:?}"
            );
        }
    }
}
