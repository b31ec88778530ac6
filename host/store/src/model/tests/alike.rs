//! The model returns the same results as the SQLite store, so that simulations with it are valid for a real
//! store.

use super::super::{Model, Replica};
use super::known;
use crate::conformance::{QUOTA, trace_of};
use crate::{
    Attempt, BacklogMax, BootMillis, Callback, Claim, NewRequest, Notification,
    NotificationOutcome, Now, Outcome, Owner, Quota, RequestFilter, RequestId, RequestQuery,
    SlotEnd, Sqlite, Store, StoreFuture, UnixMillis, Viewer,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Both stores, with the attempts and notifications that each of them handed out.
struct Pair {
    file: Sqlite,
    model: Replica,
    now: Now,
    boot_ms: Arc<AtomicI64>,
    dice: ChaCha8Rng,
    attempts: Vec<(Attempt, Attempt)>,
    notifications: Vec<(Notification, Notification)>,
    ids: Vec<RequestId>,
}

/// Runs an operation. Converts errors to texts, which can be compared.
fn wait<T>(operation: StoreFuture<'_, T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let done = runtime.expect("runtime should start").block_on(operation);
    done.map_err(|error| error.to_string())
}

impl Pair {
    fn both<T>(&self, call: impl Fn(&dyn Store) -> Result<T, String>) -> (T, T) {
        let result = |store| call(store).expect("store should respond");
        (result(&self.file), result(&self.model))
    }

    fn alike<T>(&self, call: impl Fn(&dyn Store) -> Result<T, String>)
    where
        T: std::fmt::Debug + PartialEq,
    {
        assert_eq!(call(&self.file), call(&self.model));
    }

    fn step(&mut self) {
        let now = self.now;
        match self.dice.gen_range(0..100) {
            0..18 => self.accept(),
            18..36 => self.claim_attempt(),
            36..52 => self.finish_attempt(),
            52..60 => self.claim_notifications(),
            60..68 => self.finish_notification(),
            68..72 => {
                if let Some(at) = self.one_of(self.ids.len()) {
                    let id = &self.ids[at];
                    self.alike(|store| wait(store.redeliver(id.clone(), now)));
                }
            }
            72 => {
                let for_ms = self.dice.gen_range(0..20_000);
                self.alike(|store| wait(store.hold_calls(for_ms, now)));
            }
            73..76 => {
                let retention_ms = self.dice.gen_range(0..500_000);
                let max = self.dice.gen_range(0..4);
                self.alike(|store| wait(store.sweep(retention_ms, max, now)));
            }
            76..80 => self.alike(|store| wait(store.heartbeat(now))),
            80 => self.now.wall.0 += self.dice.gen_range(-3_600_000..3_600_000),
            81..84 => self.check(),
            _ => {
                let ms = self.dice.gen_range(0..10_000);
                self.now.wall.0 += ms;
                self.now.boot.0 += ms;
                self.boot_ms.fetch_add(ms, Ordering::Relaxed);
            }
        }
        let now = self.now;
        self.alike(|store| wait(store.stats(now)));
        let viewer = self.owner().map_or(Viewer::All, Viewer::Owner);
        let after = self.one_of(self.ids.len()).map(|at| self.ids[at].clone());
        for filter in [
            RequestFilter::All,
            RequestFilter::Pending,
            RequestFilter::Signed,
            RequestFilter::Failed,
            RequestFilter::Parked,
        ] {
            self.alike(|store| wait(store.list(RequestQuery::newest(filter, 5), now)));
            let query = RequestQuery {
                viewer: viewer.clone(),
                after: after.clone(),
                ..RequestQuery::newest(filter, 3)
            };
            self.alike(|store| wait(store.list(query.clone(), now)));
        }
        if let Some(id) = self.ids.last() {
            self.alike(|store| wait(store.request(id.clone(), viewer.clone(), now)));
        }
    }

    fn owner(&mut self) -> Option<Owner> {
        let owner = self.dice.gen_range(0..4);
        (owner > 0).then(|| Owner::new(&owner.to_string()))
    }

    fn one_of(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| self.dice.gen_range(0..count))
    }

    fn host(&mut self) -> String {
        format!("h{}", self.dice.gen_range(0..3))
    }

    fn accept(&mut self) {
        let now = self.now;
        let host = self.host();
        let id = RequestId::new(UnixMillis(0), self.dice.r#gen());
        let new = NewRequest {
            trace: self.dice.gen_bool(0.5).then(|| trace_of(&id)),
            id,
            owner: self.owner(),
            message: self.dice.gen_range(0..30).to_string(),
            callback: self.dice.gen_bool(0.7).then(|| Callback {
                url: format!("http://{host}/"),
                host,
            }),
        };
        self.ids.push(new.id.clone());
        let max = BacklogMax {
            messages: 8,
            callers: 3,
            owned: self.dice.gen_bool(0.5).then_some(4),
        };
        self.alike(|store| wait(store.accept(new.clone(), max, now)));
    }

    fn claim_attempt(&mut self) {
        let now = self.now;
        match self.both(|store| wait(store.claim_attempt(now))) {
            (Claim::Acquired(file), Claim::Acquired(model)) => {
                // The attempts are equal except for the tokens.
                let shown = |claimed: &Attempt| {
                    let (message, slot) = (claimed.message.clone(), &claimed.slot);
                    let claimed = (message, claimed.number, claimed.created_at);
                    (claimed, slot.number, slot.send_before)
                };
                assert_eq!(shown(&file), shown(&model));
                self.attempts.push((file, model));
            }
            (file, model) => assert_eq!(file, model),
        }
    }

    fn finish_attempt(&mut self) {
        let now = self.now;
        let Some(at) = self.one_of(self.attempts.len()) else {
            return;
        };
        let (file, model) = self.attempts[at].clone();
        // Some attempts are finished twice.
        if self.dice.gen_bool(0.9) {
            self.attempts.remove(at);
        }
        let end = if self.dice.gen_bool(0.8) {
            SlotEnd::Settled
        } else {
            SlotEnd::Unknown
        };
        let after_ms = self.dice.gen_range(0..100_000);
        let outcome = match self.dice.gen_range(0..4) {
            0 => Outcome::Failed("no".into()),
            1 => Outcome::Retry { after_ms },
            _ => Outcome::Signed("sig".into()),
        };
        let answered: Vec<_> = self.ids.iter().rev().take(3).cloned().collect();
        let finish = |store: &dyn Store, claimed: Attempt| {
            wait(store.finish_attempt(claimed, end, outcome.clone(), answered.clone(), now))
        };
        assert_eq!(finish(&self.file, file), finish(&self.model, model));
    }

    fn claim_notifications(&mut self) {
        let now = self.now;
        let max = self.dice.gen_range(0..4);
        let busy = vec![self.host()];
        match self.both(|store| wait(store.claim_notifications(max, busy.clone(), now))) {
            (Claim::Acquired(file), Claim::Acquired(model)) => {
                assert_eq!(file.len(), model.len());
                for (file, model) in file.into_iter().zip(model) {
                    let mut same = model.clone();
                    same.lease.token = file.lease.token;
                    assert_eq!(file, same);
                    self.notifications.push((file, model));
                }
            }
            (file, model) => assert_eq!(file, model),
        }
    }

    fn finish_notification(&mut self) {
        let now = self.now;
        let Some(at) = self.one_of(self.notifications.len()) else {
            return;
        };
        let (file, model) = self.notifications.remove(at);
        let why = "why".to_owned();
        let after_ms = self.dice.gen_range(0..100_000);
        let outcome = match self.dice.gen_range(0..3) {
            0 => NotificationOutcome::Delivered,
            1 => NotificationOutcome::Parked { why },
            _ => NotificationOutcome::Retry { after_ms, why },
        };
        let finish = |store: &dyn Store, notification: Notification| {
            wait(store.finish_notification(notification.lease, outcome.clone(), now))
        };
        assert_eq!(finish(&self.file, file), finish(&self.model, model));
    }

    fn check(&mut self) {
        let now = self.now;
        let checks_max = self.dice.gen_range(0..3);
        match self.both(|store| wait(store.claim_check(checks_max, now))) {
            (Claim::Acquired(file), Claim::Acquired(model)) => {
                assert_eq!(file.number, model.number);
                wait(self.file.end_check(file, SlotEnd::Settled, now)).expect("call should end");
                wait(self.model.end_check(model, SlotEnd::Settled, now)).expect("call should end");
            }
            (file, model) => assert_eq!(file, model),
        }
    }
}

#[test]
fn model_and_sqlite_return_equal_results() {
    let now = Now {
        wall: UnixMillis(10_000_000),
        boot: BootMillis(0),
    };
    let quota = Quota {
        window_ms: 20_000,
        ..QUOTA
    };
    for seed in 0..6 {
        // In memory if possible, because a disk is slow.
        let memory = tempfile::tempdir_in("/dev/shm");
        let folder = memory
            .or_else(|_| tempfile::tempdir())
            .expect("folder should be created");
        let file = Sqlite::open(&folder.path().join("db"), "this start", quota, now, 10);
        let boot_ms = Arc::new(AtomicI64::new(0));
        let database_ms = Arc::clone(&boot_ms);
        let model = Model::new(quota, move || database_ms.load(Ordering::Relaxed));
        let mut pair = Pair {
            file: file.expect("store should open"),
            model: known(&model, &boot_ms),
            boot_ms,
            now,
            dice: ChaCha8Rng::seed_from_u64(seed),
            attempts: Vec::new(),
            notifications: Vec::new(),
            ids: Vec::new(),
        };
        for _ in 0..1500 {
            pair.step();
        }
        let stats = wait(pair.file.stats(pair.now)).expect("store should respond");
        assert!(stats.notifications_pending + stats.notifications_parked > 0);
    }
}
