//! The check of a path without opening it.

use super::*;

#[test]
fn check_reports_what_fails_the_opening_and_creates_nothing() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, content: &[u8]| {
        std::fs::write(path(name), content).expect("file should be written");
    };
    write("empty.db", b"");
    write("text.db", b"SQLite format 2");
    write("double.db", b"");
    std::fs::hard_link(path("double.db"), path("second.db")).expect("link should be created");
    Sqlite::migrate(&path("ours.db")).expect("file should be created");
    Sqlite::migrate(&path("newer.db")).expect("file should be created");
    for (name, set) in [
        ("newer.db", "PRAGMA user_version = 99"),
        ("other.db", "PRAGMA application_id = 7"),
    ] {
        let file = Connection::open(path(name)).expect("file should open");
        file.execute_batch("PRAGMA journal_mode = DELETE")
            .and_then(|()| file.execute_batch(set))
            .expect("pragma should be set");
    }
    let files = || {
        let entries = std::fs::read_dir(folder.path()).expect("folder should be readable");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("folder should be readable").file_name())
            .collect();
        names.sort();
        names
    };
    let before = files();
    for good in ["none.db", "empty.db", "ours.db"] {
        let checked = Sqlite::check(&path(good));
        assert!(checked.is_ok(), "{good}: {checked:?}");
    }
    let bad = [
        ("", "not a regular file"),
        ("none/x.db", "its folder: No such file"),
        ("text.db/x.db", "Not a directory"),
        ("text.db", "not an SQLite database"),
        ("double.db", "second name"),
        ("newer.db", "version 99"),
        ("other.db", "another program"),
    ];
    for (bad, reason) in bad {
        let error = Sqlite::check(&path(bad)).expect_err("path should be unusable");
        assert!(error.to_string().contains(reason), "{bad}: {error}");
    }
    assert_eq!(files(), before);
    for (bad, _) in bad {
        let opened = Sqlite::open(&path(bad), BOOT, QUOTA, at(0, 0), WAITING_MAX);
        assert!(opened.is_err(), "{bad}");
    }
}

/// A file that belongs to another user, and one without permission to write.
#[test]
fn denied_error_names_owner_mode_and_remedy() {
    let denied = crate::Denied {
        kind: "file",
        path: "/data/bulkhead.db".into(),
        owner: 0,
        group: 0,
        mode: 0o600,
        user: 65532,
        user_group: 65532,
        source: std::io::ErrorKind::PermissionDenied.into(),
    };
    let text = StoreError::from(crate::Unavailable::Denied(denied.into())).to_string();
    for part in [
        "user 65532",
        "file /data/bulkhead.db",
        "user 0 and group 0, with mode 0600",
        "chown 65532:65532 /data/bulkhead.db",
        "bulkhead migrate",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
