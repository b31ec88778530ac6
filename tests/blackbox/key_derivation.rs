//! Key derivation as clients see it: all paths derive the same keys, the backlog is limited, and a
//! disconnected client costs nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::fixtures::text;
use bulkhead_tests::http::{connect, head};
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::until;
use serde_json::json;
use std::io::Write as _;

const PASSPHRASE: &str = "topsecret";

/// A message as gpg makes it today: 65,011,712 bytes of SHA-1, twice.
fn default() -> String {
    text("bench/default.asc")
}

fn hashed_by(server: &Server, path: &str) -> u64 {
    server.sum("bulkhead_kdf_hashed_bytes_total", &[("path", path)])
}

/// Returns whether `check-config` accepts this path on this machine.
fn is_available(path: &str) -> bool {
    let checked = run(&["check-config", "--kdf-path", path], &[]);
    let report = String::from_utf8_lossy(&checked.stdout).into_owned();
    let missing = report.contains("--kdf-path (BULKHEAD_KDF_PATH) is");
    assert_eq!(checked.status.success(), !missing, "{report}");
    !missing
}

#[test]
fn every_kdf_path_opens_messages_of_every_hash() {
    let messages = ["bench/default.asc", "bench/sha256.asc"].map(text);
    for path in ["plain", "sha-ni", "avx512", "avx2"] {
        if !is_available(path) {
            continue;
        }
        let server = Server::start(&["--kdf-path", path]);
        std::thread::scope(|scope| {
            for message in messages.iter().cycle().take(8) {
                scope.spawn(|| {
                    let opened = server.decrypt(PASSPHRASE, message);
                    assert_eq!(opened.json()["DecryptedMessage"], "Nice work!\n", "{path}");
                });
            }
        });
        assert_eq!(hashed_by(&server, path), 4 * 3 * 65_011_712, "{path}");
    }
}

/// Sixteen messages at once are 32 streams, which a processor with vector instructions hashes
/// together.
#[test]
fn concurrent_messages_are_hashed_side_by_side() {
    let server = Server::start(&[]);
    let default = default();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(server.decrypt(PASSPHRASE, &default).status, 200));
        }
    });
    for path in ["avx512", "avx2"] {
        if is_available(path) {
            assert!(hashed_by(&server, path) > 0, "{path}");
            break;
        }
    }
    let busy = &server.samples("bulkhead_kdf_busy_seconds_total", &[])[0];
    assert!(busy["value"].as_f64() > Some(0.0), "{busy}");
    assert_eq!(server.sum("bulkhead_kdf_wait_seconds_count", &[]), 32);
    assert!(server.sum("bulkhead_kdf_lanes_count", &[]) > 0);
    until("nothing is pending", || {
        server.sum("bulkhead_kdf_pending_bytes", &[]) == 0
            && server.sum("bulkhead_kdf_streams", &[]) == 0
    });
    assert!(server.sum("bulkhead_kdf_pending_max_bytes", &[]) > 1_000_000_000);
}

#[test]
fn key_derivation_backlog_is_limited_in_bytes() {
    // The budget suffices for one message and not for two.
    let server = Server::start(&["--kdf-queue-max", "200MiB", "--kdf-path", "plain"]);
    let default = default();
    let responses: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| server.decrypt(PASSPHRASE, &default)))
            .collect();
        let responses = clients.into_iter().map(std::thread::ScopedJoinHandle::join);
        responses
            .map(|response| response.expect("thread should not panic"))
            .collect()
    });
    assert!(responses.iter().any(|response| response.status == 200));
    let rejected: Vec<_> = responses
        .iter()
        .filter(|response| response.status != 200)
        .collect();
    assert!(
        !rejected.is_empty(),
        "some requests should exceed the budget"
    );
    for response in rejected {
        assert_eq!(
            (response.status, response.problem().as_str()),
            (503, "overloaded")
        );
        assert!(
            response.json()["detail"]
                .to_string()
                .contains("--kdf-queue-max")
        );
        let after = response
            .header("retry-after")
            .and_then(|after| after.parse().ok());
        assert!(after.is_some_and(|after: u32| (1..=60).contains(&after)));
    }
    // The budget is free again afterwards.
    assert_eq!(server.decrypt(PASSPHRASE, &default).status, 200);
    let overloaded = [("component", "decrypt"), ("end", "overloaded")];
    assert!(server.sum("bulkhead_sandbox_instances_total", &overloaded) > 0);
}

#[test]
fn disconnected_client_frees_its_key_derivation() {
    let server = Server::start(&["--s2k-bytes-max", "100GiB", "--kdf-queue-max", "100GiB"]);
    // Minutes of work: sixteen session keys of SHA-512, for each of twenty clients.
    let skesk = b"\x8c\x0d\x04\x09\x03\x0asaltsalt\xff";
    let slow = [&skesk.repeat(16)[..], b"\xd2\x1f\x01", &[7; 30]].concat();
    let slow = STANDARD.encode(slow);
    let body = json!({"passphrase": PASSPHRASE, "message": slow}).to_string();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let json = [("content-type", "application/json")];
            let mut stream = connect(server.address);
            let head = head("POST", "/decryptMessage", &json, body.len());
            stream.write_all(&head).expect("data should be sent");
            stream
                .write_all(body.as_bytes())
                .expect("data should be sent");
            stream
        })
        .collect();
    until("all derivations have started", || {
        server.sum("bulkhead_kdf_streams", &[]) >= 20
    });
    drop(clients);
    until("nothing is pending", || {
        server.sum("bulkhead_kdf_pending_bytes", &[]) == 0
    });
    assert_eq!(server.decrypt(PASSPHRASE, &default()).status, 200);
    let interrupted = [("component", "decrypt"), ("end", "interrupted")];
    assert!(server.sum("bulkhead_sandbox_instances_total", &interrupted) >= 20);
}
