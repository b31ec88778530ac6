use super::*;
use crate::cancel::CancelFlag;
use bulkhead_crypto::Hash;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;

const PATIENCE: Duration = Duration::from_mins(1);

/// The highest coded count; see also [`endless`].
const DEFAULT: u32 = 65_011_712;

fn engine(threads: usize, octets_max: u64) -> Engine {
    let setup = Setup {
        threads,
        path: None,
        octets_max,
    };
    Engine::new(setup, KdfMetrics::unregistered()).expect("threads")
}

fn cancellation() -> Cancellation {
    Cancellation {
        flag: CancelFlag::default(),
        deadline: Instant::now() + PATIENCE,
    }
}

fn s2k(octets: u32) -> S2k<'static> {
    S2k::new(Hash::Sha1, b"saltsalt", b"topsecret", octets, 32).expect("valid")
}

/// As much as can be asked for at once: some seconds of work.
fn endless() -> S2k<'static> {
    S2k::new(Hash::Sha512, b"saltsalt", b"topsecret", u32::MAX, 64).expect("valid")
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// Starts a derivation on a thread of its own; what becomes of it, and when.
fn start(
    engine: &Arc<Engine>,
    s2k: S2k<'static>,
    cancellation: &Cancellation,
) -> Receiver<(Result<(), DeriveError>, Instant)> {
    let (ended, end) = channel();
    let (engine, cancellation) = (Arc::clone(engine), cancellation.clone());
    std::thread::spawn(move || {
        let derived = engine.derive(&s2k, &cancellation).map(drop);
        let _gone = ended.send((derived, Instant::now()));
    });
    end
}

fn is_running(engine: &Engine) -> bool {
    let state = engine.shared.lock();
    state.queue.running() > 0
}

fn octets(engine: &Engine) -> u64 {
    engine.shared.lock().work
}

#[test]
fn keys_are_those_of_the_plain_way() {
    let engine = Arc::new(engine(2, u64::MAX));
    for hash in Hash::ALL {
        for octets in [0, 1000, 200_000, 3_000_000] {
            for key_len in [0, 1, 20, 32, 64] {
                let s2k = S2k::new(hash, b"saltsalt", b"topsecret", octets, key_len);
                let s2k = s2k.expect("valid");
                let plainly = s2k.derive(&mut || true).expect("not interrupted");
                assert_eq!(
                    engine.derive(&s2k, &cancellation()),
                    Ok(plainly),
                    "{hash:?} {octets}"
                );
            }
        }
    }
    assert_eq!(octets(&engine), 0);
}

/// By the clock of those who wait, but in the order of their ends: no figure is expected.
#[test]
fn a_long_derivation_holds_up_no_short_one() {
    let engine = Arc::new(engine(1, u64::MAX));
    let (cancellation, long_stop) = (cancellation(), cancellation());
    let long = start(&engine, endless(), &long_stop);
    until("it has begun", || is_running(&engine));
    let short = start(&engine, s2k(1_000_000), &cancellation);
    assert_eq!(short.recv_timeout(PATIENCE).expect("it ends").0, Ok(()));
    assert!(long.try_recv().is_err(), "the long one ended first");
    long_stop.flag.cancel();
    let (ended, _) = long.recv_timeout(PATIENCE).expect("it ends");
    assert_eq!(ended, Err(DeriveError::Cancelled));
}

/// Short ones that keep coming let the long one through, which is hashed beside them.
#[test]
fn many_short_derivations_starve_no_long_one() {
    let engine = Arc::new(engine(1, u64::MAX));
    let long = start(&engine, s2k(DEFAULT), &cancellation());
    until("it has begun", || is_running(&engine));
    let over = Arc::new(AtomicBool::new(false));
    let shorts: Vec<_> = (0..4)
        .map(|_| {
            let (engine, over) = (Arc::clone(&engine), Arc::clone(&over));
            std::thread::spawn(move || {
                // A hash of its own kind, so that nothing goes side by side with the long one.
                let short = S2k::new(Hash::Sha256, b"saltsalt", b"topsecret", 1_000_000, 32);
                let short = short.expect("valid");
                while !over.load(Ordering::Relaxed) {
                    assert!(engine.derive(&short, &cancellation()).is_ok());
                }
            })
        })
        .collect();
    let (ended, _) = long.recv_timeout(PATIENCE).expect("it is not starved");
    assert_eq!(ended, Ok(()));
    over.store(true, Ordering::Relaxed);
    for short in shorts {
        short.join().expect("no panic");
    }
}

#[test]
fn who_hangs_up_costs_nothing_any_more() {
    let engine = Arc::new(engine(2, u64::MAX));
    let stops: Vec<_> = (0..20).map(|_| cancellation()).collect();
    let running: Vec<_> = stops
        .iter()
        .map(|cancellation| start(&engine, endless(), cancellation))
        .collect();
    until("they have begun", || {
        octets(&engine) > 20 * u64::from(u32::MAX) / 2
    });
    for cancellation in &stops {
        cancellation.flag.cancel();
    }
    for end in running {
        let (ended, _) = end.recv_timeout(PATIENCE).expect("it ends");
        assert_eq!(ended, Err(DeriveError::Cancelled));
    }
    until("nothing is pending", || octets(&engine) == 0);
}

#[test]
fn a_deadline_ends_what_runs_and_what_waits() {
    let engine = Arc::new(engine(1, u64::MAX));
    let soon = Cancellation {
        // Long enough for each derivation to begin on a busy machine: one that has not begun is late.
        deadline: Instant::now() + Duration::from_secs(2),
        ..cancellation()
    };
    let running: Vec<_> = (0..3).map(|_| start(&engine, endless(), &soon)).collect();
    for end in running {
        let (ended, at) = end.recv_timeout(PATIENCE).expect("it ends");
        assert_eq!(ended, Err(DeriveError::Cancelled));
        assert!(at >= soon.deadline);
    }
    until("nothing is pending", || octets(&engine) == 0);
    assert!(engine.derive(&s2k(1_000_000), &cancellation()).is_ok());
}

/// Then it was not the message that was too costly.
#[test]
fn who_only_waited_until_the_deadline_was_late() {
    let engine = Arc::new(engine(1, u64::MAX));
    let long_stop = cancellation();
    let long = start(&engine, endless(), &long_stop);
    until("it has begun", || is_running(&engine));
    let soon = Cancellation {
        deadline: Instant::now() + Duration::from_millis(20),
        ..cancellation()
    };
    // Of another kind, and longer: it goes neither beside the first one nor before it.
    let other = S2k::new(Hash::Sha3_512, b"saltsalt", b"topsecret", u32::MAX, 64);
    let late = engine.derive(&other.expect("valid"), &soon);
    assert_eq!(late, Err(DeriveError::Late));
    long_stop.flag.cancel();
    assert!(long.recv_timeout(PATIENCE).expect("it ends").0.is_err());
}

/// To wait for another pass of one's own is not to wait for others.
#[test]
fn who_is_alone_is_not_late() {
    let engine = engine(1, u64::MAX);
    let soon = Cancellation {
        // Long beside the time that a thread of low priority may take to wake up.
        deadline: Instant::now() + Duration::from_secs(2),
        ..cancellation()
    };
    // Two passes, each of which takes longer.
    let s2k = S2k::new(Hash::Ripemd160, b"saltsalt", b"topsecret", u32::MAX, 32);
    let alone = engine.derive(&s2k.expect("valid"), &soon);
    assert_eq!(alone, Err(DeriveError::Cancelled));
}

/// A thread that takes less than it put back wakes another one up.
#[test]
fn no_thread_sleeps_while_a_stream_waits() {
    let engine = Arc::new(engine(2, u64::MAX));
    let (first_stop, cancellation) = (cancellation(), cancellation());
    // Of another kind, and first in the order.
    let other = S2k::new(Hash::Sha256, b"saltsalt", b"topsecret", u32::MAX, 32);
    let first = start(&engine, other.expect("valid"), &first_stop);
    until("it has begun", || is_running(&engine));
    // Two passes, which one thread takes together as long as the other is busy.
    let s2k = S2k::new(Hash::Sha1, b"saltsalt", b"topsecret", u32::MAX, 32);
    let two = start(&engine, s2k.expect("valid"), &cancellation);
    until("all three are taken", || {
        engine.shared.lock().queue.running() == 3
    });
    first_stop.flag.cancel();
    assert!(first.recv_timeout(PATIENCE).expect("it ends").0.is_err());
    until("each thread has a pass", || {
        let state = engine.shared.lock();
        state.idle == 0 && state.queue.running() == 2
    });
    cancellation.flag.cancel();
    assert!(two.recv_timeout(PATIENCE).expect("it ends").0.is_err());
}

#[test]
fn what_waits_is_bounded_by_octets() {
    // Each octet of SHA-512 counts for two.
    let most = 2 * endless().bytes_hashed() + 10_000_000;
    let engine = Arc::new(engine(1, most));
    let long_stop = cancellation();
    let long = start(&engine, endless(), &long_stop);
    until("it has begun", || is_running(&engine));
    // It is alone: so it is taken although there is less room than that. What comes now is not.
    let waiting = engine.clears_in(0);
    assert!(waiting > Duration::ZERO);
    assert!(engine.clears_in(10) > waiting);
    assert_eq!(
        engine.derive(&endless(), &cancellation()),
        Err(DeriveError::QueueFull)
    );
    // A short one never waits.
    assert!(engine.derive(&s2k(1000), &cancellation()).is_ok());
    assert!(engine.derive(&s2k(2_000_000), &cancellation()).is_ok());
    long_stop.flag.cancel();
    assert!(long.recv_timeout(PATIENCE).expect("it ends").0.is_err());
    until("nothing is pending", || octets(&engine) == 0);
    let tiny = Arc::new(self::engine(1, 1));
    assert!(
        tiny.derive(&s2k(2_000_000), &cancellation()).is_ok(),
        "alone"
    );
}

#[test]
fn an_engine_that_is_dropped_leaves_nobody_waiting() {
    let engine = Arc::new(engine(1, u64::MAX));
    let shared = Arc::clone(&engine.shared);
    let stops = [cancellation(), cancellation()];
    let ends = stops.clone().map(|cancellation| {
        let (ended, end) = channel();
        let (shared, s2k) = (Arc::clone(&shared), endless());
        std::thread::spawn(move || {
            let derived = Engine { shared }.derive(&s2k, &cancellation).map(drop);
            let _gone = ended.send(derived);
        });
        end
    });
    until("both are there", || {
        octets(&engine) > 3 * endless().bytes_hashed()
    });
    drop(engine);
    for end in ends {
        assert_eq!(end.recv_timeout(PATIENCE), Ok(Err(DeriveError::Cancelled)));
    }
}

#[test]
fn retry_times_follow_the_pace() {
    let mut pace = Pace::assumed();
    let before = pace.time(1_000_000_000, 2);
    for _ in 0..1000 {
        pace.turn(1_000_000, Duration::from_micros(100));
    }
    let after = pace.time(1_000_000_000, 2);
    assert!(after < before / 5, "{after:?} {before:?}");
    assert!(after > Duration::from_millis(45) && after < Duration::from_millis(55));
    assert_eq!(pace.time(1_000_000_000, 4), after / 2);
}
