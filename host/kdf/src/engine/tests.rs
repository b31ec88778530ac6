use super::*;
use crate::cancel::CancelFlag;
use bulkhead_crypto::Hash;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;

const TIMEOUT: Duration = Duration::from_mins(1);

/// The maximum coded count. See also [`endless`].
const DEFAULT: u32 = 65_011_712;

fn engine(threads: usize, bytes_max: u64) -> Engine {
    let setup = Setup {
        threads,
        path: None,
        bytes_max,
    };
    Engine::new(setup, KdfMetrics::unregistered()).expect("threads should start")
}

fn cancellation() -> Cancellation {
    Cancellation {
        flag: CancelFlag::default(),
        deadline: Instant::now() + TIMEOUT,
    }
}

fn s2k(count: u32) -> S2k<'static> {
    S2k::new(Hash::Sha1, b"saltsalt", b"topsecret", count, 32).expect("parameters should be valid")
}

/// Returns the longest derivation: some seconds of work.
fn endless() -> S2k<'static> {
    S2k::new(Hash::Sha512, b"saltsalt", b"topsecret", u32::MAX, 64)
        .expect("parameters should be valid")
}

fn wait_until(event: &str, mut has_happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !has_happened() {
        assert!(start.elapsed() < TIMEOUT, "timeout: {event}");
        std::thread::yield_now();
    }
}

/// Starts a derivation on its own thread. Returns a channel for its result and end time.
fn start(
    engine: &Arc<Engine>,
    s2k: S2k<'static>,
    cancellation: &Cancellation,
) -> Receiver<(Result<(), DeriveError>, Instant)> {
    let (ended, end) = channel();
    let (engine, cancellation) = (Arc::clone(engine), cancellation.clone());
    std::thread::spawn(move || {
        let derived = engine
            .derive(&s2k, CallerId::UNKNOWN, &cancellation)
            .map(drop);
        let _gone = ended.send((derived, Instant::now()));
    });
    end
}

fn is_running(engine: &Engine) -> bool {
    let state = engine.shared.lock();
    state.queue.running() > 0
}

fn pending(engine: &Engine) -> u64 {
    engine.shared.lock().queue.work()
}

#[test]
fn keys_equal_those_of_rustcrypto() {
    let engine = Arc::new(engine(2, u64::MAX));
    for hash in Hash::ALL {
        for count in [0, 1000, 200_000, 3_000_000] {
            for key_len in [0, 1, 20, 32, 64] {
                let s2k = S2k::new(hash, b"saltsalt", b"topsecret", count, key_len);
                let s2k = s2k.expect("parameters should be valid");
                let plainly = s2k
                    .derive(&mut || true)
                    .expect("derivation should not be interrupted");
                assert_eq!(
                    engine.derive(&s2k, CallerId::UNKNOWN, &cancellation()),
                    Ok(plainly),
                    "{hash:?} {count}"
                );
            }
        }
    }
    assert_eq!(pending(&engine), 0);
}

/// The test compares the order in which the derivations end, and no durations.
#[test]
fn long_derivation_does_not_delay_a_short_one() {
    let engine = Arc::new(engine(1, u64::MAX));
    let (cancellation, long_stop) = (cancellation(), cancellation());
    let long = start(&engine, endless(), &long_stop);
    wait_until("derivation should start", || is_running(&engine));
    let short = start(&engine, s2k(1_000_000), &cancellation);
    assert_eq!(
        short
            .recv_timeout(TIMEOUT)
            .expect("derivation should end")
            .0,
        Ok(())
    );
    assert!(long.try_recv().is_err(), "the long one ended first");
    long_stop.flag.cancel();
    let (ended, _) = long.recv_timeout(TIMEOUT).expect("derivation should end");
    assert_eq!(ended, Err(DeriveError::Cancelled));
}

#[test]
fn short_derivations_do_not_starve_a_long_one() {
    let engine = Arc::new(engine(1, u64::MAX));
    let long = start(&engine, s2k(DEFAULT), &cancellation());
    wait_until("derivation should start", || is_running(&engine));
    let over = Arc::new(AtomicBool::new(false));
    let shorts: Vec<_> = (0..4)
        .map(|_| {
            let (engine, over) = (Arc::clone(&engine), Arc::clone(&over));
            std::thread::spawn(move || {
                // The hash differs, so that no derivation is hashed side by side with the long one.
                let short = S2k::new(Hash::Sha256, b"saltsalt", b"topsecret", 1_000_000, 32);
                let short = short.expect("parameters should be valid");
                while !over.load(Ordering::Relaxed) {
                    assert!(
                        engine
                            .derive(&short, CallerId::UNKNOWN, &cancellation())
                            .is_ok()
                    );
                }
            })
        })
        .collect();
    let (ended, _) = long
        .recv_timeout(TIMEOUT)
        .expect("long derivation should end");
    assert_eq!(ended, Ok(()));
    over.store(true, Ordering::Relaxed);
    for short in shorts {
        short.join().expect("thread should not panic");
    }
}

#[test]
fn cancelled_derivations_leave_the_engine() {
    let engine = Arc::new(engine(2, u64::MAX));
    let stops: Vec<_> = (0..20).map(|_| cancellation()).collect();
    let running: Vec<_> = stops
        .iter()
        .map(|cancellation| start(&engine, endless(), cancellation))
        .collect();
    wait_until("derivations should start", || {
        pending(&engine) > 20 * u64::from(u32::MAX) / 2
    });
    for cancellation in &stops {
        cancellation.flag.cancel();
    }
    for end in running {
        let (ended, _) = end.recv_timeout(TIMEOUT).expect("derivation should end");
        assert_eq!(ended, Err(DeriveError::Cancelled));
    }
    wait_until("no bytes should be pending", || pending(&engine) == 0);
}

#[test]
fn deadline_ends_running_and_waiting_derivations() {
    let engine = Arc::new(engine(1, u64::MAX));
    let soon = Cancellation {
        // The time suffices for each derivation to start on a busy machine. Otherwise the error would be
        // `Late`.
        deadline: Instant::now() + Duration::from_secs(2),
        ..cancellation()
    };
    let running: Vec<_> = (0..3).map(|_| start(&engine, endless(), &soon)).collect();
    for end in running {
        let (ended, at) = end.recv_timeout(TIMEOUT).expect("derivation should end");
        assert_eq!(ended, Err(DeriveError::Cancelled));
        assert!(at >= soon.deadline);
    }
    wait_until("no bytes should be pending", || pending(&engine) == 0);
    assert!(
        engine
            .derive(&s2k(1_000_000), CallerId::UNKNOWN, &cancellation())
            .is_ok()
    );
}

#[test]
fn derivation_that_only_waited_until_the_deadline_is_late() {
    let engine = Arc::new(engine(1, u64::MAX));
    let long_stop = cancellation();
    let long = start(&engine, endless(), &long_stop);
    wait_until("derivation should start", || is_running(&engine));
    let soon = Cancellation {
        deadline: Instant::now() + Duration::from_millis(20),
        ..cancellation()
    };
    // The hash differs and is slower, so that this one is hashed neither beside the first one nor before it.
    let other = S2k::new(Hash::Sha3_512, b"saltsalt", b"topsecret", u32::MAX, 64);
    let late = engine.derive(
        &other.expect("parameters should be valid"),
        CallerId::UNKNOWN,
        &soon,
    );
    assert_eq!(late, Err(DeriveError::Late));
    long_stop.flag.cancel();
    assert!(
        long.recv_timeout(TIMEOUT)
            .expect("derivation should end")
            .0
            .is_err()
    );
}

/// Waiting for other passes of the same derivation does not count as waiting for others.
#[test]
fn derivation_without_competition_is_not_late() {
    let engine = engine(1, u64::MAX);
    let soon = Cancellation {
        // The time is much longer than a thread of low priority may take to wake up.
        deadline: Instant::now() + Duration::from_secs(2),
        ..cancellation()
    };
    // Each of the two passes takes longer than the deadline.
    let s2k = S2k::new(Hash::Ripemd160, b"saltsalt", b"topsecret", u32::MAX, 32);
    let alone = engine.derive(
        &s2k.expect("parameters should be valid"),
        CallerId::UNKNOWN,
        &soon,
    );
    assert_eq!(alone, Err(DeriveError::Cancelled));
}

/// A thread that takes fewer streams than it put back must wake another thread.
#[test]
fn threads_do_not_sleep_while_streams_wait() {
    let engine = Arc::new(engine(2, u64::MAX));
    let (first_stop, cancellation) = (cancellation(), cancellation());
    // This one has another hash and is the first in the order.
    let other = S2k::new(Hash::Sha256, b"saltsalt", b"topsecret", u32::MAX, 32);
    let first = start(
        &engine,
        other.expect("parameters should be valid"),
        &first_stop,
    );
    wait_until("derivation should start", || is_running(&engine));
    // One thread takes both passes together while the other thread is busy.
    let s2k = S2k::new(Hash::Sha1, b"saltsalt", b"topsecret", u32::MAX, 32);
    let two = start(
        &engine,
        s2k.expect("parameters should be valid"),
        &cancellation,
    );
    wait_until("all three streams should be running", || {
        engine.shared.lock().queue.running() == 3
    });
    first_stop.flag.cancel();
    assert!(
        first
            .recv_timeout(TIMEOUT)
            .expect("derivation should end")
            .0
            .is_err()
    );
    wait_until("each thread should have a pass", || {
        let state = engine.shared.lock();
        state.idle == 0 && state.queue.running() == 2
    });
    cancellation.flag.cancel();
    assert!(
        two.recv_timeout(TIMEOUT)
            .expect("derivation should end")
            .0
            .is_err()
    );
}

#[test]
fn pending_bytes_are_limited() {
    // Each byte of SHA-512 counts twice.
    let max = 2 * endless().bytes_hashed() + 10_000_000;
    let engine = Arc::new(engine(1, max));
    let long_stop = cancellation();
    let long = start(&engine, endless(), &long_stop);
    wait_until("derivation should start", || is_running(&engine));
    // The queue has room for a short derivation, but not for another long one.
    let waiting = engine.clears_in(0);
    assert!(waiting > Duration::ZERO);
    assert!(engine.clears_in(10) > waiting);
    assert_eq!(
        engine.derive(&endless(), CallerId::UNKNOWN, &cancellation()),
        Err(DeriveError::QueueFull)
    );
    // The calling thread computes short derivations, so that they never wait.
    assert!(
        engine
            .derive(&s2k(1000), CallerId::UNKNOWN, &cancellation())
            .is_ok()
    );
    assert!(
        engine
            .derive(&s2k(2_000_000), CallerId::UNKNOWN, &cancellation())
            .is_ok()
    );
    long_stop.flag.cancel();
    assert!(
        long.recv_timeout(TIMEOUT)
            .expect("derivation should end")
            .0
            .is_err()
    );
    wait_until("no bytes should be pending", || pending(&engine) == 0);
    let tiny = Arc::new(self::engine(1, 1));
    assert!(
        tiny.derive(&s2k(2_000_000), CallerId::UNKNOWN, &cancellation())
            .is_ok(),
        "derivation without competition should be accepted"
    );
}

#[test]
fn dropped_engine_cancels_pending_derivations() {
    let engine = Arc::new(engine(1, u64::MAX));
    let shared = Arc::clone(&engine.shared);
    let stops = [cancellation(), cancellation()];
    let ends = stops.clone().map(|cancellation| {
        let (ended, end) = channel();
        let (shared, s2k) = (Arc::clone(&shared), endless());
        std::thread::spawn(move || {
            let derived = Engine { shared }
                .derive(&s2k, CallerId::UNKNOWN, &cancellation)
                .map(drop);
            let _gone = ended.send(derived);
        });
        end
    });
    wait_until("both derivations should be pending", || {
        pending(&engine) > 3 * endless().bytes_hashed()
    });
    drop(engine);
    for end in ends {
        assert_eq!(end.recv_timeout(TIMEOUT), Ok(Err(DeriveError::Cancelled)));
    }
}

#[test]
fn time_estimates_follow_the_pace() {
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
