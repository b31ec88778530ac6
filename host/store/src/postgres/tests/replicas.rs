//! Several replicas on one database.

use super::*;
use crate::{Callback, Notification, NotificationOutcome, Outcome, SlotEnd, StoreError};

fn signed(replica: &Replica, claimed: Attempt) -> Result<()> {
    let outcome = Outcome::Signed("sig".into());
    let now = replica.now();
    wait(
        replica
            .store
            .finish_attempt(claimed, SlotEnd::Settled, outcome, Vec::new(), now),
    )
}

fn due(replica: &Replica, max: u32, busy: &[&str]) -> Claim<Vec<Notification>> {
    let busy = busy.iter().map(|host| (*host).into()).collect();
    wait(replica.store.claim_notifications(max, busy, replica.now())).expect("call should succeed")
}

fn pair() -> (Database, Replica, Replica) {
    let database = Database::with_clock(QUOTA, 1_700_000_000_000);
    let (a, b) = (
        Replica::new(&database, "a", 1000),
        Replica::new(&database, "b", 500_000),
    );
    pass(&database, &[&a, &b], QUOTA.claim_ms());
    (database, a, b)
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn attempts_of_dead_replica_are_taken_over_after_30_seconds() {
    let (database, a, b) = pair();
    accept(&a.store, 1, "m").expect("request should be stored");
    let Claim::Acquired(lost) = a.begin() else {
        panic!("no attempt was claimed");
    };
    // The heartbeats of this replica stop.
    pass(&database, &[&b], 25_000);
    assert_eq!(b.begin(), Claim::RetryAfter { after_ms: None });
    pass(&database, &[&b], 10_000);
    let Claim::Acquired(claimed) = b.begin() else {
        panic!("the attempt was not taken over");
    };
    assert_eq!((claimed.message.as_str(), claimed.number), ("m", 1));
    // The replica was only slow. It gets a new session, and its old attempt is void.
    a.boot_ms.fetch_add(35_000, Ordering::SeqCst);
    a.heartbeat();
    assert!(matches!(signed(&a, lost), Err(StoreError::LeaseLost)));
    accept(&a.store, 2, "n").expect("request should be stored");
    assert!(matches!(a.begin(), Claim::Acquired(_)));
    signed(&b, claimed).expect("outcome should be stored");
}

/// The database was unavailable for all replicas, so that none can conclude that another one has
/// stopped.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn unavailable_database_ends_no_session() {
    let (database, a, b) = pair();
    accept(&a.store, 1, "m").expect("request should be stored");
    let Claim::Acquired(claimed) = a.begin() else {
        panic!("no attempt was claimed");
    };
    database.step(60_000);
    for replica in [&a, &b] {
        replica.boot_ms.fetch_add(60_000, Ordering::SeqCst);
    }
    b.heartbeat();
    let sessions = database.number("SELECT count(*) FROM bulkhead_sessions");
    assert_eq!(sessions, 2);
    signed(&a, claimed).expect("outcome should be stored");
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn deleted_session_is_replaced() {
    let (database, a, _b) = pair();
    accept(&a.store, 1, "m").expect("request should be stored");
    database.run("DELETE FROM bulkhead_sessions");
    let Claim::Acquired(claimed) = a.begin() else {
        panic!("no attempt was claimed");
    };
    signed(&a, claimed).expect("outcome should be stored");
}

/// Many concurrent callers at two replicas send few messages with few callbacks.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn concurrent_requests_share_one_message() {
    const CALLS: u128 = 400;
    let (database, a, b) = pair();
    let accepted = wait(async {
        let calls: Vec<_> = (0..CALLS)
            .map(|number| {
                let mut new = new(number, &format!("m{}", number / 40));
                new.callback = (number % 3 != 0).then(|| Callback {
                    url: format!("http://{}/", number % 5),
                    host: (number % 5).to_string(),
                });
                let store = if number % 2 == 0 { &a.store } else { &b.store };
                store.accept(new, UNBOUNDED, a.now())
            })
            .collect();
        let mut accepted = Vec::new();
        let calls: Vec<_> = calls.into_iter().map(Started::start).collect();
        for call in calls {
            accepted.push(call.finish().await);
        }
        accepted
    });
    for answer in accepted {
        assert!(matches!(answer, Ok(Accepted::Pending(_))), "{answer:?}");
    }
    let count = |table: &str| database.number(&format!("SELECT count(*) FROM bulkhead_{table}"));
    assert_eq!(count("messages"), 10);
    assert_eq!(count("requests"), 10 * 6, "five callbacks and no callback");
    let stats = wait(a.store.stats(a.now())).expect("call should succeed");
    assert_eq!(stats.backlog, 10);
}

/// Concurrent claims see each other: neither checks nor all calls exceed their limit.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn concurrent_claims_do_not_exceed_limits() {
    for round in 0..10 {
        let (_database, a, b) = pair();
        for number in 0..5 {
            accept(&a.store, number, &number.to_string()).expect("request should be stored");
        }
        let (checks, tries) = wait(async {
            let stores = || [&a, &b].into_iter().cycle().take(12);
            let checks: Vec<_> = stores()
                .map(|by| Started::start(by.store.claim_check(1, by.now())))
                .collect();
            let mut granted = (0, 0);
            for check in checks {
                let claimed = check.finish().await.expect("call should succeed");
                granted.0 += u32::from(matches!(claimed, Claim::Acquired(_)));
            }
            let tries: Vec<_> = stores()
                .map(|by| Started::start(by.store.claim_attempt(by.now())))
                .collect();
            for claimed in tries {
                let claimed = claimed.finish().await.expect("call should succeed");
                granted.1 += u32::from(matches!(claimed, Claim::Acquired(_)));
            }
            granted
        });
        assert_eq!((checks, tries), (1, QUOTA.calls - 1), "round {round}");
    }
}

/// Requests that join a message while it is being finished get a notification or the result.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn request_joining_finishing_message_is_notified() {
    let quota = Quota {
        calls: 1000,
        ..QUOTA
    };
    let (database, a, b) = pair();
    let mut a = a;
    a.quota = quota;
    a.restart(&database);
    let mut notified = 0;
    for round in 0..40_u128 {
        let message = format!("m{round}");
        accept(&a.store, round * 100, &message).expect("request should be stored");
        let Claim::Acquired(claimed) = a.begin() else {
            panic!("no attempt was claimed");
        };
        notified += wait(async {
            let joins: Vec<_> = (1..20_u128)
                .map(|number| {
                    let mut new = new(round * 100 + number, &message);
                    new.callback = Some(Callback {
                        url: format!("http://{number}/"),
                        host: number.to_string(),
                    });
                    Started::start(b.store.accept(new, UNBOUNDED, b.now()))
                })
                .collect();
            let outcome = Outcome::Signed("sig".into());
            let end = SlotEnd::Settled;
            let finish = a
                .store
                .finish_attempt(claimed, end, outcome, Vec::new(), a.now());
            Started::start(finish)
                .finish()
                .await
                .expect("outcome should be stored");
            let mut waiting = 0;
            for join in joins {
                match join.finish().await.expect("request should be stored") {
                    Accepted::Pending(_) => waiting += 1,
                    Accepted::Signed { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            waiting
        });
    }
    assert!(notified > 0, "no request joined in time");
    assert_eq!(
        database.number("SELECT count(*) FROM bulkhead_notifications"),
        notified
    );
    assert_eq!(
        database.number("SELECT count(*) FROM bulkhead_requests WHERE state = 'pending'"),
        0
    );
    assert_eq!(
        database.number("SELECT sum(notifications_pending)::bigint FROM bulkhead_counts"),
        notified
    );
}

/// Both replicas sweep and accept the same messages.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn concurrent_sweeps_and_requests_leave_no_orphans() {
    let (database, a, b) = pair();
    database.run(
        "INSERT INTO bulkhead_messages (digest, text, state, signature, created_at, waits_since,
           due_at, finished_at, ended_at)
         SELECT sha256(t), t, 'signed', 's', 0, 0, 0, 0, 0
         FROM (SELECT convert_to('m' || n, 'UTF8') AS t FROM generate_series(0, 199) AS n) AS all_of;
         INSERT INTO bulkhead_requests (id, message, created_at, state, done_at)
         SELECT repeat('0', 12) || md5(id::text), id, 0, 'signed', 0 FROM bulkhead_messages",
    );
    wait(async {
        let sweeps: Vec<_> = (0..30)
            .map(|n| {
                let store = if n % 2 == 0 { &a.store } else { &b.store };
                Started::start(store.sweep(1000, 10, a.now()))
            })
            .collect();
        let accepts: Vec<_> = (0..200)
            .map(|n| Started::start(b.store.accept(new(n, &format!("m{n}")), UNBOUNDED, b.now())))
            .collect();
        for sweep in sweeps {
            sweep.finish().await.expect("sweep should succeed");
        }
        for accept in accepts {
            let answer = accept.finish().await;
            assert!(
                matches!(answer, Ok(Accepted::Pending(_) | Accepted::Signed { .. })),
                "{answer:?}"
            );
        }
    });
    let orphans = "SELECT count(*) FROM bulkhead_messages m
      WHERE NOT EXISTS (SELECT FROM bulkhead_requests r WHERE r.message = m.id)";
    assert_eq!(database.number(orphans), 0);
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn replicas_share_due_notifications() {
    let (database, a, b) = pair();
    notify(&database, 1000, 10, 0);
    let taken = wait(async {
        let calls: Vec<_> = (0..20)
            .map(|n| {
                let store = if n % 2 == 0 { &a.store } else { &b.store };
                Started::start(store.claim_notifications(50, Vec::new(), a.now()))
            })
            .collect();
        let mut taken = Vec::new();
        for call in calls {
            if let Claim::Acquired(some) = call.finish().await.expect("call should succeed") {
                taken.extend(
                    some.into_iter()
                        .map(|notification| notification.lease.request),
                );
            }
        }
        taken
    });
    let once: std::collections::BTreeSet<_> = taken.iter().collect();
    assert_eq!(
        once.len(),
        taken.len(),
        "each notification should be claimed once"
    );
    assert!(taken.len() >= 500, "{}", taken.len());
}

/// The claim is fast however many notifications wait for a busy host, and however many hosts there
/// are.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn busy_host_does_not_delay_other_hosts() {
    let (database, a, _b) = pair();
    notify(&database, 100_000, 1, 0);
    notify(&database, 1000, 1000, 1);
    database.run("ANALYZE");
    let claim = || due(&a, 10, &["h0.1"]);
    claim();
    let started = std::time::Instant::now();
    let Claim::Acquired(notifications) = claim() else {
        panic!("no notification was due");
    };
    let took = started.elapsed();
    eprintln!("10 of 1,000 hosts beside 100,000 for a busy one: {took:?}");
    assert_eq!(notifications.len(), 10);
    assert!(
        notifications
            .iter()
            .all(|notification| notification.callback.host.ends_with(".1000"))
    );
    assert!(took < Duration::from_millis(500), "{took:?}");
    let why = "no".to_owned();
    for notification in notifications {
        let again = NotificationOutcome::Retry {
            after_ms: 1000,
            why: why.clone(),
        };
        wait(
            a.store
                .finish_notification(notification.lease, again, a.now()),
        )
        .expect("outcome should be stored");
    }
}

/// Creates `many` notifications for `hosts` hosts. A smaller `first` makes them older.
fn notify(database: &Database, many: u32, hosts: u32, first: u32) {
    let number = |n: &str| format!("{n} + {}", u64::from(first) * 10_000_000);
    database.run(&format!(
        "INSERT INTO bulkhead_messages (digest, text, state, signature, created_at, waits_since,
           due_at, finished_at, ended_at)
         VALUES (sha256('{hosts}'), 'm{hosts}', 'signed', 's', 0, 0, 0, 0, 0);
         INSERT INTO bulkhead_requests (id, message, callback, callback_digest, host, created_at,
           state)
         SELECT repeat('0', 12) || md5(({id})::text), (SELECT max(id) FROM bulkhead_messages), 'http://' || n,
           sha256(n::text::bytea), 'h' || n % {hosts} || '.{hosts}', 0, 'signed'
         FROM generate_series(1, {many}) AS n;
         INSERT INTO bulkhead_notifications (request, host, state, due_at)
         SELECT number, host, 'pending', number FROM bulkhead_requests
         WHERE host LIKE '%.{hosts}';
         UPDATE bulkhead_counts SET notifications_pending = notifications_pending + {many}
         WHERE shard = 0",
        id = number("n"),
    ));
}

/// A call that has started and continues while others start.
struct Started<'a, T>(crate::StoreFuture<'a, T>, Option<Result<T>>);

impl<'a, T> Started<'a, T> {
    fn start(mut operation: crate::StoreFuture<'a, T>) -> Self {
        use std::task::{Context, Poll, Waker};
        let done = match operation
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        };
        Self(operation, done)
    }

    async fn finish(self) -> Result<T> {
        match self.1 {
            Some(done) => done,
            None => self.0.await,
        }
    }
}
