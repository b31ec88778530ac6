//! One value for each thread that uses it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed number of values, of which each thread uses one, always the same.
///
/// Threads that create instances in the same engine compete for the cache lines of its pool, which makes a
/// token 50 % more expensive (measured by `bench/token.sh`). Therefore each of these threads has an engine
/// of its own.
pub struct PerThread<T>(Vec<T>);

impl<T> PerThread<T> {
    /// Creates values that are distributed over the threads that call [`Self::get`]. If there are more
    /// threads than values, some threads share a value.
    ///
    /// # Panics
    /// If `values` is empty.
    pub fn new(values: Vec<T>) -> Self {
        assert!(!values.is_empty(), "there must be at least one value");
        Self(values)
    }

    /// Returns the value of the calling thread.
    pub fn get(&self) -> &T {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        &self.0[NUMBER.with(|number| number % self.0.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::PerThread;
    use std::collections::HashSet;

    #[test]
    fn threads_keep_a_value_of_their_own() {
        let values = PerThread::new((0..4).collect());
        let own = || (*values.get(), *values.get());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(own)).collect();
            let found: HashSet<_> = threads
                .into_iter()
                .map(|thread| thread.join().expect("thread should not panic"))
                .map(|(first, again)| {
                    assert_eq!(first, again);
                    first
                })
                .collect();
            assert_eq!(found.len(), 4, "{found:?}");
        });
    }
}
