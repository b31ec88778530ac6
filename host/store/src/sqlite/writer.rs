//! The writer thread. It commits waiting operations in groups, because each commit waits for the disk.

use super::database::Database;
use super::worker::Worker;
use crate::{Result, Unavailable};
use std::sync::mpsc::Receiver;
use tokio::sync::oneshot;

/// Maximum number of operations in a group. The first one waits for the last one.
const GROUP_MAX: usize = 256;

/// An operation. It gets `None` if its group could not start. It returns the function that sends the result
/// to the caller after the commit.
type Job = Box<dyn FnOnce(Option<&mut Database>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<()>)>;

/// The database on its own thread. Dropping it blocks until all queued operations are written and the
/// database is closed.
pub(super) struct Writer(Worker<Job>);

impl Writer {
    /// Starts the thread. At most `waiting_max` operations wait for it.
    pub(super) fn start(database: Database, waiting_max: usize) -> Result<Self> {
        let worker = Worker::start("store", waiting_max, move |jobs| write(database, jobs));
        Ok(Self(worker?))
    }

    /// Completes all queued operations and closes the database.
    ///
    /// # Errors
    /// The errors of [`Database::close`].
    pub(super) async fn close(&self) -> Result<()> {
        self.0.close().await
    }

    /// Runs `call` on the thread and returns its result when its changes are on disk. Dropping the future
    /// does not undo the call.
    ///
    /// # Errors
    /// The errors of [`Worker::submit`], of `call` and of the commit.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Database) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |database| {
            let result = database.map(call);
            Box::new(move |committed| {
                // The error of the call takes precedence over that of its group.
                let result = match result {
                    Some(result) => result.and_then(|result| committed.map(|()| result)),
                    None => committed.and(Err(Unavailable::RolledBack.into())),
                };
                // The caller may have stopped waiting.
                let _gone = sender.send(result);
            })
        });
        self.0.submit(job)?;
        receiver
            .await
            .unwrap_or_else(|_| Err(Unavailable::Panicked.into()))
    }
}

fn write(mut database: Database, jobs: &Receiver<Job>) -> Result<()> {
    while let Ok(first) = jobs.recv() {
        let mut all = vec![first];
        all.extend(jobs.try_iter().take(GROUP_MAX - 1));
        let begun = database.check_files().and_then(|()| database.begin_group());
        if let Err(error) = begun {
            for job in all {
                job(None)(Err(error.clone()));
            }
            database.rescue();
            continue;
        }
        let mut replies = Vec::with_capacity(all.len());
        let group = std::panic::AssertUnwindSafe(|| {
            database.group(|database| {
                replies.extend(all.into_iter().map(|job| job(Some(database))));
            })
        });
        let committed = if let Ok(committed) = std::panic::catch_unwind(group) {
            committed
        } else {
            // The panic is a bug in this program, but the store must stay in service.
            tracing::error!("a write of the store panicked");
            database.abandon_group();
            Err(Unavailable::Panicked.into())
        };
        let durable = committed.and_then(|()| database.check_files());
        for reply in replies {
            reply(durable.clone());
        }
        database.rescue();
    }
    database.close()
}

#[cfg(test)]
mod tests {
    use super::super::requests::Fingerprint;
    use super::super::tests::{at, database};
    use super::*;
    use crate::conformance::UNBOUNDED;
    use crate::{Accepted, NewRequest, RequestId, StoreError, UnixMillis};
    use std::sync::mpsc::channel;
    use std::task::{Context, Poll, Waker};

    fn run<R>(future: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("runtime should start").block_on(future)
    }

    fn backlog(database: &mut Database) -> Result<u64> {
        super::super::requests::backlog(&database.connection)
    }

    /// Limits the size of the file, which has the effect of a full disk.
    fn limit_pages(database: &Database, pages: u32) {
        let connection = &database.connection;
        let set = connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
        set.expect("limit should be set");
    }

    fn accept(number: u128) -> impl FnOnce(&mut Database) -> Result<Accepted> + Send {
        move |database| {
            let new = NewRequest {
                id: RequestId::new(UnixMillis(0), number),
                owner: None,
                message: format!("message {number}"),
                callback: None,
                trace: None,
            };
            database.accept(&new, Fingerprint::of(&new.message), UNBOUNDED, at(0, 0))
        }
    }

    /// Blocks the thread until the returned sender is used. Calls in the meantime become one group.
    fn hold(writer: &Writer) -> std::sync::mpsc::Sender<()> {
        let (release, released) = channel();
        let (held, is_held) = channel();
        let mut call = Box::pin(writer.call(move |_| {
            held.send(()).expect("receiver should wait");
            let _released = released.recv();
            Ok(())
        }));
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        is_held.recv().expect("call should start");
        release
    }

    fn poll<R>(call: &mut std::pin::Pin<Box<impl Future<Output = R>>>) -> Poll<R> {
        call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn waiting_calls_are_committed_together() {
        let (_folder, database) = database();
        let writer = Writer::start(database, 1000).expect("thread should start");
        let release = hold(&writer);
        let mut calls: Vec<_> = (1..=600)
            .map(|n| Box::pin(writer.call(accept(n))))
            .collect();
        assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
        release.send(()).expect("receiver should wait");
        run(async {
            for call in calls {
                assert!(matches!(call.await, Ok(Accepted::Pending(_))));
            }
            let backlog = writer.call(backlog).await;
            assert_eq!(backlog.expect("backlog should be readable"), 600);
        });
    }

    /// An error affects only its own call. After a panic, all callers of the group get an error.
    #[test]
    fn failed_call_does_not_affect_its_group() {
        let (_folder, database) = database();
        let writer = Writer::start(database, 10).expect("thread should start");
        let release = hold(&writer);
        let mut good = Box::pin(writer.call(accept(1)));
        // The schema rejects a second request with the same id.
        let mut bad = Box::pin(writer.call(|database: &mut Database| {
            accept(2)(database)?;
            let new = NewRequest {
                id: RequestId::new(UnixMillis(0), 1),
                owner: None,
                message: "another".into(),
                callback: None,
                trace: None,
            };
            database.accept(&new, Fingerprint::of(&new.message), UNBOUNDED, at(0, 0))
        }));
        assert!(poll(&mut good).is_pending() && poll(&mut bad).is_pending());
        release.send(()).expect("receiver should wait");
        run(async {
            assert!(good.await.is_ok());
            assert!(matches!(bad.await, Err(StoreError::Unavailable(_))));
            let panicked = writer
                .call(|_| -> Result<()> { panic!("expected by the test") })
                .await;
            assert!(matches!(panicked, Err(StoreError::Unavailable(_))));
            assert!(writer.call(accept(3)).await.is_ok());
            let backlog = writer.call(backlog).await;
            assert_eq!(backlog.expect("backlog should be readable"), 3);
        });
    }

    /// The disk fills up within a group. Exactly the calls that succeeded are stored.
    #[test]
    fn full_disk_fails_exactly_the_calls_that_are_not_stored() {
        let (_folder, database) = database();
        limit_pages(&database, 40);
        let writer = Writer::start(database, 1000).expect("thread should start");
        let release = hold(&writer);
        let mut calls: Vec<_> = (1..=1000)
            .map(|n| Box::pin(writer.call(accept(n))))
            .collect();
        for call in &mut calls {
            let _may_be_rejected = poll(call);
        }
        release.send(()).expect("receiver should wait");
        run(async {
            let mut stored = 0;
            for call in calls {
                match call.await {
                    Ok(Accepted::Pending(_)) => stored += 1,
                    Err(StoreError::Unavailable(_) | StoreError::Busy) => {}
                    other => panic!("{other:?}"),
                }
            }
            // Single calls after the large groups.
            for number in 1001..=1020 {
                stored += u64::from(writer.call(accept(number)).await.is_ok());
            }
            assert!(stored < 1020, "the disk was not full");
            assert_eq!(
                writer
                    .call(backlog)
                    .await
                    .expect("backlog should be readable"),
                stored
            );
            let room = writer.call(|database| {
                limit_pages(database, 1_000_000);
                Ok(())
            });
            room.await.expect("limit should be set");
            assert!(writer.call(accept(2000)).await.is_ok());
            assert_eq!(
                writer
                    .call(backlog)
                    .await
                    .expect("backlog should be readable"),
                stored + 1
            );
        });
    }

    #[test]
    fn call_is_rejected_at_once_when_the_queue_is_full() {
        let (_folder, database) = database();
        let writer = Writer::start(database, 1).expect("thread should start");
        let release = hold(&writer);
        let mut fits = Box::pin(writer.call(accept(1)));
        assert!(poll(&mut fits).is_pending());
        let full = run(writer.call(accept(2))).expect_err("call should be rejected");
        assert!(matches!(full, StoreError::Busy), "{full}");
        crate::listed::assert_listed("store for which too many calls wait", &full, &[]);
        release.send(()).expect("receiver should wait");
        assert!(run(fits).is_ok());
    }

    #[test]
    fn call_fails_with_the_reason_when_the_file_is_locked() {
        let (folder, database) = database();
        let writer = Writer::start(database, 10).expect("thread should start");
        let other = rusqlite::Connection::open(folder.path().join("db")).expect("file should open");
        other
            .execute_batch("BEGIN IMMEDIATE")
            .expect("transaction should start");
        match run(writer.call(accept(1))) {
            Err(StoreError::Unavailable(why)) => {
                assert!(why.to_string().contains("locked"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        other
            .execute_batch("ROLLBACK")
            .expect("transaction should end");
        assert_eq!(
            run(writer.call(backlog)).expect("backlog should be readable"),
            0
        );
        assert!(run(writer.call(accept(1))).is_ok());
    }
}
