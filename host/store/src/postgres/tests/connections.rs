//! Tables, connections, and errors without them.

use super::super::connections::PoolClass;
use super::*;
use crate::listed::assert_listed;
use crate::{MessageState, StoreError, Unavailable, Unusable};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::time::Instant;
use tokio_postgres::config::Host;

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn concurrent_starts_create_tables_once() {
    let database = Database::new();
    let stores: Vec<_> = (0..6)
        .map(|_| database.open("a", &Arc::default(), QUOTA))
        .collect();
    std::thread::scope(|scope| {
        let made: Vec<_> = stores
            .iter()
            .map(|store| scope.spawn(|| wait(store.migrate())))
            .collect();
        for made in made {
            made.join()
                .expect("thread should not panic")
                .expect("tables should be created");
        }
    });
    let tables = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = '{}'",
        database.schema
    );
    assert_eq!(database.number(&tables), 8);
    assert_eq!(
        database.number("SELECT version::bigint FROM bulkhead_meta"),
        3
    );
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn newer_tables_are_rejected_and_unchanged() {
    let database = Database::new();
    wait(database.open("a", &Arc::default(), QUOTA).migrate()).expect("tables should be created");
    database.run("UPDATE bulkhead_meta SET version = 4");
    let store = database.open("a", &Arc::default(), QUOTA);
    for rejected in [wait(store.migrate()), accept(&store, 1, "m").map(drop)] {
        let Err(StoreError::Unusable(why)) = rejected else {
            panic!("{rejected:?}");
        };
        let why = why.to_string();
        assert!(why.contains("version 4") && why.contains("newer"), "{why}");
    }
    assert_eq!(database.number("SELECT count(*) FROM bulkhead_messages"), 0);
    database.run("DELETE FROM bulkhead_meta");
    let empty = wait(store.migrate()).expect_err("store should be rejected");
    assert_listed("PostgreSQL store without its version", &empty, &[]);
}

/// The schema repeats the state machine.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn schema_rejects_impossible_states() {
    let database = Database::new();
    let store = database.open("a", &Arc::default(), QUOTA);
    accept(&store, 1, "m").expect("request should be stored");
    for wrong in [
        "UPDATE bulkhead_messages SET state = 'signed'",
        "UPDATE bulkhead_messages SET signature = 's'",
        "UPDATE bulkhead_messages SET state = 'failed', error = 'e'",
        "UPDATE bulkhead_messages SET state = 'odd'",
        "UPDATE bulkhead_messages SET tries = -1",
        "UPDATE bulkhead_messages SET text = ''",
        "UPDATE bulkhead_messages SET session = 99, leased_at = 0",
        "UPDATE bulkhead_requests SET message = 99",
        "UPDATE bulkhead_requests SET done_at = 0",
        "UPDATE bulkhead_requests SET host = 'h'",
        "UPDATE bulkhead_requests SET owner = 'ci'",
        "UPDATE bulkhead_requests SET callback_digest = ''",
        "DELETE FROM bulkhead_messages",
        "INSERT INTO bulkhead_meta (version, held_until, window_ms, margin_ms, incarnation)
           VALUES (1, 0, 0, 0, '')",
        "INSERT INTO bulkhead_requests (id, message, created_at, state)
           SELECT repeat('0', 44), message, 0, state FROM bulkhead_requests",
        "INSERT INTO bulkhead_notifications (request, host, state)
           SELECT number, 'h', 'pending' FROM bulkhead_requests",
        "INSERT INTO bulkhead_notifications (request, host, state)
           SELECT number, 'h', 'parked' FROM bulkhead_requests",
    ] {
        let rejected = wait(database.client.batch_execute(wrong));
        let rejected = rejected.expect_err(wrong);
        let class = rejected
            .code()
            .expect("error should come from the server")
            .code();
        assert!(class.starts_with("23"), "{wrong}: {rejected:?}");
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn commit_waits_for_disk_whatever_the_default() {
    let database = Database::new();
    for (default, expected) in [
        ("off", "on"),
        ("local", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let url = format!("{}%20-csynchronous_commit%3D{default}", database.url);
        let store = open(&url, "a", || BootMillis(0), QUOTA, TIMEOUT);
        let set = store.call(PoolClass::Work, |_, client| {
            Box::pin(async move {
                let row = client.query_one("SHOW synchronous_commit", &[]).await?;
                Ok(row.try_get::<_, String>(0)?)
            })
        });
        assert_eq!(wait(set).expect("call should succeed"), expected);
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn text_is_stored_unchanged() {
    let database = Database::new();
    let store = database.open("a", &Arc::default(), QUOTA);
    let now = Now {
        wall: UnixMillis(0),
        boot: BootMillis(0),
    };
    for (number, text) in (1..).zip(["\0", "a\0b", "\u{10ffff}", "'; DROP TABLE x; --", " "]) {
        accept(&store, number, text).expect("request should be stored");
        let view = wait(store.request(RequestId::new(UnixMillis(0), number), Viewer::All, now))
            .expect("call should succeed");
        assert_eq!(view.expect("request should exist").message, text);
    }
    let mut long = new(99, "long");
    long.callback = Some(crate::Callback {
        url: format!("http://h/{}", "x".repeat(20_000)),
        host: "h".into(),
    });
    for _ in 0..2 {
        let accepted =
            wait(store.accept(long.clone(), UNBOUNDED, now)).expect("request should be stored");
        assert_eq!(
            accepted,
            Accepted::Pending(RequestId::new(UnixMillis(0), 99))
        );
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn errors_do_not_quote_stored_data() {
    let database = Database::new();
    let store = database.open("a", &Arc::default(), QUOTA);
    accept(&store, 1, "m").expect("request should be stored");
    for wrong in [
        "UPDATE bulkhead_messages SET state = 'confidential'",
        "SELECT 'confidential'::bigint",
        "INSERT INTO bulkhead_requests (id, message, callback, callback_digest, host, created_at, state)
           SELECT id, message, 'confidential', '', '', 0, state FROM bulkhead_requests",
    ] {
        let rejected = store.call(PoolClass::Work, move |_, client| {
            Box::pin(async move { Ok(client.batch_execute(wrong).await?) })
        });
        let rejected = wait(rejected).expect_err("refused").to_string();
        assert!(!rejected.contains("confidential"), "{rejected}");
    }
    assert!(accept(&store, 2, "n").is_ok());
}

/// Creates a store from a URL and a separate password.
fn connect_with_password(url: &str, password: Option<Vec<u8>>) -> crate::Result<Postgres> {
    let setup = PostgresSetup {
        password,
        tls: None,
        connections_max: 2,
        boot_id: String::new(),
        boot_clock: Arc::new(|| BootMillis(0)),
        quota: QUOTA,
        timeout: TIMEOUT,
    };
    Postgres::connect(url, setup)
}

#[test]
fn invalid_url_is_rejected_without_quoting_it() {
    for url in [
        "postgres://user:confidential@host:port/database",
        "mysql://confidential",
        "postgres://user:confidential@host/database?sslmode=require",
        "postgres://user:confidential@host/database?sslmode=odd",
    ] {
        match connect_with_password(url, None) {
            Err(StoreError::Unusable(why)) => {
                assert!(!why.to_string().contains("confidential"), "{why}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{url} was accepted"),
        }
    }
}

#[test]
fn second_password_is_rejected() {
    let connect = |url: &str| connect_with_password(url, Some(b"confidential".to_vec())).map(drop);
    assert!(connect("postgres://user@host/database").is_ok());
    let Err(StoreError::Unusable(why)) = connect("postgres://user:confidential@host/database")
    else {
        panic!("both passwords were accepted");
    };
    assert_eq!(why, Unusable::TwoPasswords);
}

#[test]
fn required_tls_needs_root_certificates() {
    let url = "postgres://user@host/database?sslmode=require";
    let error = connect_with_password(url, None)
        .map(drop)
        .expect_err("URL should be rejected");
    assert_listed(
        "PostgreSQL store on a machine without root certificates",
        &error,
        &[],
    );
}

/// All connections hang. Both the calls that have one and the calls that wait for one fail in time.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn hanging_calls_fail_in_time_and_end() {
    let database = Database::new();
    let limit = Duration::from_millis(500);
    let store = open(&database.url, "a", || BootMillis(0), QUOTA, limit);
    until(|| wait(store.migrate()).is_ok(), "the tables");
    database.run("BEGIN; LOCK TABLE bulkhead_messages");
    let started = Instant::now();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let store = &store;
        let calls: Vec<_> = (0..12)
            .map(|number| scope.spawn(move || accept(store, number, "m")))
            .collect();
        calls
            .into_iter()
            .map(|call| call.join().expect("thread should not panic"))
            .collect()
    });
    assert!(started.elapsed() < 4 * limit, "{:?}", started.elapsed());
    let busy = answers
        .iter()
        .filter(|is| matches!(is, Err(StoreError::Busy)));
    for answer in &answers {
        if let Err(error @ StoreError::Unavailable(Unavailable::TimedOut(_))) = answer {
            assert_listed("attempt: PostgreSQL does not respond in time", error, &[]);
        }
    }
    let away = answers
        .iter()
        .filter(|is| matches!(is, Err(StoreError::Unavailable(_))));
    let (busy, away) = (busy.count(), away.count());
    assert!(busy > 0 && away > 0 && busy + away == 12, "{answers:?}");
    // The database server cancels the hanging statements.
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted
      AND relation = 'bulkhead_messages'::regclass";
    until(|| database.number(waiting) == 0, "no waiting statements");
    database.run("COMMIT");
    until(|| accept(&store, 1, "m").is_ok(), "a connection");
    assert_eq!(database.number("SELECT count(*) FROM bulkhead_messages"), 1);
}

/// The store starts without a database. The database then becomes unavailable and available again,
/// in each mode.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn unavailable_database_is_reported_and_used_again() {
    let database = Database::new();
    let proxy = Proxy::start(&database.url);
    proxy.set(Mode::Refuse);
    let limit = Duration::from_millis(500);
    let store = open(&proxy.url, "a", || BootMillis(0), QUOTA, limit);
    let mut number = 0;
    let mut accept = || {
        number += 1;
        super::accept(&store, number, &number.to_string())
    };
    let away = |answer| matches!(answer, Err(StoreError::Unavailable(_)));
    assert!(away(accept()));
    for mode in [Mode::Refuse, Mode::Stall] {
        proxy.set(Mode::Pass);
        until(|| accept().is_ok(), "a connection");
        assert!(accept().is_ok());
        proxy.set(mode);
        let started = Instant::now();
        assert!(away(accept()), "{mode:?}");
        assert!(started.elapsed() < 3 * limit, "{:?}", started.elapsed());
        assert!(away(accept()), "{mode:?}");
    }
    proxy.set(Mode::Pass);
    until(|| accept().is_ok(), "a connection");
    let view = wait(store.request(
        RequestId::new(UnixMillis(0), number),
        Viewer::All,
        Now {
            wall: UnixMillis(0),
            boot: BootMillis(0),
        },
    ));
    assert_eq!(
        view.expect("call should succeed")
            .expect("request should exist")
            .state,
        MessageState::Pending
    );
}

/// The store is dropped where blocking is not allowed.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn store_can_be_dropped_in_async_context() {
    let database = Database::new();
    wait(async {
        let store = database.open("a", &Arc::default(), QUOTA);
        store.migrate().await.expect("tables should be created");
        drop(store);
    });
}

fn until(mut done: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Mode {
    Pass,
    /// Open connections end, and new ones end at once.
    Refuse,
    /// Nothing is forwarded any more.
    Stall,
}

/// A proxy between a store and the server.
struct Proxy {
    url: String,
    mode: Arc<AtomicU8>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("URL should be valid");
        let [Host::Tcp(host)] = config.get_hosts() else {
            panic!("the tests need exactly one server on TCP");
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let server = (host.clone(), port);
        let listener = TcpListener::bind("127.0.0.1:0").expect("listener should bind");
        let own = listener
            .local_addr()
            .expect("listener should have an address")
            .port();
        let proxy = Self {
            url: url.replace(&format!("{host}:{port}"), &format!("127.0.0.1:{own}")),
            mode: Arc::default(),
            streams: Arc::default(),
        };
        assert_ne!(proxy.url, url, "the URL should contain host and port");
        let (mode, streams) = (Arc::clone(&proxy.mode), Arc::clone(&proxy.streams));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if mode.load(Ordering::SeqCst) == Mode::Refuse as u8 {
                    continue;
                }
                let there = TcpStream::connect((server.0.as_str(), server.1))
                    .expect("server should be reachable");
                streams.lock().expect("thread should not panic").extend(
                    [&client, &there]
                        .map(|stream| stream.try_clone().expect("stream should be cloned")),
                );
                for (from, to) in [(&client, &there), (&there, &client)] {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let (from, to) = (
                        from.expect("stream should be cloned"),
                        to.expect("stream should be cloned"),
                    );
                    let mode = Arc::clone(&mode);
                    std::thread::spawn(move || copy(from, to, &mode));
                }
            }
        });
        proxy
    }

    fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
        if mode == Mode::Refuse {
            for stream in self
                .streams
                .lock()
                .expect("thread should not panic")
                .drain(..)
            {
                let _ended_already = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    use std::io::{Read as _, Write as _};
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if mode.load(Ordering::SeqCst) == Mode::Stall as u8 {
            continue;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ended_already = to.shutdown(Shutdown::Both);
}
