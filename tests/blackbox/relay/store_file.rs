//! SQLite's file: its owner, while the server runs, and after an orderly stop.

use super::{RELIABLE, RESPONSE_TIME_MAX, Relay, StoreKind, UpstreamProfile};
use bulkhead_tests::server::{binary, run};
use bulkhead_tests::until;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
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
    let changes: [fn(&Relay); 5] = [
        |relay| std::fs::remove_file(relay.file("relay.db-wal")).expect("file should be removed"),
        |relay| std::fs::remove_file(relay.file("relay.db-shm")).expect("file should be removed"),
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
        let status = server.wait(STOP_TIME_MAX);
        assert_eq!(status.code(), Some(1), "the data should be missing");
        let shown = show(&mut relay, &copy, &id);
        assert!(shown.status.success(), "{shown:?}");
        // The steps in the log lead to a server that knows the request.
        for suffix in ["", "-wal", "-shm"] {
            let _missing = std::fs::remove_file(relay.file(&format!("relay.db{suffix}")));
        }
        std::fs::rename(&copy, relay.file("relay.db")).expect("copy should be renamed");
        let store = format!("sqlite:{}", relay.file("relay.db").display());
        relay.set("BULKHEAD_STORE", &store);
        relay.run();
        relay.request(&id);
    }
}

/// The user of the containers, as whom a test that runs as root starts the server.
const OTHER_USER: u32 = 65532;

/// A file that `bulkhead migrate` has made as another user, or else one without permission to write.
#[test]
fn file_without_permission_error_names_owner_mode_and_remedy() {
    let mut relay = Relay::prepare(StoreKind::Sqlite, &RELIABLE);
    relay.set("BULKHEAD_LISTEN", "127.0.0.1:0");
    assert!(run(&["migrate"], &relay.variables()).status.success());
    let file = relay.file("relay.db");
    let owner = file.metadata().expect("file should exist").uid();
    let folder = file.parent().expect("file should have a folder");
    if owner == 0 {
        chown(folder, Some(OTHER_USER), Some(OTHER_USER)).expect("owner should be changed");
    } else {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o400))
            .expect("mode should be changed");
    }
    let secret = relay.file("secret");
    std::fs::write(&secret, "s").expect("file should be written");
    let secret_mode = if owner == 0 { 0o600 } else { 0 };
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(secret_mode))
        .expect("mode should be changed");
    let mode = if owner == 0 { "mode 0600" } else { "mode 0400" };
    for command in ["serve", "check-config", "migrate", "requests list"] {
        let mut bulkhead = Command::new(binary());
        bulkhead.args(command.split(' ')).env_clear();
        bulkhead.envs(relay.variables());
        if command == "check-config" {
            bulkhead.env("SECRET_FILE", &secret);
        }
        if owner == 0 {
            bulkhead.uid(OTHER_USER).gid(OTHER_USER);
        }
        let output = bulkhead.output().expect("binary should start");
        assert!(!output.status.success(), "{command}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("text should be UTF-8");
        let name = file.display().to_string();
        for part in [&name, &format!("user {owner} "), mode, "chown"] {
            assert!(text.contains(part), "{command}: {part} in {text}");
        }
        if command == "check-config" {
            let mode = format!("user {owner} and group");
            let has_secret = |line: &str| line.contains("SECRET_FILE") && line.contains(&mode);
            assert!(text.lines().any(has_secret), "{text}");
        }
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
