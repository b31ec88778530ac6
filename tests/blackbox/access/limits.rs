//! Limits of access keys, and of failed attempts by address.

use super::{KeyFile, file_argument, is_accepted, new_key, send, send_with};
use crate::relay::{Relay, StoreKind, UpstreamProfile};
use bulkhead_tests::fixtures::text;
use bulkhead_tests::http::{Response, connect, head, request};
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::until;
use serde_json::{Value, json};
use std::io::Write as _;

/// No message is signed.
const FAILING: UpstreamProfile = UpstreamProfile {
    calls: 10,
    window_ms: 1000,
    fail: "1",
    degraded: "0s..0s",
};

/// Returns whether a limit of the key was reached, after checking the response.
fn is_limited(response: &Response, limit: &str) -> bool {
    if response.status != 429 {
        return false;
    }
    assert_eq!(response.problem(), "limit_reached");
    assert_eq!(response.json()["limit"], limit);
    let wait = response.header("retry-after").expect("header should exist");
    let wait: u32 = wait.parse().expect("wait should be a number");
    assert!(wait > 0);
    let policy = response.header("ratelimit-policy").expect("header");
    assert!(policy.starts_with(&format!("\"{limit}\";q=")), "{policy}");
    let left = response.header("ratelimit").expect("header should exist");
    assert!(left.starts_with(&format!("\"{limit}\";r=0")), "{left}");
    true
}

fn decrypt(server: &Server, key: &str) -> Response {
    let message = text("bench/default.asc");
    let body = json!({"passphrase": "topsecret", "message": message}).to_string();
    let authorization = format!("Bearer {key}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    request(
        server.address,
        "POST",
        "/decryptMessage",
        &headers,
        body.as_bytes(),
    )
}

/// Returns the value of a metric of the entry with this name.
fn metric(server: &Server, observer: &str, metric: &str, labels: &[(&str, &str)]) -> i64 {
    let document = send(server, observer, "GET", "/metrics").json();
    let metrics = document["metrics"].as_array().expect("an array").clone();
    let samples = metrics.iter().filter_map(|it| it["samples"].as_array());
    let mut samples = samples.flatten().filter(|sample| {
        let mut labels = labels.iter();
        sample["name"] == metric && labels.all(|(name, value)| sample["labels"][name] == *value)
    });
    let sample = samples.next().expect("there should be a sample");
    sample["value"]
        .as_i64()
        .expect("value should be an integer")
}

/// One request takes milliseconds, so that the burst is used up before the next second.
#[test]
fn requests_of_a_key_are_limited_by_rate_and_other_keys_are_not() {
    let mut file = KeyFile::new();
    let slow = file.add("slow", &["token:make"]);
    let other = file.add("other", &["token:make"]);
    let observer = file.add("ops", &["observe"]);
    file.entries[1]["limits"] = json!({"request_rate": 1000});
    file.entries[2]["limits"] = json!({"request_rate": 1000});
    let flags = ["--key-request-rate", "1", "--key-request-burst", "3"];
    let server = file.start_with_flags(&flags);
    assert!(is_accepted(&server, &slow));
    until("the limit is reached", || {
        let response = send(&server, &slow, "POST", "/token");
        if is_limited(&response, "request_rate") {
            let policy = response.header("ratelimit-policy");
            assert_eq!(policy, Some("\"request_rate\";q=3;w=3"));
            return true;
        }
        assert_eq!(response.status, 200);
        false
    });
    assert!(is_accepted(&server, &other));
    let labels = [("name", "slow"), ("limit", "request_rate")];
    let limited = metric(
        &server,
        &observer,
        "bulkhead_access_key_limited_total",
        &labels,
    );
    assert!(limited > 0);
    until("the next second has begun", || {
        send(&server, &slow, "POST", "/token").status == 200
    });
}

#[test]
fn concurrent_requests_of_a_key_are_limited() {
    let mut file = KeyFile::new();
    let key = file.add("ci", &["decrypt", "token:make"]);
    let other = file.add("other", &["token:make"]);
    let observer = file.add("ops", &["observe"]);
    file.entries[0]["limits"] = json!({"requests_max": 1});
    let server = file.start();
    // The body of this request does not arrive.
    let authorization = format!("Bearer {key}");
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
    ];
    let mut stream = connect(server.address);
    let request = head("POST", "/decryptMessage", &headers, 100);
    stream.write_all(&request).expect("head should be sent");
    let running = || {
        let name = "bulkhead_access_key_requests_running";
        metric(&server, &observer, name, &[("name", "ci")])
    };
    until("the request runs", || running() == 1);
    let response = send(&server, &key, "POST", "/token");
    assert!(is_limited(&response, "requests_max"));
    let policy = response.header("ratelimit-policy");
    assert_eq!(
        policy,
        Some("\"requests_max\";q=1;qu=\"concurrent-requests\"")
    );
    assert!(is_accepted(&server, &other));
    drop(stream);
    until("the request has ended", || running() == 0);
    assert!(is_accepted(&server, &key));
}

#[test]
fn requests_of_a_key_that_wait_for_a_signature_are_limited() {
    let mut file = KeyFile::new();
    let [key, other] = ["ci", "other"].map(|name| file.add(name, &["sign"]));
    file.entries[0]["limits"] = json!({"pending_max": 2});
    file.write();
    let mut relay = Relay::prepare(StoreKind::Sqlite, &FAILING);
    relay.set("BULKHEAD_ACCESS_KEYS", file_argument(&file.path()));
    relay.set("BULKHEAD_SIGN_TIMEOUT", "50ms");
    relay.run();
    let sign = |key: &str, message: &str| {
        let target = format!("/crypto/sign?message={message}");
        send(relay.server(), key, "GET", &target)
    };
    for message in ["one", "two", "one"] {
        assert_eq!(sign(&key, message).status, 202, "{message}");
    }
    let limited = sign(&key, "three");
    assert!(is_limited(&limited, "pending_max"), "{limited:?}");
    let policy = "\"pending_max\";q=2;qu=\"bulkhead-pending-requests\"";
    assert_eq!(limited.header("ratelimit-policy"), Some(policy));
    assert_eq!(sign(&other, "three").status, 202);
    // A message that waits for another key counts too.
    assert!(is_limited(&sign(&key, "three"), "pending_max"));
}

/// A message may exceed the limit, so that each message can be opened. The next one waits.
#[test]
fn key_derivation_of_a_key_is_limited_and_the_load_survives_a_reload() {
    let mut file = KeyFile::new();
    let key = file.add("ci", &["decrypt"]);
    let other = file.add("other", &["decrypt"]);
    let observer = file.add("ops", &["observe"]);
    file.entries[0]["limits"] = json!({"kdf_rate": "1MiB"});
    let server = file.start();
    let statuses = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| decrypt(&server, &key)))
            .collect();
        let join = |it: std::thread::ScopedJoinHandle<'_, Response>| it.join().expect("a response");
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    let opened = statuses.iter().filter(|response| response.status == 200);
    assert_eq!(opened.count(), 1);
    let limited: Vec<_> = statuses
        .iter()
        .filter(|it| is_limited(it, "kdf_rate"))
        .collect();
    assert_eq!(limited.len(), 3);
    let policy = "\"kdf_rate\";q=1048576;qu=\"bulkhead-kdf-bytes\";w=60";
    assert_eq!(limited[0].header("ratelimit-policy"), Some(policy));
    assert_eq!(decrypt(&server, &other).status, 200);
    let bytes = |name| {
        let labels = [("name", name)];
        metric(
            &server,
            &observer,
            "bulkhead_access_key_kdf_bytes_total",
            &labels,
        )
    };
    assert_eq!([bytes("ci"), bytes("other")], [2 * 65_011_712; 2]);

    // Another entry changes, and then the limit.
    let (new, entry) = new_key("new", &["token:make"]);
    file.entries.push(entry);
    file.write();
    server.signal("HUP");
    until("the new key is accepted", || is_accepted(&server, &new));
    assert!(is_limited(&decrypt(&server, &key), "kdf_rate"));
    file.entries[0]["limits"]["kdf_rate"] = json!("4096GiB");
    file.write();
    server.signal("HUP");
    until("the new limit is active", || {
        decrypt(&server, &key).status == 200
    });
}

#[test]
fn failures_of_others_never_keep_a_valid_key_out() {
    let mut file = KeyFile::new();
    let key = file.add("ci", &["token:make"]);
    let server = file.start_with_flags(&["--failed-attempts-rate", "3"]);
    for _ in 0..3 {
        assert_eq!(server.get("POST", "/token").status, 401);
    }
    for wrong in ["", "bh_wrong"] {
        let response = send(&server, wrong, "POST", "/token");
        assert_eq!(
            (response.status, response.problem().as_str()),
            (429, "too_many_failures")
        );
    }
    assert!(is_accepted(&server, &key));
    // Open routes do not need a key.
    assert_eq!(server.get("GET", "/livez").status, 200);
    assert_eq!(server.get("GET", "/health").status, 200);
}

#[test]
fn failures_are_counted_by_network_in_a_bounded_table() {
    let mut file = KeyFile::new();
    let observer = file.add("ops", &["observe"]);
    let flags = [
        "--failed-attempts-rate",
        "2",
        "--failed-attempts-addresses-max",
        "3",
        "--trusted-proxies",
        "127.0.0.1",
    ];
    let server = file.start_with_flags(&flags);
    let from = |address: &str| {
        let forwarded = [("X-Forwarded-For", address)];
        send_with(&server, "bh_wrong", "POST", "/token", &forwarded).status
    };
    for (address, status) in [
        ("2001:db8::1", 401),
        ("2001:db8::2:0:0:2", 401),
        ("2001:db8::3", 429),
        ("2001:db8:0:1::1", 401),
        ("192.0.2.1", 401),
        // The others share two attempts.
        ("192.0.2.2", 401),
        ("192.0.2.3", 401),
        ("192.0.2.4", 429),
        // A known address has its own limit.
        ("192.0.2.1", 401),
        ("192.0.2.1", 429),
    ] {
        assert_eq!(from(address), status, "{address}");
    }
    let value = |name| metric(&server, &observer, name, &[]);
    assert_eq!(value("bulkhead_access_failed_attempts_addresses"), 3);
    assert_eq!(value("bulkhead_access_failed_attempts_limited_total"), 3);
}

#[test]
fn limits_of_a_key_are_written_listed_and_checked() {
    let new = ["access-key", "new", "--name", "ci", "--scope", "sign"];
    let limits = ["--request-rate", "10", "--kdf-rate", "8GiB"];
    let output = run(&[&new[..], &limits].concat(), &[]);
    let printed = String::from_utf8(output.stdout).expect("output should be UTF-8");
    let entry = &printed[printed.find("\n{").expect("output should have an entry")..];
    let entry: Value = serde_json::from_str(entry).expect("entry should be JSON");
    let expected = json!({"request_rate": 10, "kdf_rate": "8GiB"});
    assert_eq!(entry["limits"], expected);

    let mut file = KeyFile::new();
    file.entries.push(entry);
    let admin = file.add("ops", &["admin"]);
    let server = file.start_with_flags(&["--key-requests-max", "7"]);
    let list = send(&server, &admin, "GET", "/access-keys").json();
    let mut expected = expected;
    expected["requests_max"] = json!(7);
    assert_eq!(list["entries"][0]["limits"], expected);
    assert_eq!(list["entries"][0]["limited"], 0);
    assert_eq!(list["entries"][1]["limits"], json!({"requests_max": 7}));

    // Without access keys, nothing would be limited.
    let checked = run(&["check-config", "--key-requests-max", "7"], &[]);
    let report = String::from_utf8_lossy(&checked.stdout);
    assert!(
        !checked.status.success() && report.contains("--access-keys"),
        "{report}"
    );
}
