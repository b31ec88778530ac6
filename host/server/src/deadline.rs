//! The deadlines that hyper sets for the heads of requests.
//!
//! hyper makes a timer for each head and drops it when the head is there, which is nearly always at
//! once. Each timer of tokio's is put into a wheel that all I/O threads share, under a lock, and
//! taken out again: a thirtieth of what a small request costs. So a connection keeps one timer, and a
//! deadline that is over without having passed leaves it as it is. It is set anew only when it
//! fires too early for the deadline that waits by then.

use hyper::rt::{Sleep, Timer};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// The timer of one connection, for hyper. Only one of its deadlines may be waited for at a time.
#[derive(Clone, Default)]
pub(crate) struct ConnectionTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

struct Deadline {
    timer: ConnectionTimer,
    at: Instant,
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Deadline {
            timer: self.clone(),
            at,
        })
    }
}

impl Sleep for Deadline {}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.at.into();
        let mut alarm = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if alarm.deadline() > at {
            alarm.as_mut().reset(at);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= at {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(10);
    const LONGER: Duration = Duration::from_millis(50);
    /// More than any test has.
    const NEVER: Duration = Duration::from_hours(1);

    fn run(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().expect("a runtime");
        runtime.block_on(test);
    }

    async fn waits(timer: &ConnectionTimer, duration: Duration) {
        let start = Instant::now();
        timer.sleep(duration).await;
        assert!(start.elapsed() >= duration, "too early");
    }

    #[test]
    fn deadlines_pass_and_not_early() {
        run(async {
            let timer = ConnectionTimer::default();
            for duration in [SHORT, LONGER, SHORT, SHORT] {
                waits(&timer, duration).await;
            }
        });
    }

    /// An alarm set for a deadline that is over neither ends a later one nor holds up an earlier.
    #[test]
    fn an_old_alarm_is_not_in_the_way() {
        for (old, next) in [(SHORT, LONGER), (NEVER, SHORT)] {
            run(async {
                let timer = ConnectionTimer::default();
                let mut never_passed = timer.sleep(old);
                let poll = std::future::poll_fn(|cx| Poll::Ready(never_passed.as_mut().poll(cx)));
                assert!(poll.await.is_pending());
                drop(never_passed);
                waits(&timer, next).await;
            });
        }
    }
}
