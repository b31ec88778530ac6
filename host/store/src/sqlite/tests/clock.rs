//! The store's time over starts of the machine.

use super::*;

const HOUR_MS: u64 = 60 * 60_000;

/// A file and the store in it, as one start of the machine after another sees them.
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
        self.store = Some(store.expect("a store"));
    }

    fn store(&self) -> &Sqlite {
        self.store.as_ref().expect("started")
    }

    fn accept(&self, number: u128, now: Now) {
        let new = new_request(number, &number.to_string(), None);
        wait(self.store().accept(new, UNBOUNDED, now)).expect("stored");
    }

    fn begin(&self, now: Now) -> Claim<Attempt> {
        wait(self.store().claim_attempt(now)).expect("asked")
    }

    fn end(&self, tried: Attempt, outcome: Outcome, now: Now) {
        let end = SlotEnd::Settled;
        wait(
            self.store()
                .finish_attempt(tried, end, outcome, Vec::new(), now),
        )
        .expect("finished");
    }

    fn oldest_age_ms(&self, now: Now) -> Option<u64> {
        wait(self.store().stats(now)).expect("asked").oldest_age_ms
    }
}

#[test]
fn callers_are_told_times_of_their_own_clock_however_often_it_began_anew() {
    let mut machines = Machines::new();
    machines.start(at(1_000_000, 0));
    machines.accept(1, at(1_000_000, 0));
    let held_ms = QUOTA.spared_ms();
    for number in 1..=4 {
        // A clock that is behind that of the start before, and one that is ahead of it.
        let boot_ms = if number % 2 == 0 { 7 } else { 5_000_000 };
        machines.start(at(boot_ms, 0));
        let held = Claim::RetryAfter {
            after_ms: Some(held_ms.unsigned_abs()),
        };
        assert_eq!(machines.begin(at(boot_ms, 0)), held);
        let now = at(boot_ms + held_ms, 0);
        let tried = acquired(machines.begin(now));
        assert_eq!(tried.number, number);
        let send_before = BootMillis(now.boot.0 + i64::from(QUOTA.call_ms));
        assert_eq!(tried.slot.send_before, send_before);
        let check = acquired(wait(machines.store().claim_check(9, now)).expect("asked"));
        assert_eq!(check.send_before, send_before);
        // However far ahead it is planned, it is due after the next start. While the machine runs
        // it is not.
        let after_ms = if number == 2 { u64::MAX } else { HOUR_MS };
        machines.end(tried, Outcome::Again { after_ms }, now);
        let later = match machines.begin(now) {
            Claim::RetryAfter { after_ms } => after_ms.expect("waits"),
            claimed @ Claim::Acquired(_) => panic!("{claimed:?}"),
        };
        assert!(later >= HOUR_MS, "{later}");
    }
}

#[test]
fn ages_do_not_leap_with_plans_and_are_never_negative() {
    let mut machines = Machines::new();
    machines.start(at(0, 0));
    machines.accept(1, at(60_000, 60_000));
    let now = at(61_000, 61_000);
    let tried = acquired(machines.begin(now));
    let after_ms = 24 * HOUR_MS;
    machines.end(tried, Outcome::Again { after_ms }, now);
    // The wall clock was set back meanwhile.
    machines.accept(2, at(70_000, 11_000));
    assert_eq!(machines.oldest_age_ms(at(71_000, 12_000)), Some(11_000));

    // Off for a minute and more.
    machines.start(at(5, 150_000));
    assert_eq!(machines.oldest_age_ms(at(5, 150_000)), Some(90_000));
    assert_eq!(machines.oldest_age_ms(at(1005, 0)), Some(91_000));
    machines.accept(3, at(1005, 151_000));

    // Set back: nobody knows for how long it was off.
    machines.start(at(9, 0));
    let now = at(9, 0);
    assert_eq!(machines.oldest_age_ms(now), Some(91_000));
    // So late that the one of the oldest plan is tried first.
    let passed_ms = QUOTA.spared_ms() + crate::rules::AGED_MS;
    let now = at(9 + passed_ms, 0);
    let passed_ms = passed_ms.unsigned_abs();
    assert_eq!(machines.oldest_age_ms(now), Some(91_000 + passed_ms));
    for (message, left) in [
        ("2", Some(91_000 + passed_ms)),
        ("1", Some(passed_ms)),
        ("3", None),
    ] {
        let tried = acquired(machines.begin(now));
        assert_eq!(tried.message, message);
        machines.end(tried, Outcome::Signed("s".into()), now);
        assert_eq!(machines.oldest_age_ms(now), left);
    }
}
