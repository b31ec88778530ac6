//! SQLite's file: after an orderly stop, and while the server runs.

use super::{RELIABLE, Relay, StoreKind, UpstreamProfile};
use bulkhead_tests::server::run;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// Runs `bulkhead requests show` with this file as the store.
fn show(relay: &mut Relay, file: &Path, id: &str) -> Output {
    relay.set("BULKHEAD_STORE", &format!("sqlite:{}", file.display()));
    run(&["requests", "show", id], &relay.variables())
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
