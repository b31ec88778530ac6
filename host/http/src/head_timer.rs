//! The time limits for a request head: one for the wait until it begins, and one from its first byte to its
//! last.
//!
//! hyper has one time-out for both. Load balancers keep idle connections for a minute, which is too long for
//! a head that is under way.

use hyper::rt::{Sleep, Timer};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Whether a byte has arrived since hyper began to wait for a head.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadStart(Arc<AtomicBool>);

impl HeadStart {
    /// Records that bytes have arrived.
    pub(crate) fn received(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The timer of one connection. hyper calls [`Timer::sleep_until`] when it begins to wait for a head.
#[derive(Debug)]
pub(crate) struct HeadTimer {
    start: HeadStart,
    headers_timeout: Duration,
    /// Whether the connection has waited for a head before.
    is_kept: AtomicBool,
}

impl HeadTimer {
    pub(crate) fn new(start: HeadStart, headers_timeout: Duration) -> Self {
        Self {
            start,
            headers_timeout,
            is_kept: AtomicBool::new(false),
        }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// `idle_until` is the end of the idle time. The first head of a connection is late after
    /// `headers_timeout`, because a client that connects has a request to send.
    fn sleep_until(&self, idle_until: Instant) -> Pin<Box<dyn Sleep>> {
        self.start.0.store(false, Ordering::Relaxed);
        let is_kept = self.is_kept.swap(true, Ordering::Relaxed);
        let until = if is_kept {
            idle_until
        } else {
            Instant::now() + self.headers_timeout
        };
        Box::pin(HeadSleep {
            start: is_kept.then(|| self.start.clone()),
            headers_timeout: self.headers_timeout,
            sleep: tokio::time::sleep_until(until.into()),
        })
    }
}

pin_project! {
    /// Ends when a head is late.
    struct HeadSleep {
        // `None` if the limit for the head itself applies.
        start: Option<HeadStart>,
        headers_timeout: Duration,
        #[pin]
        sleep: tokio::time::Sleep,
    }
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let has_begun = |start: &mut HeadStart| start.0.load(Ordering::Relaxed);
        if this.start.take_if(has_begun).is_some() {
            let until = tokio::time::Instant::now() + *this.headers_timeout;
            this.sleep.as_mut().reset(until);
        }
        this.sleep.poll(context)
    }
}

impl Sleep for HeadSleep {}
