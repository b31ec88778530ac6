//! Settings with wrong values, and settings that contradict each other.

use super::Table;
use crate::help::{flags_of, help_of};
use bulkhead_tests::mock::upstream::PUBLIC_KEY;
use bulkhead_tests::server::{Server, run};
use std::path::Path;

/// The relay's other settings take effect only with an upstream. No process listens there.
const UPSTREAM: (&str, &str) = ("BULKHEAD_UPSTREAM_URL", "http://127.0.0.1:1");

pub(super) fn add(table: &mut Table) {
    let folder = tempfile::tempdir().expect("folder should be accessible");
    let folder = folder.path();
    every_flag(table, folder);
    values(table, folder);
    contradictions(table, folder);
    secrets(table, folder);
    stores(table, folder);
    keys(table, folder);
    start(table, folder);
}

fn check(
    table: &mut Table,
    folder: &Path,
    situation: &str,
    arguments: &[&str],
    set: &[(&str, &str)],
) {
    let output = run(&[&["check-config"], arguments].concat(), set);
    let folder = folder.display().to_string();
    table.failure(situation, &output, &[(&folder, "FOLDER")]);
}

/// Every flag has a value that it rejects.
fn every_flag(table: &mut Table, folder: &Path) {
    for flag in flags_of(help_of("serve")) {
        let variables = if flag == "upstream-url" {
            &[][..]
        } else {
            &[UPSTREAM]
        };
        // A folder is not a file. A missing file of a previous secret is allowed.
        let is_file = flag.ends_with("-file") || flag == "audit-log";
        let value = if is_file { "/" } else { "?" };
        let argument = format!("--{flag}={value}");
        check(table, folder, &argument, &[&argument], variables);
    }
}

fn values(table: &mut Table, folder: &Path) {
    for argument in [
        "--body-max=5GiB",
        "--body-max=0.5MiB",
        "--body-max=99999999999999999999MiB",
        "--drain-delay=30",
        "--drain-delay=25h",
        "--token-timeout=0s",
        "--sign-timeout=2s",
        "--callback-allow=10.1.2.3/8",
        "--callback-allow=10.0.0.0/40",
        "--callback-allow=receiver:0",
        "--callback-allow=",
        "--trusted-proxies=10.1.2.3/8",
        "--upstream-url=http://upstream.example/?a=b",
        "--no-such-flag",
    ] {
        check(table, folder, argument, &[argument], &[]);
    }
    check(
        table,
        folder,
        "BULKHEAD_LOG=debgu",
        &[],
        &[("BULKHEAD_LOG", "debgu")],
    );
    check(
        table,
        folder,
        "BULKHEAD_BODY_MAX=much",
        &[],
        &[("BULKHEAD_BODY_MAX", "much")],
    );
}

fn contradictions(table: &mut Table, folder: &Path) {
    for arguments in [
        &["--bodies-max=1MiB"][..],
        &["--token-memory-max=4MiB"],
        &["--decrypt-instances=2", "--decrypt-workers=3"],
        &["--components-dir=/nonexistent"],
    ] {
        check(table, folder, &arguments.join(" "), arguments, &[UPSTREAM]);
    }
}

fn secrets(table: &mut Table, folder: &Path) {
    let empty = folder.join("empty").display().to_string();
    std::fs::write(&empty, "").expect("file should be written");
    let large = folder.join("large").display().to_string();
    std::fs::write(&large, vec![b'x'; 1 << 21]).expect("file should be written");
    let inside = folder.display().to_string();
    for (situation, variables) in [
        ("empty token secret", &[("SECRET", "")][..]),
        ("empty file of the token secret", &[("SECRET_FILE", &empty)]),
        (
            "folder instead of a secret's file",
            &[("SECRET_FILE", &inside)],
        ),
        ("large file of a secret", &[("SECRET_FILE", &large)]),
        (
            "secret that is set twice",
            &[("SECRET", "x"), ("SECRET_FILE", &empty)],
        ),
        ("previous secret alone", &[("SECRET_PREVIOUS", "x")]),
        (
            "webhook secret without its prefix",
            &[UPSTREAM, ("BULKHEAD_WEBHOOK_SECRET", "x")],
        ),
        (
            "webhook secret that is not base64",
            &[UPSTREAM, ("BULKHEAD_WEBHOOK_SECRET", "whsec_?")],
        ),
        (
            "webhook secret without bytes",
            &[UPSTREAM, ("BULKHEAD_WEBHOOK_SECRET", "whsec_")],
        ),
        (
            "API key with a line break",
            &[UPSTREAM, ("BULKHEAD_UPSTREAM_API_KEY", "a\nb")],
        ),
        (
            "password of an SQLite store",
            &[UPSTREAM, ("BULKHEAD_STORE_PASSWORD", "x")],
        ),
    ] {
        check(table, folder, situation, &[], variables);
    }
}

fn stores(table: &mut Table, folder: &Path) {
    let text = folder.join("text.db");
    std::fs::write(&text, "no database").expect("file should be written");
    let other = folder.join("other.db");
    let database = rusqlite_database();
    std::fs::write(&other, database).expect("file should be written");
    let newer = folder.join("newer.db");
    std::fs::write(&newer, newer_database()).expect("file should be written");
    let linked = folder.join("linked.db");
    std::fs::write(&linked, "").expect("file should be written");
    std::fs::hard_link(&linked, folder.join("second.db")).expect("link should be made");
    let path = |path: &Path| format!("sqlite:{}", path.display());
    for (situation, store) in [
        ("store in memory", "sqlite::memory:"),
        ("store in a missing folder", "sqlite:/nonexistent/x.db"),
        ("store that is a folder", &path(folder)),
        ("store that is not a database", &path(&text)),
        ("store of another program", &path(&other)),
        ("store of a newer version", &path(&newer)),
        ("store with a second name", &path(&linked)),
        ("store without a host", "postgres:///x"),
        ("store with a malformed port", "postgres://u:p@h:99999/x"),
        ("store with an unknown option", "postgres://u@h/x?foo=x"),
    ] {
        check(
            table,
            folder,
            situation,
            &[],
            &[UPSTREAM, ("BULKHEAD_STORE", store)],
        );
    }
    let two = [
        UPSTREAM,
        ("BULKHEAD_STORE", "postgres://u:p@h/x"),
        ("BULKHEAD_STORE_PASSWORD", "x"),
    ];
    check(table, folder, "store with two passwords", &[], &two);
}

/// Returns an empty SQLite database of an unknown program: a header and an empty page.
fn rusqlite_database() -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..24].copy_from_slice(&[0x10, 0, 1, 1, 0, 64, 32, 32]);
    // One page, format 4, UTF-8, and the id of another application.
    page[28..32].copy_from_slice(&1_u32.to_be_bytes());
    page[44..48].copy_from_slice(&4_u32.to_be_bytes());
    page[56..60].copy_from_slice(&1_u32.to_be_bytes());
    page[68..72].copy_from_slice(b"else");
    page[100] = 0x0d;
    page[105..107].copy_from_slice(&[0x10, 0]);
    page
}

/// Returns an empty database of a newer version of this program: its application id, and version 99.
fn newer_database() -> Vec<u8> {
    let mut page = rusqlite_database();
    page[68..72].copy_from_slice(b"bulk");
    page[60..64].copy_from_slice(&99_u32.to_be_bytes());
    page
}

fn keys(table: &mut Table, folder: &Path) {
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    let write = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, content).expect("file should be written");
        path.display().to_string()
    };
    let private = PUBLIC_KEY.replace("PUBLIC", "RSA PRIVATE");
    let (half, _) = PUBLIC_KEY.split_at(PUBLIC_KEY.len() / 2);
    let empty = write("empty.pem", b"");
    for (situation, key) in [
        ("public key of another kind", ED25519),
        ("private key instead of the public one", &private),
        ("half of a public key", half),
        ("empty file of the public key", &empty),
    ] {
        let variables = [UPSTREAM, ("BULKHEAD_UPSTREAM_PUBLIC_KEY", key)];
        check(table, folder, situation, &[], &variables);
    }
    let binary = write("binary.pem", b"\xff");
    let variables = [UPSTREAM, ("BULKHEAD_UPSTREAM_PUBLIC_KEY", binary.as_str())];
    let situation = "file of the public key that is not UTF-8";
    check(table, folder, situation, &[], &variables);
    let large = vec![b'\n'; (1 << 20) + 1];
    let trusted = b"-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n";
    let malformed = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (situation, content) in [
        ("CA file without a certificate", &b"text"[..]),
        (
            "CA file with a certificate that is cut off",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        ),
        ("CA file with a malformed certificate", malformed),
        ("CA file with a certificate for OpenSSL alone", trusted),
        (
            "CA file with a certificate in DER",
            &[0x30, 0x82, 1, 0, 0x30, 0x82, 0, 0],
        ),
        ("CA file in UTF-16", b"\xff\xfe-\0-\0"),
        ("large CA file", large.as_slice()),
    ] {
        let file = write("ca.pem", content);
        let variables = [UPSTREAM, ("BULKHEAD_CA_FILE", file.as_str())];
        check(table, folder, situation, &[], &variables);
    }
}

/// Errors that only the start of a server can find. The log is JSON, with the text in a field.
fn start(table: &mut Table, folder: &Path) {
    let used = Server::shared().address.to_string();
    let port = used.rsplit(':').next().expect("address should have a port");
    let store = format!("sqlite:{}", folder.join("in-use.db").display());
    let variables = [UPSTREAM, ("BULKHEAD_STORE", store.as_str())];
    let _running = Server::start_with(&[], &variables);
    std::fs::create_dir(folder.join("locked.db.lock")).expect("folder should be created");
    let locked = format!("sqlite:{}", folder.join("locked.db").display());
    let locked = [UPSTREAM, ("BULKHEAD_STORE", locked.as_str())];
    for (situation, arguments, variables) in [
        ("port that is in use", ["--listen", &used], &[][..]),
        (
            "store that is in use",
            ["--listen", "127.0.0.1:0"],
            &variables,
        ),
        (
            "store whose lock file is a folder",
            ["--listen", "127.0.0.1:0"],
            &locked,
        ),
    ] {
        let mut output = run(&arguments, variables);
        let log = String::from_utf8(output.stderr).expect("text should be UTF-8");
        let line = log.lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["fields"]["error"].as_str().map(str::to_owned)
        });
        output.stderr = line.unwrap_or(log).into_bytes();
        output.stdout.clear();
        let folder = folder.display().to_string();
        table.failure(situation, &output, &[(&folder, "FOLDER"), (port, "PORT")]);
    }
}
