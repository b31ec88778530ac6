//! The cost of frequent operations does not depend on the number of stored rows.

use super::super::recovery::recover;
use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const NOW: Now = Now {
    wall: UnixMillis(100_000),
    boot: BootMillis(100_000),
};

/// Creates a file with `count` waiting messages, `count` finished messages, and `count` due notifications
/// of one host. Another host has one due notification.
fn filled(count: u32) -> (tempfile::TempDir, Database) {
    let (folder, database) = database();
    let connection = &database.connection;
    connection
        .pragma_update(None, "synchronous", "OFF")
        .expect("pragma should be set");
    let fill = "
        CREATE TEMP TABLE n AS WITH RECURSIVE n (n) AS (
          SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < COUNT) SELECT n FROM n;
        INSERT INTO messages (id, fingerprint, text, state, created_at, waits_since, due_at)
          SELECT n, random(), 'w' || n, 'pending', n, n, n FROM n;
        INSERT INTO messages
          (id, fingerprint, text, state, signature, created_at, waits_since, due_at, finished_at)
          SELECT 1000000 + n, random(), 's' || n, 'signed', 's', n, n, n, n FROM n;
        UPDATE messages SET owner = 'ci' WHERE id % 2 = 0;
        INSERT INTO requests (number, id, message, created_at, state)
          SELECT n, printf('%012x', 0) || lower(hex(randomblob(16))), n, n, 'pending' FROM n;
        INSERT INTO requests (number, id, message, callback, host, created_at, state)
          SELECT 1000000 + n, printf('%012x', 0) || lower(hex(randomblob(16))), 1000000 + n, 'http://dead/', 'dead', n,
            'signed' FROM n;
        UPDATE requests SET owner = 'ci' WHERE number % 2 = 0;
        INSERT INTO notifications (request, host, state, due_at)
          SELECT 1000000 + n, 'dead', 'pending', n FROM n;
        INSERT INTO requests (number, id, message, callback, host, created_at, state)
          VALUES (3000000, printf('%012x', 0) || lower(hex(randomblob(16))), 1000001, 'http://b/', 'b', 0, 'signed');
        INSERT INTO notifications (request, host, state, due_at) VALUES (3000000, 'b', 'pending', 9);
        INSERT INTO hosts VALUES ('dead', 1), ('b', 9);
        UPDATE meta SET backlog = COUNT, notifications_pending = COUNT + 1;";
    let fill = fill.replace("COUNT", &count.to_string());
    let filled = connection.execute_batch(&format!("BEGIN; {fill} COMMIT"));
    filled.expect("rows should be inserted");
    assert_sound(&folder.path().join("db"));
    (folder, database)
}

/// Returns the cost of each operation, in steps of SQLite's virtual machine.
#[expect(clippy::too_many_lines, reason = "a list of operations")]
fn steps(count: u32) -> Vec<(&'static str, u64)> {
    let (folder, mut database) = filled(count);
    let steps = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&steps);
    let count_step = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    let hook = database.connection.progress_handler(1, Some(count_step));
    hook.expect("hook should be set");
    let mut all = Vec::new();
    let mut taken = |what, call: &mut dyn FnMut(&mut Database)| {
        let before = steps.load(Ordering::Relaxed);
        call(&mut database);
        all.push((what, steps.load(Ordering::Relaxed) - before));
    };
    let busy = ["dead".to_owned()];
    taken("a notification beside a busy host", &mut |database| {
        let claimed = acquired(
            database
                .claim_notifications(9, &busy, NOW)
                .expect("store should respond"),
        );
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].callback.host, "b");
    });
    taken("no notification beside a busy host", &mut |database| {
        let claimed = database
            .claim_notifications(9, &busy, NOW)
            .expect("store should respond");
        assert_eq!(claimed, Claim::RetryAfter { after_ms: None });
    });
    taken("notifications of one host", &mut |database| {
        let claimed = database
            .claim_notifications(5, &[], NOW)
            .expect("store should respond");
        assert_eq!(acquired(claimed).len(), 5);
    });
    taken("an attempt", &mut |database| {
        assert_eq!(
            acquired(database.claim_attempt(NOW).expect("store should respond")).message,
            "w2"
        );
    });
    taken("a check", &mut |database| {
        acquired(database.claim_check(1, NOW).expect("store should respond"));
    });
    taken("a request", &mut |database| {
        let new = new_request(1, "m", Some("a"));
        let accepted = database.accept(&new, Fingerprint::of("m"), UNBOUNDED, NOW);
        assert!(matches!(accepted, Ok(Accepted::Pending(_))));
    });
    taken("the heartbeat", &mut |database| {
        database.heartbeat(NOW).expect("heartbeat should succeed");
    });
    taken("the stats", &mut |database| {
        let stats = database.stats(NOW).expect("store should respond");
        assert_eq!(stats.backlog, u64::from(count) + 1);
        assert_eq!(stats.oldest_age_ms, Some(99_999));
    });
    let list = |database: &mut Database, filter, owner: Option<&str>| {
        let query = RequestQuery {
            viewer: owner.map_or(Viewer::All, |owner| Viewer::Owner(Owner::new(owner))),
            ..RequestQuery::newest(filter, 5)
        };
        let listed = database.list(&query, NOW).expect("store should respond");
        listed.expect("the query should not name a request").len()
    };
    for filter in [
        RequestFilter::All,
        RequestFilter::Pending,
        RequestFilter::Signed,
    ] {
        taken("a list", &mut |database| {
            assert_eq!(list(database, filter, None), 5);
        });
        taken("a list of an owner", &mut |database| {
            assert_eq!(list(database, filter, Some("ci")), 5);
        });
    }
    for filter in [RequestFilter::Failed, RequestFilter::Parked] {
        taken("an empty list", &mut |database| {
            assert_eq!(list(database, filter, None), 0);
        });
    }
    taken("an empty list of an owner", &mut |database| {
        assert_eq!(list(database, RequestFilter::Failed, Some("ci")), 0);
    });
    taken("a sweep", &mut |database| {
        assert_eq!(database.sweep(1, 5, NOW).expect("sweep should succeed"), 0);
    });
    for (what, boot_id) in [
        ("a start", BOOT),
        ("a start of the machine", "another start"),
    ] {
        taken(what, &mut |database| {
            let clock = database.transaction(|it| recover(it, boot_id, QUOTA, at(5, 0)));
            database.clock = clock.expect("recovery should succeed");
        });
    }
    assert_sound(&folder.path().join("db"));
    // Recovery makes all notifications available again, those of both hosts.
    let now = database.clock.now(at(5, 0));
    let claimed = database.claim_notifications(u32::MAX, &[], now);
    assert_eq!(
        acquired(claimed.expect("store should respond")).len(),
        count as usize + 1
    );
    all
}

#[test]
fn cost_of_frequent_operations_does_not_grow_with_the_backlog() {
    let (few, many) = (steps(10), steps(100_000));
    assert_eq!(few.len(), many.len());
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        assert!(few > 0, "{what}");
        assert!(many <= few + few / 10, "{what}: {few} steps, then {many}");
    }
}
