//! The thread that writes. What waits for it is written together: to wait for the disk is what a
//! commit costs, and it costs that once for all of them.

use super::Sqlite;
use crate::{Result, StoreError};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

/// Written together at most: the first of them waits for the last.
const GROUP_MAX: usize = 256;

/// What is to be done, and then, to tell whoever waits whether it is on disk.
type Job = Box<dyn FnOnce(&mut Sqlite) -> Told + Send>;
type Told = Box<dyn FnOnce(std::result::Result<(), String>)>;

/// A store on a thread of its own. The thread ends when this is dropped and what waits is written.
pub struct Writer {
    queue: SyncSender<Job>,
}

impl Writer {
    /// Starts the thread; `waiting_max` calls may wait for it.
    pub fn start(store: Sqlite, waiting_max: usize) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(waiting_max);
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || write(store, &jobs))?;
        Ok(Self { queue })
    }

    /// Calls the store. The answer comes when what it did is on disk; whoever stops to wait for it
    /// does not undo it.
    pub async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Sqlite) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |store| {
            let result = call(store);
            Box::new(move |committed| {
                let result = match committed {
                    Ok(()) => result,
                    Err(why) => result.and(Err(StoreError::Unavailable(why))),
                };
                // Nobody there any more.
                let _gone = sender.send(result);
            })
        });
        self.queue.try_send(job).map_err(|_| StoreError::Busy)?;
        receiver.await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(
                "the call panicked, or its group did".into(),
            ))
        })
    }
}

fn write(mut store: Sqlite, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut all = vec![first];
        all.extend(jobs.try_iter().take(GROUP_MAX - 1));
        let mut told = Vec::with_capacity(all.len());
        let group = std::panic::AssertUnwindSafe(|| {
            store.group(|store| told.extend(all.into_iter().map(|job| job(store))))
        });
        let committed = if let Ok(committed) = std::panic::catch_unwind(group) {
            committed.map_err(|error| error.to_string())
        } else {
            // A bug of ours, but it must not take the store out of service.
            tracing::error!("a call of the store panicked");
            store.abandon_group();
            Err("a call of the same group panicked".into())
        };
        for tell in told {
            tell(committed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, at};
    use super::*;
    use crate::{Accepted, NewRequest, RequestId};
    use std::sync::mpsc::channel;
    use std::task::{Context, Poll, Waker};

    fn run<R>(future: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(future)
    }

    fn accept(number: u128) -> impl FnOnce(&mut Sqlite) -> Result<Accepted> + Send {
        move |store| {
            let new = NewRequest {
                id: RequestId::new(number),
                message: format!("message {number}"),
                callback: None,
            };
            store.accept(&new, u64::MAX, at(0, 0))
        }
    }

    /// Keeps the thread busy until told, so that what is called meanwhile is one group.
    fn hold(writer: &Writer) -> std::sync::mpsc::Sender<()> {
        let (release, released) = channel();
        let (held, is_held) = channel();
        let mut call = Box::pin(writer.call(move |_| {
            held.send(()).expect("listened to");
            let _released = released.recv();
            Ok(())
        }));
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        is_held.recv().expect("held");
        release
    }

    fn poll<R>(call: &mut std::pin::Pin<Box<impl Future<Output = R>>>) -> Poll<R> {
        call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_waits_together_is_there_together() {
        let bench = Bench::new();
        let writer = Writer::start(bench.store, 1000).expect("a thread");
        let release = hold(&writer);
        let mut calls: Vec<_> = (1..=600)
            .map(|n| Box::pin(writer.call(accept(n))))
            .collect();
        assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
        release.send(()).expect("listened to");
        run(async {
            for call in calls {
                assert!(matches!(call.await, Ok(Accepted::Pending(_))));
            }
            let backlog = writer.call(|store| store.backlog()).await;
            assert_eq!(backlog.expect("a number"), 600);
        });
    }

    /// Neither an error nor a panic touches what its neighbours did, or it is told.
    #[test]
    fn one_that_fails_does_not_take_its_group_along() {
        let bench = Bench::new();
        let writer = Writer::start(bench.store, 10).expect("a thread");
        let release = hold(&writer);
        let mut good = Box::pin(writer.call(accept(1)));
        // The same id: refused by the schema.
        let mut bad = Box::pin(writer.call(|store: &mut Sqlite| {
            accept(2)(store)?;
            let new = NewRequest {
                id: RequestId::new(1),
                message: "another".into(),
                callback: None,
            };
            store.accept(&new, u64::MAX, at(0, 0))
        }));
        assert!(poll(&mut good).is_pending() && poll(&mut bad).is_pending());
        release.send(()).expect("listened to");
        run(async {
            assert!(good.await.is_ok());
            assert!(matches!(bad.await, Err(StoreError::Unavailable(_))));
            let panicked = writer.call(|_| -> Result<()> { panic!("as a test") }).await;
            assert!(matches!(panicked, Err(StoreError::Unavailable(_))));
            assert!(writer.call(accept(3)).await.is_ok());
            let backlog = writer.call(|store| store.backlog()).await;
            assert_eq!(backlog.expect("a number"), 3);
        });
    }

    /// A disk that fills up in the middle: exactly those are there that were told so.
    #[test]
    fn a_full_disk_is_told_and_what_was_told_is_there() {
        let bench = Bench::new();
        bench.store.limit_pages(20);
        let writer = Writer::start(bench.store, 1000).expect("a thread");
        let release = hold(&writer);
        let mut calls: Vec<_> = (1..=1000)
            .map(|n| Box::pin(writer.call(accept(n))))
            .collect();
        for call in &mut calls {
            let _may_be_refused = poll(call);
        }
        release.send(()).expect("listened to");
        run(async {
            let mut stored = 0;
            for call in calls {
                match call.await {
                    Ok(Accepted::Pending(_)) => stored += 1,
                    Err(StoreError::Unavailable(_) | StoreError::Busy) => {}
                    other => panic!("{other:?}"),
                }
            }
            // Small ones, once the large groups are over.
            for number in 1001..=1020 {
                stored += u64::from(writer.call(accept(number)).await.is_ok());
            }
            assert!(stored < 1020, "the disk was not full");
            let backlog = |store: &mut Sqlite| store.backlog();
            assert_eq!(writer.call(backlog).await.expect("a number"), stored);
            let room = writer.call(|store| {
                store.limit_pages(1_000_000);
                Ok(())
            });
            room.await.expect("set");
            assert!(writer.call(accept(2000)).await.is_ok());
            assert_eq!(writer.call(backlog).await.expect("a number"), stored + 1);
        });
    }

    #[test]
    fn a_full_queue_is_told_at_once() {
        let bench = Bench::new();
        let writer = Writer::start(bench.store, 1).expect("a thread");
        let release = hold(&writer);
        let mut fits = Box::pin(writer.call(accept(1)));
        assert!(poll(&mut fits).is_pending());
        assert!(matches!(run(writer.call(accept(2))), Err(StoreError::Busy)));
        release.send(()).expect("listened to");
        assert!(run(fits).is_ok());
    }
}
