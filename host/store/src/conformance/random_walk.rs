//! The quota as the upstream counts it, during random calls, crashes and changes of settings.

use super::{Bench, Case, Machine, QUOTA, acquired, wait};
use crate::{Attempt, Outcome, Quota, Slot, SlotEnd};

const SEEDS: u64 = 8;
const STEPS: u32 = 1000;

/// A small pseudorandom generator with a seed. No test depends on its quality.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    pub(crate) fn ms(&mut self, below: i64) -> i64 {
        i64::try_from(self.roll(below.unsigned_abs())).expect("value should fit")
    }

    fn one_of(&mut self, all: [u32; 4]) -> u32 {
        all[self.index(all.len())]
    }

    pub(crate) fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.roll(below as u64)).expect("value should fit")
    }
}

/// A call as the upstream sees it, and the quota under which it was claimed.
struct Arrival {
    arrived_ms: i64,
    quota: Quota,
}

/// A claimed call whose end is not known yet.
struct Granted {
    /// The position in the order of claims.
    number: usize,
    at_ms: i64,
    what: What,
}

enum What {
    Attempt(Attempt),
    Check(Slot),
}

struct RandomWalk<'b> {
    case: Case<'b>,
    dice: Dice,
    quota: Quota,
    open: Vec<Granted>,
    arrivals: Vec<Arrival>,
    messages: u32,
}

pub(crate) fn no_window_contains_more_calls_than_quota(bench: &mut dyn Bench) {
    let mut case = Some(Case::new(bench));
    for seed in 1..=SEEDS {
        let mut walk = RandomWalk {
            case: case.take().expect("case should be returned"),
            dice: Dice(seed),
            quota: QUOTA,
            open: Vec::new(),
            arrivals: Vec::new(),
            messages: 0,
        };
        for _ in 0..STEPS {
            walk.step();
        }
        walk.finish();
        check_quota(&walk.arrivals, seed);
        case = Some(walk.case);
    }
}

impl RandomWalk<'_> {
    fn step(&mut self) {
        match self.dice.roll(80) {
            0..8 => {
                self.messages += 1;
                let message = format!("{} of {}", self.messages, self.dice.0);
                self.case.pending(&message, None);
            }
            8..28 => {
                let tried = self.case.begin();
                self.granted(tried.map(What::Attempt));
            }
            28..36 => {
                let checks_max = u32::try_from(self.dice.roll(3)).expect("value should fit");
                let check = acquired(self.case.claim_check(checks_max));
                self.granted(check.map(What::Check));
            }
            36..56 => self.end_one(),
            56..76 => {
                let ms = self.dice.ms(25_000);
                self.case.pass(ms);
            }
            76 => {
                let for_ms = self.dice.roll(30_000);
                let now = self.case.bench.now();
                wait(self.case.bench.store().hold_calls(for_ms, now))
                    .expect("hold should be stored");
            }
            77 => {
                let hour_ms = 60 * 60_000;
                let step_ms = self.dice.ms(2 * hour_ms) - hour_ms;
                self.case.bench.step_wall(step_ms);
            }
            78 => {
                // Settings are often changed twice.
                for _ in 0..=self.dice.roll(2) {
                    self.crash(Machine::RunsOn);
                }
            }
            _ => {
                if self.dice.roll(3) == 0 {
                    self.crash(Machine::Restarts);
                }
            }
        }
    }

    /// Records a claimed call. It is sent before the deadline of its slot, and arrives at once.
    fn granted(&mut self, what: Option<What>) {
        let Some(what) = what else {
            return;
        };
        self.open.push(Granted {
            number: self.arrivals.len(),
            at_ms: self.case.elapsed_ms,
            what,
        });
        self.arrivals.push(Arrival {
            arrived_ms: i64::MAX,
            quota: self.quota,
        });
    }

    /// Chooses the arrival between the claim and now, or the deadline if the end is unknown.
    fn arrived(&mut self, granted: &Granted, until_ms: i64) {
        let call_ms = i64::from(self.arrivals[granted.number].quota.call_ms);
        let took_ms = (until_ms - granted.at_ms).min(call_ms);
        let after_ms = match self.dice.roll(3) {
            0 => 0,
            1 => took_ms,
            _ => self.dice.ms(took_ms + 1),
        };
        self.arrivals[granted.number].arrived_ms = granted.at_ms + after_ms;
    }

    fn end_one(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let chosen = self.dice.index(self.open.len());
        let granted = self.open.swap_remove(chosen);
        let end = match self.dice.roll(4) {
            0 => SlotEnd::Unknown,
            _ => SlotEnd::Settled,
        };
        let until_ms = match end {
            SlotEnd::Unknown => i64::MAX,
            SlotEnd::Settled => self.case.elapsed_ms,
        };
        self.arrived(&granted, until_ms);
        match &granted.what {
            What::Check(slot) => self.case.end(slot, end),
            What::Attempt(tried) => {
                let outcome = match self.dice.roll(4) {
                    0 => Outcome::Signed("sig".into()),
                    1 => Outcome::Failed("no".into()),
                    _ => Outcome::Retry {
                        after_ms: self.dice.roll(60_000),
                    },
                };
                // The outcome may be too late.
                let _lost = self.case.finish(tried, end, outcome);
            }
        }
    }

    /// Ends the process. The operating system may still send active calls if the machine continues.
    fn crash(&mut self, machine: Machine) {
        let until_ms = match machine {
            Machine::RunsOn => i64::MAX,
            Machine::Restarts => self.case.elapsed_ms,
        };
        for granted in std::mem::take(&mut self.open) {
            self.arrived(&granted, until_ms);
        }
        // Only one setting changes at a time. A longer window delays all calls, and would hide
        // other faults.
        let quota = &mut self.quota;
        match self.dice.roll(8) {
            0..4 => quota.calls = self.dice.one_of([1, 2, 3, 5]),
            4 => quota.window_ms = self.dice.one_of([60_000, 60_000, 30_000, 90_000]),
            5 => quota.call_ms = self.dice.one_of([10_000, 10_000, 5000, 20_000]),
            6 => quota.margin_ms = self.dice.one_of([1000, 1000, 500, 2000]),
            _ => {}
        }
        self.case.bench.crash(machine, self.quota);
    }

    /// Checks that calls are still made at the end.
    fn finish(&mut self) {
        for granted in std::mem::take(&mut self.open) {
            self.arrived(&granted, i64::MAX);
        }
        self.quota = QUOTA;
        self.case.bench.crash(Machine::RunsOn, self.quota);
        self.case.pass(10 * 60_000);
        self.case.pending(&format!("last of {}", self.dice.0), None);
        let check = self.case.check();
        assert!(check.is_some(), "calls stopped for good");
        self.granted(check.map(What::Check));
        assert!(self.open.pop().is_some());
        self.arrivals
            .last_mut()
            .expect("a call should have been granted")
            .arrived_ms = self.case.elapsed_ms;
        self.case.pass(10 * 60_000);
    }
}

/// Checks the quota of each call. The last claimed call of a window was claimed with knowledge of
/// the others.
fn check_quota(arrivals: &[Arrival], seed: u64) {
    let calls = arrivals.len();
    assert!(calls > 40, "seed {seed}: {calls} calls prove nothing");
    for (last, Arrival { quota, arrived_ms }) in arrivals.iter().enumerate() {
        let window_ms = i64::from(quota.window_ms);
        let before = &arrivals[..=last];
        // Checks all windows that end with one of the calls and contain this one.
        for end in before.iter().map(|arrival| arrival.arrived_ms) {
            if !(*arrived_ms..arrived_ms + window_ms).contains(&end) {
                continue;
            }
            let within = |arrival: &&Arrival| {
                arrival.arrived_ms <= end && arrival.arrived_ms > end - window_ms
            };
            let calls = before.iter().filter(within).count();
            assert!(
                calls <= quota.calls as usize,
                "seed {seed}: {calls} calls in the window that ends at {end} ms, with {quota:?}"
            );
        }
    }
}
