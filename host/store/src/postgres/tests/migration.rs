//! Tables of older versions, and replicas of the previous version beside this one.

use super::super::schema::MIGRATIONS;
use super::*;
use crate::{Callback, MessageState, Owner};
use sha2::{Digest as _, Sha256};
use tokio_postgres::types::ToSql;

const START: Now = Now {
    wall: UnixMillis(0),
    boot: BootMillis(0),
};

fn id(number: u128) -> RequestId {
    RequestId::new(UnixMillis(0), number)
}

fn owned(number: u128, owner: &str, host: Option<&str>) -> NewRequest {
    NewRequest {
        owner: Some(Owner::new(owner)),
        callback: host.map(|host| Callback {
            url: format!("http://{host}/"),
            host: host.into(),
        }),
        ..new(number, "m")
    }
}

fn accept_new(store: &Postgres, new: NewRequest) -> RequestId {
    match wait(store.accept(new, UNBOUNDED, START)) {
        Ok(Accepted::Pending(id)) => id,
        other => panic!("{other:?}"),
    }
}

/// Creates the tables of an older version, with a request whose message waits and a request whose notification is
/// due.
fn older(version: usize) -> Database {
    let database = Database::new();
    for step in &MIGRATIONS[..version] {
        database.run(step);
    }
    let [waiting, signed] = [1, 2].map(id);
    database.run(&format!(
        "INSERT INTO bulkhead_meta (version, held_until, window_ms, margin_ms, incarnation)
         VALUES ({version}, 0, {window}, {margin}, bulkhead_incarnation());
         INSERT INTO bulkhead_messages (digest, text, state, created_at, waits_since, due_at)
         VALUES (sha256('waiting'), 'waiting', 'pending', 0, 0, 0);
         INSERT INTO bulkhead_messages
           (digest, text, state, signature, tries, created_at, waits_since, due_at, finished_at, ended_at)
         VALUES (sha256('signed'), 'signed', 'signed', 's', 1, 0, 0, 0, 0, 0);
         INSERT INTO bulkhead_requests
           (id, message, callback, callback_digest, host, created_at, state)
         SELECT CASE state WHEN 'pending' THEN '{waiting}' ELSE '{signed}' END, id, 'http://a/',
           sha256('http://a/'), 'a', 0, state FROM bulkhead_messages ORDER BY id;
         INSERT INTO bulkhead_notifications (request, host, state, due_at)
         SELECT number, 'a', 'pending', 0 FROM bulkhead_requests WHERE state = 'signed';
         UPDATE bulkhead_counts SET messages_pending = 1, notifications_pending = 1 WHERE shard = 0",
        window = QUOTA.window_ms,
        margin = QUOTA.margin_ms,
        waiting = waiting.as_str(),
        signed = signed.as_str(),
    ));
    database
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn older_tables_are_migrated_and_their_requests_have_no_owner() {
    for version in 1..MIGRATIONS.len() {
        let database = older(version);
        let store = database.open("a", &Arc::default(), QUOTA);
        let viewer = Viewer::Owner(Owner::new("ci"));
        for number in [1, 2] {
            let found = wait(store.request(id(number), viewer.clone(), START));
            assert_eq!(found.expect("call should succeed"), None, "{version}");
            let found = wait(store.request(id(number), Viewer::All, START));
            let found = found.expect("call should succeed");
            assert_eq!(found.expect("request should exist").owner, None);
        }
        // A named caller merges with none of them. The next caller without a name does.
        let own = NewRequest {
            message: "waiting".into(),
            ..owned(3, "ci", Some("a"))
        };
        assert_eq!(accept_new(&store, own), id(3));
        let same = NewRequest {
            owner: None,
            message: "waiting".into(),
            ..owned(4, "ci", Some("a"))
        };
        assert_eq!(accept_new(&store, same), id(1));
        let due = wait(store.claim_notifications(9, Vec::new(), START));
        let Ok(Claim::Acquired(due)) = due else {
            panic!("{due:?}");
        };
        let notified: Vec<_> = due.into_iter().map(|it| it.lease.request).collect();
        assert_eq!(notified, [id(2)], "{version}");
        let count = database.number(
            "SELECT count(*) FROM bulkhead_requests r JOIN bulkhead_messages m ON m.id = r.message
             WHERE m.text = 'waiting' AND r.state = 'pending'",
        );
        assert_eq!(count, 2, "both requests wait for the same message");
    }
}

/// The statements of version 2 that read or write requests and the order of messages.
mod version_2 {
    pub(super) const PLACE: &str = "WITH
      clock AS MATERIALIZED (SELECT bulkhead_clock_ms() AS wall, shift_ms FROM bulkhead_meta),
      known AS MATERIALIZED (
        SELECT m.id, m.state, m.signature, m.error,
          (SELECT r.id FROM bulkhead_requests r
           WHERE r.message = m.id AND m.state = 'pending' AND r.callback_digest = $6) AS same,
          (SELECT r.shared FROM bulkhead_requests r
           WHERE r.message = m.id AND m.state = 'pending' AND r.callback_digest = $6) AS shared,
          (SELECT r.id FROM bulkhead_requests r
           WHERE r.message = m.id AND r.callback_digest IS NULL) AS silent,
          (SELECT count(*) FROM
            (SELECT FROM bulkhead_requests r WHERE r.message = m.id LIMIT $9) AS counted) AS callers
        FROM bulkhead_messages m WHERE m.digest = $1),
      room AS MATERIALIZED (
        SELECT sum(messages_pending) < $3::bigint AS there FROM bulkhead_counts),
      placed AS (
        INSERT INTO bulkhead_messages (digest, text, state, created_at, waits_since, due_at)
        SELECT $1, $2, 'pending', wall, wall + shift_ms, wall + shift_ms FROM clock, room
        WHERE room.there AND NOT EXISTS (SELECT FROM known)
        ON CONFLICT (digest) DO NOTHING
        RETURNING id),
      requested AS (
        INSERT INTO bulkhead_requests
          (id, message, callback, callback_digest, host, traceparent, created_at, state)
        SELECT $4, placed.id, $5, $6, $7, $8, clock.wall, 'pending' FROM placed, clock
        RETURNING message),
      counted AS (
        UPDATE bulkhead_counts SET messages_pending = messages_pending + 1
        WHERE shard = pg_backend_pid() % 64 AND EXISTS (SELECT FROM requested))
      SELECT (SELECT there FROM room) AS room, EXISTS (SELECT FROM requested) AS placed,
        known.id, known.state, known.signature, known.error, known.same, known.shared,
        known.silent, known.callers
      FROM (SELECT) AS one LEFT JOIN known ON true";
    pub(super) const JOIN: &str = "INSERT INTO bulkhead_requests
        (id, message, callback, callback_digest, host, traceparent, created_at, state)
      SELECT $2, id, $3, $4, $5, $6, bulkhead_clock_ms(), 'pending' FROM
        (SELECT id FROM bulkhead_messages WHERE id = $1 AND state = 'pending' FOR SHARE) AS waiting
      ON CONFLICT DO NOTHING";
    pub(super) const SILENT: &str =
        "INSERT INTO bulkhead_requests (id, message, created_at, state, done_at)
      SELECT $2, id, bulkhead_clock_ms(), state, ended_at FROM
        (SELECT id, state, ended_at FROM bulkhead_messages
         WHERE id = $1 AND state <> 'pending' FOR SHARE) AS finished
      ON CONFLICT DO NOTHING";
    pub(super) const FRESH: &str = "SELECT due_at, id FROM bulkhead_messages
      WHERE state = 'pending' AND session IS NULL AND tries = 0 ORDER BY due_at, id LIMIT 1";
    pub(super) const FINISH: &str = "UPDATE bulkhead_messages
      SET state = 'signed', signature = 's', finished_at = bulkhead_clock_ms(), ended_at = $2,
        lease = lease + 1, session = NULL, tries = tries + 1
      WHERE id = $1 AND state = 'pending'";
    pub(super) const TELL: &str = "WITH waited AS (
        UPDATE bulkhead_requests
        SET state = 'signed', done_at = CASE WHEN callback IS NULL THEN $2::bigint END
        WHERE message = $1 AND state = 'pending'
        RETURNING number, host, done_at)
      INSERT INTO bulkhead_notifications (request, host, state, due_at)
      SELECT number, host, 'pending', $2::bigint FROM waited WHERE done_at IS NULL";
}

/// Two owners have requested the same message, with and without a callback. A replica of version 2, which does
/// not depend on owners, accepts the same message for its own callers, signs it, and creates all notifications.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn replica_of_previous_version_works_on_current_tables() {
    let database = Database::new();
    let store = database.open("a", &Arc::default(), QUOTA);
    let owned = [
        owned(1, "a", None),
        owned(2, "b", None),
        owned(3, "a", Some("host")),
        owned(4, "b", Some("host")),
    ];
    for new in owned.clone() {
        accept_new(&store, new);
    }
    let old = &database.client;
    let digest = |text: &str| Sha256::digest(text.as_bytes()).to_vec();
    let url = "http://host/";
    let place = |message: &str, id: &RequestId, url: Option<&str>| {
        let (message_digest, url_digest) = (digest(message), url.map(digest));
        let (text, host) = (message.as_bytes(), url.map(|_| "host"));
        let (max, none) = (1000_i64, None::<&str>);
        let id = id.as_str();
        let all: [&(dyn ToSql + Sync); 9] = [
            &message_digest,
            &text,
            &max,
            &id,
            &url,
            &url_digest,
            &host,
            &none,
            &max,
        ];
        wait(old.query_one(version_2::PLACE, &all)).expect("statement should succeed")
    };
    // It finds the message, and no request of the owners.
    let known = place("m", &id(5), Some(url));
    assert!(!known.get::<_, bool>("placed"));
    assert_eq!(known.get::<_, Option<&str>>("same"), None);
    assert_eq!(known.get::<_, Option<&str>>("silent"), None);
    let message: i64 = known.get("id");
    let none = None::<&str>;
    for (number, url) in [(5, Some(url)), (6, None)] {
        let (url_digest, host) = (url.map(digest), url.map(|_| "host"));
        let joining = id(number);
        let joining = joining.as_str();
        for joined in [1, 0] {
            let all: [&(dyn ToSql + Sync); 6] =
                [&message, &joining, &url, &url_digest, &host, &none];
            let changed = wait(old.execute(version_2::JOIN, &all));
            assert_eq!(changed.expect("statement should succeed"), joined);
        }
    }
    let known = place("m", &id(7), Some(url));
    assert_eq!(known.get::<_, &str>("same"), id(5).as_str());
    assert_eq!(known.get::<_, &str>("silent"), id(6).as_str());
    assert!(place("n", &id(8), None).get::<_, bool>("placed"));

    let next = wait(old.query_one(version_2::FRESH, &[])).expect("statement should succeed");
    assert_eq!(next.get::<_, i64>("id"), message);
    for statement in [version_2::FINISH, version_2::TELL] {
        wait(old.execute(statement, &[&message, &0_i64])).expect("statement should succeed");
    }
    let silent = wait(old.execute(version_2::SILENT, &[&message, &id(9).as_str()]));
    assert_eq!(silent.expect("statement should succeed"), 0, "there is one");
    for number in 1..=6 {
        let view = wait(store.request(id(number), Viewer::All, START));
        let view = view.expect("call should succeed");
        let view = view.expect("request should exist");
        assert_eq!(view.state, MessageState::Signed("s".into()), "{number}");
        let stored = owned.iter().find(|new| new.id == view.id);
        assert_eq!(view.owner, stored.and_then(|new| new.owner.clone()));
    }
    let due = wait(store.claim_notifications(9, Vec::new(), START));
    let Ok(Claim::Acquired(due)) = due else {
        panic!("{due:?}");
    };
    let mut notified: Vec<_> = due.into_iter().map(|it| it.lease.request).collect();
    notified.sort_unstable();
    assert_eq!(notified, [3, 4, 5].map(id));
}
