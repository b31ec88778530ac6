//! Speed of the store. The figures are printed, and only extreme values fail.

use super::*;
use crate::{RequestFilter, RequestQuery};
use std::time::Instant;

const CALLS: u32 = 2000;

/// Returns the number of accepted requests per second with `callers` concurrent callers.
fn accepts(store: &Postgres, callers: u32, round: u128) -> f64 {
    let calls = if callers == 1 { CALLS / 4 } else { CALLS * 2 };
    let started = Instant::now();
    std::thread::scope(|scope| {
        for caller in 0..callers {
            scope.spawn(move || {
                for call in 0..calls / callers {
                    let number = (round << 64) + (u128::from(caller) << 32) + u128::from(call);
                    accept(store, number, &format!("message {number}"))
                        .expect("request should be stored");
                }
            });
        }
    });
    f64::from(calls) / started.elapsed().as_secs_f64()
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn concurrent_requests_are_faster_than_sequential_ones() {
    let database = Database::new();
    let setup = PostgresSetup {
        password: None,
        tls: None,
        connections_max: 32,
        boot_id: "a".into(),
        boot_clock: Arc::new(|| BootMillis(0)),
        quota: QUOTA,
        timeout: TIMEOUT,
    };
    let store = Postgres::connect(&database.url, setup).expect("URL should be valid");
    accepts(&store, 64, 0);
    let alone = accepts(&store, 1, 1);
    let together = accepts(&store, 64, 2);
    eprintln!("accepted requests per second: {alone:.0} with one caller, {together:.0} with 64");
    assert!(together > alone, "{together:.0} against {alone:.0}");
}

/// The cost of a call does not depend on the number of pending or finished messages.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn cost_does_not_depend_on_number_of_messages() {
    const WAITING: i64 = 200_000;
    let database = Database::with_clock(QUOTA, 1_700_000_000_000);
    let replica = Replica::new(&database, "a", 0);
    pass(&database, &[&replica], QUOTA.claim_ms());
    database.run(&format!(
        "INSERT INTO bulkhead_messages (digest, text, state, tries, created_at, waits_since, due_at)
         SELECT sha256(t), t, 'pending', n % 2, 0, n, n
         FROM (SELECT n, ('w' || n)::bytea AS t FROM generate_series(1, {WAITING}) AS n) AS all_of;
         INSERT INTO bulkhead_requests (id, message, created_at, state)
         SELECT repeat('0', 12) || md5(id::text), id, 0, 'pending' FROM bulkhead_messages;
         UPDATE bulkhead_counts SET messages_pending = messages_pending + {WAITING} WHERE shard = 0;
         INSERT INTO bulkhead_messages
           (digest, text, state, signature, created_at, waits_since, due_at, finished_at, ended_at)
         SELECT sha256(t), t, 'signed', 's', 0, 0, 0, 0, 0
         FROM (SELECT ('d' || n)::bytea AS t FROM generate_series(1, {WAITING}) AS n) AS all_of;
         INSERT INTO bulkhead_requests (id, message, created_at, state, done_at)
         SELECT repeat('1', 12) || md5(id::text), id, 0, 'signed', 0 FROM bulkhead_messages
         WHERE state = 'signed';
         ANALYZE"
    ));
    let time = |what: &str, mut call: Box<dyn FnMut() + '_>| {
        call();
        let started = Instant::now();
        call();
        let took = started.elapsed();
        eprintln!("{what} with {WAITING} pending messages: {took:?}");
        assert!(took < Duration::from_millis(250), "{what}: {took:?}");
    };
    let mut number = 0;
    time(
        "accept",
        Box::new(|| {
            number += 1;
            accept(&replica.store, number, &number.to_string()).expect("request should be stored");
        }),
    );
    let mut tries = Vec::new();
    time(
        "claim_attempt",
        Box::new(|| match replica.begin() {
            Claim::Acquired(claimed) => tries.push(claimed),
            later @ Claim::RetryAfter { .. } => panic!("{later:?}"),
        }),
    );
    time(
        "finish_attempt",
        Box::new(|| {
            let (claimed, failed) = (
                tries.pop().expect("an attempt should be left"),
                Outcome::Failed("no".into()),
            );
            let (end, now) = (SlotEnd::Settled, replica.now());
            let finished = replica
                .store
                .finish_attempt(claimed, end, failed, Vec::new(), now);
            wait(finished).expect("outcome should be stored");
        }),
    );
    time(
        "sweep",
        Box::new(|| {
            let swept = wait(replica.store.sweep(1000, 100, replica.now()));
            assert_eq!(swept.expect("sweep should succeed"), 100);
        }),
    );
    time(
        "stats",
        Box::new(|| {
            let stats = wait(replica.store.stats(replica.now())).expect("call should succeed");
            assert_eq!(stats.backlog, WAITING.unsigned_abs());
        }),
    );
    time("heartbeat", Box::new(|| replica.heartbeat()));
    time(
        "list",
        Box::new(|| {
            let listed = replica.store.list(
                RequestQuery::newest(RequestFilter::Pending, 50),
                replica.now(),
            );
            let listed = wait(listed).expect("call should succeed");
            assert_eq!(listed.expect("all requests should be listed").len(), 50);
        }),
    );
}
