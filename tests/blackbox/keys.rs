//! Key derivation as seen from outside: every way gives the same keys, what waits is bounded, and who
//! hangs up costs nothing any more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_tests::fixtures::text;
use bulkhead_tests::http::{connect, head};
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::{Value, json};
use std::io::Write as _;

const PASSPHRASE: &str = "topsecret";

/// What gpg makes today: 65,011,712 octets of SHA-1, twice.
fn default() -> String {
    text("bench/default.asc")
}

/// The samples of a metric, with their labels.
fn samples(server: &Server, name: &str) -> Vec<(Value, f64)> {
    let document = server.get("GET", "/metrics").json();
    let metrics = document["metrics"].as_array().expect("a list").clone();
    metrics
        .iter()
        .filter_map(|metric| metric["samples"].as_array())
        .flatten()
        .filter(|sample| sample["name"] == name)
        .map(|sample| {
            let value = sample["value"].as_f64().expect("a number");
            (sample["labels"].clone(), value)
        })
        .collect()
}

fn sum(server: &Server, name: &str) -> f64 {
    samples(server, name).iter().map(|(_, value)| value).sum()
}

fn hashed_by(server: &Server, path: &str) -> f64 {
    let hashed = samples(server, "bulkhead_kdf_hashed_bytes_total");
    let by_path = hashed.iter().find(|(labels, _)| labels["path"] == path);
    by_path.expect("every path is counted from the start").1
}

/// As `check-config` sees it.
fn is_available(path: &str) -> bool {
    let checked = std::process::Command::new(bulkhead_tests::server::binary())
        .args(["check-config", "--kdf-path", path])
        .output()
        .expect("the binary runs");
    let report = String::from_utf8_lossy(&checked.stdout).into_owned();
    let missing = report.contains("--kdf-path (BULKHEAD_KDF_PATH) is");
    assert_eq!(checked.status.success(), !missing, "{report}");
    !missing
}

#[test]
fn every_path_opens_messages_of_every_hash() {
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
        let octets = 4.0 * 3.0 * 65_011_712.0;
        assert!((hashed_by(&server, path) - octets).abs() < 1.0, "{path}");
    }
}

/// Sixteen messages at once are thirty-two streams: a processor with vectors uses them.
#[test]
fn messages_that_come_together_are_hashed_side_by_side() {
    let server = Server::start(&[]);
    let default = default();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(server.decrypt(PASSPHRASE, &default).status, 200));
        }
    });
    for path in ["avx512", "avx2"] {
        if is_available(path) {
            assert!(hashed_by(&server, path) > 0.0, "{path}");
            break;
        }
    }
    assert!(sum(&server, "bulkhead_kdf_busy_seconds_total") > 0.0);
    assert!((sum(&server, "bulkhead_kdf_wait_seconds_count") - 32.0).abs() < 0.5);
    assert!(sum(&server, "bulkhead_kdf_lanes_count") > 0.0);
    until("nothing is pending", || {
        sum(&server, "bulkhead_kdf_pending_bytes") < 1.0
            && sum(&server, "bulkhead_kdf_streams") < 1.0
    });
    assert!(sum(&server, "bulkhead_kdf_pending_max_bytes") > 1e9);
}

#[test]
fn what_waits_for_its_key_is_bounded_by_octets() {
    // Room for one message and not for two.
    let server = Server::start(&["--kdf-queue-max", "200MiB", "--kdf-path", "plain"]);
    let default = default();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| server.decrypt(PASSPHRASE, &default)))
            .collect();
        let answers = clients.into_iter().map(std::thread::ScopedJoinHandle::join);
        answers.map(|answer| answer.expect("no panic")).collect()
    });
    assert!(answers.iter().any(|answer| answer.status == 200));
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 200)
        .collect();
    assert!(!refused.is_empty(), "all had room");
    for answer in refused {
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (503, "overloaded")
        );
        assert!(
            answer.json()["detail"]
                .to_string()
                .contains("--kdf-queue-max")
        );
        let after = answer
            .header("retry-after")
            .and_then(|after| after.parse().ok());
        assert!(after.is_some_and(|after: u32| (1..=60).contains(&after)));
    }
    // There is room again afterwards.
    assert_eq!(server.decrypt(PASSPHRASE, &default).status, 200);
    let instances = samples(&server, "bulkhead_sandbox_instances_total");
    let overloaded = instances
        .iter()
        .find(|(labels, _)| labels["end"] == "overloaded" && labels["component"] == "decrypt");
    assert!(overloaded.is_some_and(|(_, count)| *count > 0.0));
}

#[test]
fn who_hangs_up_stops_costing() {
    let server = Server::start(&["--s2k-octets-max", "100GiB", "--kdf-queue-max", "100GiB"]);
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
            stream.write_all(&head).expect("taken");
            stream.write_all(body.as_bytes()).expect("taken");
            stream
        })
        .collect();
    until("all are under way", || {
        sum(&server, "bulkhead_kdf_streams") >= 20.0
    });
    drop(clients);
    until("nothing is pending", || {
        sum(&server, "bulkhead_kdf_pending_bytes") < 1.0
    });
    assert_eq!(server.decrypt(PASSPHRASE, &default()).status, 200);
    let instances = samples(&server, "bulkhead_sandbox_instances_total");
    let interrupted = instances
        .iter()
        .find(|(labels, _)| labels["end"] == "interrupted" && labels["component"] == "decrypt");
    assert!(interrupted.is_some_and(|(_, count)| *count >= 20.0));
}
