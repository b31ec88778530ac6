//! One of a thing for each thread that uses it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// As many as there are threads, so that each has its own, unshared. Two threads that make
/// instances in one engine hand the cache lines of its pool back and forth, which makes a token
/// half as expensive again (`bench/token.sh` is where it shows).
pub struct Lanes<T>(Vec<T>);

impl<T> Lanes<T> {
    /// `lanes` must not be empty. Where there are more threads than lanes, some are shared.
    pub fn new(lanes: Vec<T>) -> Self {
        assert!(!lanes.is_empty(), "at least one lane");
        Self(lanes)
    }

    /// That of the calling thread, always the same one.
    pub fn mine(&self) -> &T {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        &self.0[NUMBER.with(|number| number % self.0.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::Lanes;
    use std::collections::HashSet;

    #[test]
    fn threads_have_lanes_of_their_own() {
        let lanes = Lanes::new((0..4).collect());
        let mine = || (*lanes.mine(), *lanes.mine());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(mine)).collect();
            let found: HashSet<_> = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .map(|(first, again)| {
                    assert_eq!(first, again);
                    first
                })
                .collect();
            assert_eq!(found.len(), 4, "{found:?}");
        });
    }
}
