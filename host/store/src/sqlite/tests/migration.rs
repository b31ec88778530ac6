//! Files of older versions.

use super::super::schema::{APPLICATION_ID, MIGRATIONS};
use super::*;

/// Creates a file as a server of an older version left it, with a request whose message waits and a request whose
/// notification is due.
fn older(path: &Path, version: usize) {
    let file = Connection::open(path).expect("file should open");
    for step in &MIGRATIONS[..version] {
        file.execute_batch(step).expect("step should succeed");
    }
    let [waiting, signed] = [1, 2].map(|number| RequestId::new(UnixMillis(0), number));
    file.execute_batch(&format!(
        "PRAGMA user_version = {version};
         PRAGMA application_id = {APPLICATION_ID};
         INSERT INTO meta
           (only_row, boot_id, ahead_ms, waits_ahead_ms, held_until, window_ms, margin_ms, backlog,
            notifications_pending, notifications_parked, leases)
         VALUES (1, '{BOOT}', 0, 0, 0, {window}, {margin}, 1, 1, 0, 0);
         INSERT INTO messages (id, fingerprint, text, state, created_at, waits_since, due_at)
         VALUES (1, {waiting_key}, 'waiting', 'pending', 0, 0, 0);
         INSERT INTO messages
           (id, fingerprint, text, state, signature, tries, created_at, waits_since, due_at, finished_at)
         VALUES (2, {signed_key}, 'signed', 'signed', 's', 1, 0, 0, 0, 0);
         INSERT INTO requests (number, id, message, callback, host, created_at, state)
         VALUES (1, '{waiting}', 1, 'http://a/', 'a', 0, 'pending'),
                (2, '{signed}', 2, 'http://a/', 'a', 0, 'signed');
         INSERT INTO notifications (request, host, state, due_at) VALUES (2, 'a', 'pending', 0);
         INSERT INTO hosts VALUES ('a', 0)",
        window = QUOTA.window_ms,
        margin = QUOTA.margin_ms,
        waiting_key = Fingerprint::of("waiting").column(),
        signed_key = Fingerprint::of("signed").column(),
        waiting = waiting.as_str(),
        signed = signed.as_str(),
    ))
    .expect("rows should be inserted");
}

#[test]
fn older_file_is_upgraded_and_its_requests_have_no_owner() {
    for version in 1..MIGRATIONS.len() {
        let folder = folder();
        let path = folder.path().join("db");
        older(&path, version);
        let store =
            Sqlite::open(&path, BOOT, QUOTA, at(0, 0), WAITING_MAX).expect("store should open");
        let now = at(1000, 1000);
        let [waiting, signed] = [1, 2].map(|number| RequestId::new(UnixMillis(0), number));
        let ids: Vec<_> = newest(&store, RequestFilter::All, now)
            .into_iter()
            .map(|view| (view.id, view.owner))
            .collect();
        assert_eq!(ids, [(signed.clone(), None), (waiting.clone(), None)]);

        // A named caller sees neither, and merges with neither.
        let owner = Owner::new("ci");
        let viewer = Viewer::Owner(owner.clone());
        for id in [&waiting, &signed] {
            let found = wait(store.request(id.clone(), viewer.clone(), now));
            assert_eq!(
                found.expect("store should respond"),
                None,
                "version {version}"
            );
        }
        let own = NewRequest {
            owner: Some(owner),
            ..new_request(3, "waiting", Some("a"))
        };
        let accepted = wait(store.accept(own.clone(), UNBOUNDED, now));
        let accepted = accepted.expect("request should be stored");
        assert_eq!(accepted, Accepted::Pending(own.id.clone()));

        // Both are delivered.
        let attempt = acquired(wait(store.claim_attempt(now)).expect("store should respond"));
        assert_eq!(attempt.message, "waiting");
        let signature = Outcome::Signed("s".into());
        wait(store.finish_attempt(attempt, SlotEnd::Settled, signature, Vec::new(), now))
            .expect("outcome should be stored");
        let due = acquired(
            wait(store.claim_notifications(9, Vec::new(), now)).expect("store should respond"),
        );
        let notified: Vec<_> = due.into_iter().map(|it| it.lease.request).collect();
        assert_eq!(notified, [signed, waiting, own.id], "version {version}");
        drop(store);
        assert_sound(&path);
    }
}
