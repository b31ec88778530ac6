//! Tests of the PostgreSQL store. Each test has its own schema. Tests that depend on time have a
//! clock that only they advance.

mod clocks;
mod connections;
mod migration;
mod random_walk;
mod replicas;
mod speed;
mod tls;

use super::{Postgres, PostgresSetup};
use crate::conformance::{Bench, Machine, QUOTA, UNBOUNDED};
use crate::{
    Accepted, Attempt, BootMillis, Claim, NewRequest, Now, Outcome, Quota, RequestId, Result,
    SlotEnd, Store, UnixMillis, Viewer,
};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

const TIMEOUT: Duration = Duration::from_secs(20);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    runtime.expect("thread should start")
});

fn wait<T>(operation: impl Future<Output = T>) -> T {
    RUNTIME.block_on(operation)
}

/// A schema that is dropped with this value.
struct Database {
    url: String,
    schema: String,
    client: Client,
}

impl Database {
    fn new() -> Self {
        static SCHEMAS: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("BULKHEAD_TEST_POSTGRES");
        let server = server.expect(
            "BULKHEAD_TEST_POSTGRES should contain the URL of a server: see tests/postgres.sh",
        );
        let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
        let schema = format!("bulkhead_test_{}_{number}", std::process::id());
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{separator}options=-csearch_path%3D{schema}");
        let client = wait(connect(&url));
        let database = Self {
            url,
            schema,
            client,
        };
        database.run(&format!("CREATE SCHEMA {}", database.schema));
        database
    }

    /// Creates tables whose clock stands at `ms`.
    fn with_clock(quota: Quota, ms: i64) -> Self {
        let database = Self::new();
        wait(database.open("nobody", &Arc::default(), quota).migrate())
            .expect("tables should be created");
        database.run(&format!(
            "CREATE TABLE clock (ms bigint NOT NULL);
             INSERT INTO clock VALUES ({ms});
             CREATE OR REPLACE FUNCTION bulkhead_clock_ms() RETURNS bigint LANGUAGE sql VOLATILE
               AS 'SELECT ms FROM clock';
             UPDATE bulkhead_meta SET held_until = {ms} + {}",
            quota.claim_ms()
        ));
        database
    }

    fn run(&self, statements: &str) {
        wait(self.client.batch_execute(statements)).expect("statements should succeed");
    }

    /// Advances the database's clock.
    fn step(&self, ms: i64) {
        self.run(&format!("UPDATE clock SET ms = ms + {ms}"));
    }

    fn number(&self, query: &str) -> i64 {
        let row = wait(self.client.query_one(query, &[])).expect("call should succeed");
        row.get(0)
    }

    fn open(&self, boot_id: &str, boot_ms: &Arc<AtomicI64>, quota: Quota) -> Postgres {
        let boot_ms = Arc::clone(boot_ms);
        let clock = move || BootMillis(boot_ms.load(Ordering::SeqCst));
        open(&self.url, boot_id, clock, quota, TIMEOUT)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP SCHEMA {} CASCADE", self.schema);
        // A failure here must not hide the failure of the test.
        let _left_behind = wait(self.client.batch_execute(&drop));
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("connection should be established");
    tokio::spawn(connection);
    client
}

fn open(
    url: &str,
    boot_id: &str,
    boot_clock: impl Fn() -> BootMillis + Send + Sync + 'static,
    quota: Quota,
    timeout: Duration,
) -> Postgres {
    let setup = PostgresSetup {
        password: None,
        tls: None,
        connections_max: 4,
        boot_id: boot_id.into(),
        boot_clock: Arc::new(boot_clock),
        quota,
        timeout,
    };
    Postgres::connect(url, setup).expect("URL should be valid")
}

/// A process on a machine with a clock that stands still.
struct Replica {
    store: Postgres,
    boot_id: String,
    boot_ms: Arc<AtomicI64>,
    quota: Quota,
}

impl Replica {
    fn new(database: &Database, boot_id: &str, boot_ms: i64) -> Self {
        let boot_ms = Arc::new(AtomicI64::new(boot_ms));
        let store = database.open(boot_id, &boot_ms, QUOTA);
        let replica = Self {
            store,
            boot_id: boot_id.into(),
            boot_ms,
            quota: QUOTA,
        };
        replica.heartbeat();
        replica
    }

    fn now(&self) -> Now {
        Now {
            wall: UnixMillis(0),
            boot: BootMillis(self.boot_ms.load(Ordering::SeqCst)),
        }
    }

    fn heartbeat(&self) {
        wait(self.store.heartbeat(self.now())).expect("heartbeat should succeed");
    }

    fn begin(&self) -> Claim<Attempt> {
        wait(self.store.claim_attempt(self.now())).expect("call should succeed")
    }

    /// Returns the time for which no call is made.
    fn held_ms(&self) -> u64 {
        wait(self.store.stats(self.now()))
            .expect("call should succeed")
            .held_ms
    }

    fn restart(&mut self, database: &Database) {
        self.store = database.open(&self.boot_id, &self.boot_ms, self.quota);
        self.heartbeat();
    }
}

/// Advances all clocks, with heartbeats of all replicas meanwhile.
fn pass(database: &Database, replicas: &[&Replica], ms: i64) {
    let mut left = ms;
    while left > 0 {
        let step = left.min(5000);
        database.step(step);
        for replica in replicas {
            replica.boot_ms.fetch_add(step, Ordering::SeqCst);
        }
        for replica in replicas {
            replica.heartbeat();
        }
        left -= step;
    }
}

fn new(number: u128, message: &str) -> NewRequest {
    NewRequest {
        id: RequestId::new(UnixMillis(0), number),
        owner: None,
        message: message.into(),
        callback: None,
        trace: None,
    }
}

fn accept(store: &dyn Store, number: u128, message: &str) -> Result<Accepted> {
    let now = Now {
        wall: UnixMillis(0),
        boot: BootMillis(0),
    };
    wait(store.accept(new(number, message), UNBOUNDED, now))
}

/// The store and its clocks for the conformance tests.
struct PostgresBench {
    replica: Replica,
    wall_ms: i64,
    starts: u32,
    database: Database,
}

impl PostgresBench {
    fn new(quota: Quota) -> Self {
        const WALL_MS: i64 = 1_700_000_000_000;
        let database = Database::with_clock(quota, WALL_MS);
        let replica = Replica::new(&database, "start 0", 0);
        let mut bench = Self {
            replica,
            wall_ms: WALL_MS,
            starts: 0,
            database,
        };
        // The store waits for other replicas, and for calls that a lost database may have recorded.
        bench.pass(i64::from(quota.call_ms));
        bench
    }
}

impl Bench for PostgresBench {
    fn store(&self) -> &dyn Store {
        &self.replica.store
    }

    fn now(&self) -> Now {
        Now {
            wall: UnixMillis(self.wall_ms),
            ..self.replica.now()
        }
    }

    fn pass(&mut self, ms: i64) {
        // The heartbeats continue for long enough to notice that another replica has stopped.
        let watched = ms.min(45_000);
        pass(&self.database, &[&self.replica], watched);
        self.database.step(ms - watched);
        self.replica
            .boot_ms
            .fetch_add(ms - watched, Ordering::SeqCst);
        self.wall_ms += ms;
    }

    fn step_wall(&mut self, ms: i64) {
        self.wall_ms += ms;
    }

    fn crash(&mut self, machine: Machine, quota: Quota) {
        self.replica.quota = quota;
        if machine == Machine::Restarts {
            self.starts += 1;
            self.replica.boot_id = format!("start {}", self.starts);
            self.replica.boot_ms = Arc::default();
        }
        self.replica.restart(&self.database);
    }

    fn replica(&mut self) -> Option<Box<dyn Store>> {
        let other = Replica {
            store: self
                .database
                .open(&self.replica.boot_id, &self.replica.boot_ms, QUOTA),
            boot_id: self.replica.boot_id.clone(),
            boot_ms: Arc::clone(&self.replica.boot_ms),
            quota: QUOTA,
        };
        other.heartbeat();
        Some(Box::new(other.store))
    }
}

mod conformance {
    use super::{PostgresBench, QUOTA};

    crate::conformance::conformance_tests! {
        PostgresBench::new(QUOTA),
        #[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
    }
}
