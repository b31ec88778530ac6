//! One value for each thread that uses it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed number of values, of which each thread uses one, always the same.
///
/// Threads that create instances in one engine pass the cache lines of its pool back and forth, which makes a
/// token half as expensive again (`bench/token.sh` shows it). So each of them has an engine of its own.
pub struct PerThread<T>(Vec<T>);

impl<T> PerThread<T> {
    /// Distributes `values` over the threads that will ask for one. If there are more threads than values, some
    /// threads share a value.
    ///
    /// # Panics
    /// If `values` is empty.
    pub fn new(values: Vec<T>) -> Self {
        assert!(!values.is_empty(), "at least one value is needed");
        Self(values)
    }

    /// The value of the calling thread.
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
                .map(|thread| thread.join().expect("the thread should not panic"))
                .map(|(first, again)| {
                    assert_eq!(first, again);
                    first
                })
                .collect();
            assert_eq!(found.len(), 4, "{found:?}");
        });
    }
}
