//! The time that the admission of a request takes. `bench/admission.sh` prints it.

use super::{Access, AccessMetrics, AccessSettings, KeyDigest, Requirement, Scope, Scopes};
use crate::listen::ListenSettings;
use bulkhead_http::Connection;
use clap::Parser;
use hyper::Request;
use hyper::http::request::Parts;
use serde_json::json;
use std::hint::black_box;
use std::time::Instant;

const CALLERS: usize = 1000;
const BATCHES: usize = 500;
const BATCH: u32 = 500;

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    access: AccessSettings,
    #[command(flatten)]
    listen: ListenSettings,
}

fn key(number: usize) -> String {
    format!("bh_{number:0>49}")
}

/// A server with as many callers as the file may have. Each of them has two keys.
fn access(file: &std::path::Path) -> Access {
    let entries = (0..CALLERS).map(|number| {
        let keys = [number, number + CALLERS].map(|number| {
            let sha256 = KeyDigest::of(key(number).as_bytes()).to_string();
            json!({"sha256": sha256, "expires": "2999-01-01"})
        });
        json!({"name": format!("caller-{number}"), "keys": keys, "scopes": ["token:make"]})
    });
    let document = json!({"entries": entries.collect::<Vec<_>>()});
    std::fs::write(file, document.to_string()).expect("file should be written");
    let file = file.to_str().expect("path should be UTF-8");
    let settings = Settings::parse_from(["test", "--access-keys", file]);
    let metrics = AccessMetrics::default();
    Access::start(&settings.access, &settings.listen, &[], &metrics).expect("file should be valid")
}

/// Returns the head of a usual request, as clients send it.
fn head(key: &str) -> Parts {
    let request = Request::post("/token")
        .header("host", "bulkhead.example:8443")
        .header("user-agent", "curl/7.88.1")
        .header("accept", "*/*")
        .header("authorization", format!("Bearer {key}"))
        .header("content-length", "100")
        .header("content-type", "application/x-www-form-urlencoded");
    request
        .body(())
        .expect("request should be valid")
        .into_parts()
        .0
}

/// The output is the time of the fastest of many batches, because other processes can only lengthen a batch.
#[test]
fn each_of_many_callers_is_admitted() {
    let folder = tempfile::tempdir().expect("folder should be created");
    let access = access(&folder.path().join("keys.json"));
    let heads: Vec<_> = (0..CALLERS).map(|number| head(&key(number))).collect();
    let connection = Connection {
        group: 0,
        listener: "127.0.0.1:8443".parse().expect("address should be valid"),
        peer: Some(([127, 0, 0, 1], 50_000).into()),
        certificate: None,
    };
    let required = Requirement::OneOf(Scopes::of(&[Scope::TokenMake]));
    let admit = |head: &Parts| {
        let identify = || access.identify(required, head, &connection);
        access.check_host(head, &connection).is_ok()
            && identify().is_ok_and(|caller| access.admit(required, &caller).is_ok())
    };
    let mut heads = heads.iter().cycle();
    let mut times: Vec<_> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            for head in heads.by_ref().take(BATCH as usize) {
                assert!(admit(black_box(head)));
            }
            start.elapsed() / BATCH
        })
        .collect();
    times.sort_unstable();
    let (min, median) = (times[0], times[BATCHES / 2]);
    eprintln!("admission: {min:?} in the fastest of {BATCHES} batches, {median:?} in the median");
    let unknown = head(&key(CALLERS * 2));
    assert!(!admit(&unknown));
}
