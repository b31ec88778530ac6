use super::*;

const QUOTA: Quota = Quota {
    calls: 3,
    window_ms: 60_000,
    call_ms: 10_000,
    margin_ms: 1000,
};

/// The store's time, a machine's clock, and the duration of a query.
struct Clocks {
    clock_monitor: ClockMonitor,
    boot_us: i64,
    store_us: i64,
    epoch: i64,
    took_ms: i64,
}

impl Clocks {
    fn new() -> Self {
        Self {
            clock_monitor: ClockMonitor::new(QUOTA),
            boot_us: 5_000_000,
            store_us: 1_700_000_000_000_000,
            epoch: 0,
            took_ms: 4,
        }
    }

    /// Creates clocks with a reference and without a wait.
    fn trusted() -> Self {
        let mut clocks = Self::new();
        assert_eq!(clocks.compare(), Verdict::Fine);
        clocks.pass(QUOTA.claim_ms());
        assert_eq!(clocks.wait_ms(), 0);
        clocks
    }

    fn now(&self) -> BootMillis {
        BootMillis(self.boot_us.div_euclid(1000))
    }

    fn pass(&mut self, ms: i64) {
        self.boot_us += ms * 1000;
        self.store_us += ms * 1000;
    }

    fn step(&mut self, ms: i64) {
        self.store_us += ms * 1000;
    }

    fn wait_ms(&self) -> i64 {
        self.clock_monitor.wait_ms(self.now())
    }

    fn reading(&mut self) -> Reading {
        let before = self.now();
        self.pass(self.took_ms / 2);
        let store_ms = self.store_us.div_euclid(1000);
        self.pass(self.took_ms - self.took_ms / 2);
        Reading {
            before,
            store_ms,
            after: self.now(),
            epoch: self.epoch,
        }
    }

    fn compare(&mut self) -> Verdict {
        let reading = self.reading();
        self.clock_monitor.compare(reading)
    }
}

#[test]
fn first_reading_is_trusted_after_one_window() {
    let mut clocks = Clocks::new();
    assert!(clocks.clock_monitor.is_new());
    assert_eq!(clocks.compare(), Verdict::Fine);
    assert!(!clocks.clock_monitor.is_new());
    assert_eq!(clocks.wait_ms(), QUOTA.claim_ms());
    assert_eq!(clocks.clock_monitor.to_recall(clocks.now()), None);
    clocks.pass(QUOTA.claim_ms() - 1);
    assert_eq!(clocks.wait_ms(), 1);
    clocks.pass(1);
    assert_eq!(clocks.wait_ms(), 0);
    assert!(clocks.clock_monitor.to_recall(clocks.now()).is_some());
}

#[test]
fn new_process_continues_with_the_stored_reference() {
    let mut clocks = Clocks::trusted();
    let reference = clocks
        .clock_monitor
        .to_recall(clocks.now())
        .expect("the reference should be certain");
    for (step_ms, expected) in [
        (0, Verdict::Fine),
        (-7000, Verdict::Jumped { by_ms: -7000 }),
    ] {
        clocks.step(step_ms);
        clocks.clock_monitor = ClockMonitor::new(QUOTA);
        clocks.clock_monitor.recall(reference);
        let verdict = clocks.compare();
        assert_eq!(clocks.wait_ms(), 0);
        match (verdict, expected) {
            (Verdict::Jumped { by_ms }, Verdict::Jumped { by_ms: step_ms }) => {
                assert!((by_ms - step_ms).abs() < 100, "{by_ms}");
            }
            _ => assert_eq!(verdict, expected),
        }
    }
}

#[test]
fn jump_is_measured_and_its_correction_is_accepted() {
    for step_ms in [150, -150, 3_600_000, -3_600_000] {
        let mut clocks = Clocks::trusted();
        clocks.step(step_ms);
        let Verdict::Jumped { by_ms } = clocks.compare() else {
            panic!("a jump by {step_ms} ms was not detected");
        };
        assert!((by_ms - step_ms).abs() <= 40, "{by_ms} for {step_ms}");
        assert!(
            matches!(clocks.compare(), Verdict::Jumped { .. }),
            "the jump should remain"
        );
        clocks.step(-by_ms);
        clocks.epoch += 1;
        assert_eq!(clocks.compare(), Verdict::Fine);
        assert_eq!(clocks.wait_ms(), 0);
    }
}

#[test]
fn network_delay_is_not_a_jump() {
    let mut clocks = Clocks::trusted();
    for took_ms in [0, 1, 80, 499, 3, 250] {
        clocks.took_ms = took_ms.min(497);
        assert_eq!(clocks.compare(), Verdict::Fine, "{took_ms} ms");
        clocks.pass(1000);
    }
    clocks.took_ms = 600;
    assert_eq!(clocks.compare(), Verdict::Unsure);
    clocks.step(3_600_000);
    assert_eq!(
        clocks.compare(),
        Verdict::Unsure,
        "a slow reading should be unsure"
    );
    clocks.took_ms = 2;
    assert!(matches!(clocks.compare(), Verdict::Jumped { .. }));
}

#[test]
fn slow_drift_is_followed_without_end() {
    for drift_us in [450, -450] {
        let mut clocks = Clocks::trusted();
        for second in 0..100_000 {
            clocks.pass(1000);
            clocks.store_us += drift_us;
            assert_eq!(clocks.compare(), Verdict::Fine, "second {second}");
        }
        assert_eq!(clocks.wait_ms(), 0);
    }
}

/// Each step is too small to be detected. Together they would shorten a window.
#[test]
fn many_small_steps_are_detected_as_a_jump() {
    let mut clocks = Clocks::trusted();
    let jumped = (0..60).any(|_| {
        clocks.pass(1000);
        clocks.step(20);
        matches!(clocks.compare(), Verdict::Jumped { .. })
    });
    assert!(jumped);
}

#[test]
fn correction_by_another_replica_is_adopted_after_one_window() {
    let mut clocks = Clocks::trusted();
    // The machine of the other replica was stopped for a while.
    clocks.step(-30_000);
    clocks.epoch += 1;
    assert_eq!(clocks.compare(), Verdict::Fine);
    assert!(clocks.wait_ms() > QUOTA.claim_ms() - 10);
    clocks.pass(QUOTA.claim_ms());
    assert_eq!(clocks.compare(), Verdict::Fine);
    assert_eq!(clocks.wait_ms(), 0);
}

#[test]
fn reading_from_before_a_correction_is_ignored() {
    let mut clocks = Clocks::trusted();
    clocks.step(10_000);
    let old = clocks.reading();
    clocks.step(-10_000);
    clocks.epoch += 1;
    clocks.pass(2000);
    assert_eq!(clocks.compare(), Verdict::Fine);
    assert_eq!(clocks.clock_monitor.compare(old), Verdict::Unsure);
    assert_eq!(clocks.compare(), Verdict::Fine);
    assert_eq!(clocks.wait_ms(), 0);
}

#[test]
fn difference_after_days_without_a_reading_causes_a_wait() {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let mut clocks = Clocks::trusted();
    clocks.pass(90 * DAY_MS);
    assert_eq!(clocks.compare(), Verdict::Fine);
    assert_eq!(clocks.wait_ms(), 0);
    clocks.pass(DAY_MS);
    clocks.step(20_000);
    assert_eq!(
        clocks.compare(),
        Verdict::Fine,
        "a drift of this size is possible"
    );
    assert!(clocks.wait_ms() > 0);
    clocks.pass(DAY_MS);
    clocks.step(200_000);
    assert!(
        matches!(clocks.compare(), Verdict::Jumped { .. }),
        "a drift of this size is not possible"
    );
}

#[test]
fn network_delay_is_tolerated_without_a_margin() {
    let mut clocks = Clocks::new();
    clocks.clock_monitor = ClockMonitor::new(Quota {
        margin_ms: 0,
        ..QUOTA
    });
    assert_eq!(clocks.compare(), Verdict::Fine);
    clocks.step(50);
    assert!(matches!(clocks.compare(), Verdict::Jumped { .. }));
}
