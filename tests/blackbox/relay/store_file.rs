//! SQLite's file: after an orderly stop, and while the server runs.

use super::{RELIABLE, RESPONSE_TIME_MAX, Relay, StoreKind, UpstreamProfile};
use bulkhead_tests::server::run;
use bulkhead_tests::until;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// Runs `bulkhead requests show` with this file as the store.
fn show(relay: &mut Relay, file: &Path, id: &str) -> Output {
    relay.set("BULKHEAD_STORE", &format!("sqlite:{}", file.display()));
    run(&["requests", "show", id], &relay.variables())
}

/// Whatever happens to the file, no request is accepted that the next start would not find.
#[test]
fn lost_file_returns_503_and_its_data_is_copied() {
    // A new store makes no call for a window, so that no response has a signature.
    let profile = UpstreamProfile {
        window_ms: 5000,
        ..RELIABLE
    };
    let changes: [fn(&Relay); 3] = [
        |relay| std::fs::remove_file(relay.file("relay.db")).expect("file should be removed"),
        |relay| {
            std::fs::rename(relay.file("relay.db"), relay.file("moved.db"))
                .expect("file should be moved");
        },
        |relay| {
            std::fs::copy(relay.file("relay.db"), relay.file("other.db"))
                .and_then(|_| std::fs::rename(relay.file("other.db"), relay.file("relay.db")))
                .expect("file should be replaced");
        },
    ];
    for change in changes {
        let mut relay = Relay::prepare(StoreKind::Sqlite, &profile);
        relay.run();
        let id = relay.accepted("message-before", None);
        change(&relay);
        // The server finds it even if no request arrives.
        until("the health shows the loss", || {
            relay.health()["store"]["status"] == "failing"
        });
        let health = relay.health();
        let why = health["store"]["why"].as_str().unwrap_or_default();
        assert!(why.contains("removed, moved or replaced"), "{health}");
        assert_eq!(health["status"], "degraded");
        let (response, took) = relay.sign("message-after", None);
        assert_eq!(response.status, 503, "{response:?}");
        assert_eq!(response.problem(), "store_unavailable");
        assert!(took < RESPONSE_TIME_MAX, "{took:?}");
        let copy = relay.file("relay.db.rescue-1");
        until("the log names the copy", || {
            let name = copy.display().to_string();
            relay.server().log().contains(&name)
        });
        let mut server = relay.server.take().expect("server should run");
        server.signal("TERM");
        server.wait(STOP_TIME_MAX);
        let shown = show(&mut relay, &copy, &id);
        assert!(shown.status.success(), "{shown:?}");
    }
}

#[test]
fn orderly_stop_leaves_one_complete_file() {
    // A new store makes no call for a window, so that no response has a signature.
    let profile = UpstreamProfile {
        window_ms: 5000,
        ..RELIABLE
    };
    for number in 0..4 {
        let mut relay = Relay::prepare(StoreKind::Sqlite, &profile);
        relay.run();
        let id = relay.accepted(&format!("message-{number}"), None);
        let mut server = relay.server.take().expect("server should run");
        server.signal("TERM");
        assert!(server.wait(STOP_TIME_MAX).success(), "{}", server.log());
        let log = relay.file("relay.db-wal");
        let bytes = log.metadata().map_or(0, |metadata| metadata.len());
        assert_eq!(bytes, 0, "{}", server.log());
        let copy = relay.file("copy.db");
        std::fs::copy(relay.file("relay.db"), &copy).expect("file should be copied");
        let shown = show(&mut relay, &copy, &id);
        assert!(shown.status.success(), "{shown:?}");
    }
}
