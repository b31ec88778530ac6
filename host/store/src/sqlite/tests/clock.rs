//! The store's time over restarts of the machine.

use super::*;

const HOUR_MS: u64 = 60 * 60_000;

/// A file, and the store that the current start of the machine has opened.
struct Machines {
    folder: tempfile::TempDir,
    store: Option<Sqlite>,
    starts: u32,
}

impl Machines {
    fn new() -> Self {
        Self {
            folder: folder(),
            store: None,
            starts: 0,
        }
    }

    fn start(&mut self, now: Now) {
        self.store = None;
        self.starts += 1;
        let (path, boot_id) = (self.folder.path().join("db"), self.starts.to_string());
        let store = Sqlite::open(&path, &boot_id, QUOTA, now, WAITING_MAX);
        self.store = Some(store.expect("store should open"));
    }

    fn store(&self) -> &Sqlite {
        self.store.as_ref().expect("store should be open")
    }

    fn accept(&self, number: u128, now: Now) {
        let new = new_request(number, &number.to_string(), None);
        wait(self.store().accept(new, UNBOUNDED, now)).expect("request should be stored");
    }

    fn claim(&self, now: Now) -> Claim<Attempt> {
        wait(self.store().claim_attempt(now)).expect("store should respond")
    }

    fn finish(&self, attempt: Attempt, outcome: Outcome, now: Now) {
        let end = SlotEnd::Settled;
        wait(
            self.store()
                .finish_attempt(attempt, end, outcome, Vec::new(), now),
        )
        .expect("attempt should be finished");
    }

    fn oldest_age_ms(&self, now: Now) -> Option<u64> {
        wait(self.store().stats(now))
            .expect("store should respond")
            .oldest_age_ms
    }
}

#[test]
fn times_for_callers_use_their_clock_after_machine_restarts() {
    let mut machines = Machines::new();
    machines.start(at(1_000_000, 0));
    machines.accept(1, at(1_000_000, 0));
    let held_ms = QUOTA.cooldown_ms();
    for number in 1..=4 {
        // Alternate between a clock behind that of the earlier start and a clock ahead of it.
        let boot_ms = if number % 2 == 0 { 7 } else { 5_000_000 };
        machines.start(at(boot_ms, 0));
        let held = Claim::RetryAfter {
            after_ms: Some(held_ms.unsigned_abs()),
        };
        assert_eq!(machines.claim(at(boot_ms, 0)), held);
        let now = at(boot_ms + held_ms, 0);
        let attempt = acquired(machines.claim(now));
        assert_eq!(attempt.number, number);
        let send_before = BootMillis(now.boot.0 + i64::from(QUOTA.call_ms));
        assert_eq!(attempt.slot.send_before, send_before);
        let check =
            acquired(wait(machines.store().claim_check(9, now)).expect("store should respond"));
        assert_eq!(check.send_before, send_before);
        // The next attempt is due after the next start of the machine, however late it is planned, but not
        // while the machine runs.
        let after_ms = if number == 2 { u64::MAX } else { HOUR_MS };
        machines.finish(attempt, Outcome::Retry { after_ms }, now);
        let later = match machines.claim(now) {
            Claim::RetryAfter { after_ms } => after_ms.expect("the message should wait"),
            claimed @ Claim::Acquired(_) => panic!("{claimed:?}"),
        };
        assert!(later >= HOUR_MS, "{later}");
    }
}

#[test]
fn ages_exclude_skipped_time_and_are_never_negative() {
    let mut machines = Machines::new();
    machines.start(at(0, 0));
    machines.accept(1, at(60_000, 60_000));
    let now = at(61_000, 61_000);
    let attempt = acquired(machines.claim(now));
    let after_ms = 24 * HOUR_MS;
    machines.finish(attempt, Outcome::Retry { after_ms }, now);
    // The wall clock was set back in the meantime.
    machines.accept(2, at(70_000, 11_000));
    assert_eq!(machines.oldest_age_ms(at(71_000, 12_000)), Some(11_000));

    // The machine was off for more than a minute.
    machines.start(at(5, 150_000));
    assert_eq!(machines.oldest_age_ms(at(5, 150_000)), Some(90_000));
    assert_eq!(machines.oldest_age_ms(at(1005, 0)), Some(91_000));
    machines.accept(3, at(1005, 151_000));

    // The wall clock was set back, so that the time off is unknown.
    machines.start(at(9, 0));
    let now = at(9, 0);
    assert_eq!(machines.oldest_age_ms(now), Some(91_000));
    // So late that the message with the oldest plan is next.
    let passed_ms = QUOTA.cooldown_ms() + crate::rules::AGED_MS;
    let now = at(9 + passed_ms, 0);
    let passed_ms = passed_ms.unsigned_abs();
    assert_eq!(machines.oldest_age_ms(now), Some(91_000 + passed_ms));
    for (message, left) in [
        ("2", Some(91_000 + passed_ms)),
        ("1", Some(passed_ms)),
        ("3", None),
    ] {
        let attempt = acquired(machines.claim(now));
        assert_eq!(attempt.message, message);
        machines.finish(attempt, Outcome::Signed("s".into()), now);
        assert_eq!(machines.oldest_age_ms(now), left);
    }
}
