//! The quota as the upstream counts it, while clocks step and replicas, machines and the database
//! restart.

use super::*;
use crate::conformance::random_walk::Dice;
use crate::{Outcome, Slot, SlotEnd};

const SEEDS: u64 = 3;
const STEPS: u32 = 1000;
const HOUR_MS: i64 = 60 * 60 * 1000;

enum What {
    Attempt(Attempt),
    Check(Slot),
}

/// A claimed call and the time of its claim.
struct Granted {
    at_ms: i64,
    what: What,
}

struct RandomWalk {
    database: Database,
    replicas: Vec<Replica>,
    dice: Dice,
    /// The time by a clock that only this test reads.
    elapsed_ms: i64,
    open: Vec<Granted>,
    arrivals_ms: Vec<i64>,
    jumps: u32,
    messages: u128,
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn quota_holds_with_any_clock_steps() {
    for seed in 1..=SEEDS {
        let database = Database::with_clock(QUOTA, 1_700_000_000_000);
        let replicas = vec![
            Replica::new(&database, "a", 1000),
            Replica::new(&database, "b", 77_000_000),
        ];
        let mut walk = RandomWalk {
            database,
            replicas,
            dice: Dice(seed),
            elapsed_ms: 0,
            open: Vec::new(),
            arrivals_ms: Vec::new(),
            jumps: 0,
            messages: 0,
        };
        for _ in 0..STEPS {
            walk.step();
        }
        walk.check_quota(seed);
    }
}

impl RandomWalk {
    fn step(&mut self) {
        let which = self.dice.index(2);
        match self.dice.roll(200) {
            0..12 => {
                self.messages += 1;
                let message = format!("m{}", self.messages);
                let store = &self.replicas[which].store;
                accept(store, self.messages, &message).expect("request should be stored");
            }
            12..76 => {
                if let Claim::Acquired(claimed) = self.replicas[which].begin() {
                    self.granted(What::Attempt(claimed));
                }
            }
            76..88 => {
                let replica = &self.replicas[which];
                let claim = replica.store.claim_check(2, replica.now());
                if let Claim::Acquired(slot) = wait(claim).expect("call should succeed") {
                    self.granted(What::Check(slot));
                }
            }
            88..136 => self.end_one(which),
            136..186 => {
                let ms = self.dice.ms(20_000);
                self.pass(ms);
            }
            // One process is stopped while its machine continues.
            186..191 => {
                let ms = self.dice.ms(40_000);
                self.replicas.swap(0, which);
                let stopped = self.replicas.remove(0);
                self.pass(ms);
                stopped.boot_ms.fetch_add(ms, Ordering::SeqCst);
                self.replicas.push(stopped);
            }
            191..194 => {
                let max_ms = match self.dice.roll(4) {
                    0 => 50,
                    1 => 500,
                    2 => 120_000,
                    _ => HOUR_MS,
                };
                let step_ms = self.dice.ms(2 * max_ms) - max_ms;
                self.jumps += 1;
                self.database.step(step_ms);
            }
            194..197 => self.replicas[which].restart(&self.database),
            197..199 => {
                let replica = &mut self.replicas[which];
                replica.boot_id = format!("start {}", self.dice.0);
                replica.boot_ms = Arc::new(AtomicI64::new(3000));
                replica.restart(&self.database);
            }
            _ => self
                .database
                .run("UPDATE bulkhead_meta SET incarnation = 'before'"),
        }
    }

    fn pass(&mut self, ms: i64) {
        self.elapsed_ms += ms;
        pass(
            &self.database,
            &self.replicas.iter().collect::<Vec<_>>(),
            ms,
        );
    }

    fn granted(&mut self, what: What) {
        let at_ms = self.elapsed_ms;
        self.open.push(Granted { at_ms, what });
    }

    /// The call arrived between its claim and its end, or its deadline if the end is unknown.
    fn end_one(&mut self, which: usize) {
        if self.open.is_empty() {
            return;
        }
        let chosen = self.dice.index(self.open.len());
        let granted = self.open.swap_remove(chosen);
        let call_ms = i64::from(QUOTA.call_ms);
        let (end, took_ms) = if self.dice.roll(4) == 0 {
            (SlotEnd::Unknown, call_ms)
        } else {
            (
                SlotEnd::Settled,
                (self.elapsed_ms - granted.at_ms).min(call_ms),
            )
        };
        let arrived_ms = granted.at_ms + self.dice.ms(took_ms + 1);
        self.arrivals_ms.push(arrived_ms);
        let (replica, after_ms) = (&self.replicas[which], self.dice.roll(30_000));
        let now = replica.now();
        match granted.what {
            What::Attempt(claimed) => {
                let outcome = match self.dice.roll(5) {
                    0 => Outcome::Signed("sig".into()),
                    _ => Outcome::Retry { after_ms },
                };
                let finished = replica
                    .store
                    .finish_attempt(claimed, end, outcome, Vec::new(), now);
                match wait(finished) {
                    Ok(()) | Err(crate::StoreError::LeaseLost) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            What::Check(slot) => wait(replica.store.end_check(slot, end, now))
                .expect("end of the check should be stored"),
        }
    }

    fn check_quota(mut self, seed: u64) {
        while !self.open.is_empty() {
            self.end_one(0);
        }
        self.arrivals_ms.sort_unstable();
        let (calls, jumps) = (self.arrivals_ms.len(), self.jumps);
        eprintln!(
            "seed {seed}: {calls} calls, {jumps} jumps in {} s",
            self.elapsed_ms / 1000
        );
        assert!(calls > 30 && jumps > 5, "too few calls or jumps");
        let allowed = QUOTA.calls as usize;
        for window in self.arrivals_ms.windows(allowed + 1) {
            let took_ms = window[allowed] - window[0];
            assert!(
                took_ms >= i64::from(QUOTA.window_ms),
                "seed {seed}: {} calls within {took_ms} ms",
                allowed + 1
            );
        }
    }
}
