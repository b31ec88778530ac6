//! Tables, connections, and what is said when there are none.

use super::super::connections::PoolClass;
use super::*;
use crate::conformance::trace_of;
use crate::{MessageState, StoreError, Unusable};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::AtomicU8;
use std::time::Instant;
use tokio_postgres::config::Host;

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn replicas_that_start_at_once_make_the_tables_once() {
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
            made.join().expect("no panic").expect("made");
        }
    });
    let tables = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = '{}'",
        database.schema
    );
    assert_eq!(database.number(&tables), 8);
    assert_eq!(
        database.number("SELECT version::bigint FROM bulkhead_meta"),
        2
    );
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn newer_tables_are_refused_and_left_alone() {
    let database = Database::new();
    wait(database.open("a", &Arc::default(), QUOTA).migrate()).expect("made");
    database.run("UPDATE bulkhead_meta SET version = 3");
    let store = database.open("a", &Arc::default(), QUOTA);
    for refused in [wait(store.migrate()), accept(&store, 1, "m").map(drop)] {
        let Err(StoreError::Unusable(why)) = refused else {
            panic!("{refused:?}");
        };
        let why = why.to_string();
        assert!(why.contains("version 3") && why.contains("newer"), "{why}");
    }
    assert_eq!(database.number("SELECT count(*) FROM bulkhead_messages"), 0);
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn older_tables_are_brought_up_to_date_and_lose_nothing() {
    let database = Database::with_clock(QUOTA, 0);
    let boot_ms = Arc::<AtomicI64>::default();
    let traced = |store: &Postgres, number: u128| {
        let mut new = new(number, &number.to_string());
        new.trace = Some(trace_of(&new.id));
        let now = Now {
            wall: UnixMillis(0),
            boot: BootMillis(0),
        };
        wait(store.accept(new, UNBOUNDED, now)).expect("stored");
    };
    traced(&database.open("a", &boot_ms, QUOTA), 1);
    database.run(
        "DROP INDEX bulkhead_requests_message;
         ALTER TABLE bulkhead_requests DROP COLUMN traceparent;
         UPDATE bulkhead_meta SET version = 1",
    );
    let store = database.open("a", &boot_ms, QUOTA);
    traced(&store, 2);
    let kept = database.texts(
        "SELECT concat_ws(' ', convert_from(m.text, 'UTF8'), r.traceparent)
         FROM bulkhead_requests r JOIN bulkhead_messages m ON m.id = r.message ORDER BY r.number",
    );
    let second = trace_of(&RequestId::new(UnixMillis(0), 2));
    assert_eq!(kept, ["1".to_owned(), format!("2 {}", second.as_str())]);
}

/// The schema repeats the state machine.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn the_schema_refuses_states_that_cannot_be() {
    let database = Database::new();
    let store = database.open("a", &Arc::default(), QUOTA);
    accept(&store, 1, "m").expect("stored");
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
        let refused = wait(database.client.batch_execute(wrong));
        let refused = refused.expect_err(wrong);
        let class = refused.code().expect("by the server").code();
        assert!(class.starts_with("23"), "{wrong}: {refused:?}");
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn commits_wait_for_the_disk_whatever_the_default() {
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
        assert_eq!(wait(set).expect("asked"), expected);
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn any_text_is_kept_as_it_is() {
    let database = Database::new();
    let store = database.open("a", &Arc::default(), QUOTA);
    let now = Now {
        wall: UnixMillis(0),
        boot: BootMillis(0),
    };
    for (number, text) in (1..).zip(["\0", "a\0b", "\u{10ffff}", "'; DROP TABLE x; --", " "]) {
        accept(&store, number, text).expect("stored");
        let view = wait(store.request(RequestId::new(UnixMillis(0), number), now)).expect("asked");
        assert_eq!(view.expect("there").message, text);
    }
    let mut long = new(99, "long");
    long.callback = Some(crate::Callback {
        url: format!("http://h/{}", "x".repeat(20_000)),
        host: "h".into(),
    });
    for _ in 0..2 {
        let accepted = wait(store.accept(long.clone(), UNBOUNDED, now)).expect("stored");
        assert_eq!(
            accepted,
            Accepted::Pending(RequestId::new(UnixMillis(0), 99))
        );
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn errors_quote_nothing_that_is_stored() {
    let database = Database::new();
    let store = database.open("a", &Arc::default(), QUOTA);
    accept(&store, 1, "m").expect("stored");
    for wrong in [
        "UPDATE bulkhead_messages SET state = 'confidential'",
        "SELECT 'confidential'::bigint",
        "INSERT INTO bulkhead_requests (id, message, callback, callback_digest, host, created_at, state)
           SELECT id, message, 'confidential', '', '', 0, state FROM bulkhead_requests",
    ] {
        let refused = store.call(PoolClass::Work, move |_, client| {
            Box::pin(async move { Ok(client.batch_execute(wrong).await?) })
        });
        let refused = wait(refused).expect_err("refused").to_string();
        assert!(!refused.contains("confidential"), "{refused}");
    }
    assert!(accept(&store, 2, "n").is_ok());
}

/// Of a URL, and a password beside it.
fn connect_beside(url: &str, password: Option<Vec<u8>>) -> crate::Result<Postgres> {
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
fn a_url_that_is_none_is_told_without_being_quoted() {
    for url in [
        "postgres://user:confidential@host:port/database",
        "mysql://confidential",
        "postgres://user:confidential@host/database?sslmode=require",
        "postgres://user:confidential@host/database?sslmode=odd",
    ] {
        match connect_beside(url, None) {
            Err(StoreError::Unusable(why)) => {
                assert!(!why.to_string().contains("confidential"), "{why}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{url} was taken"),
        }
    }
}

#[test]
fn a_password_is_in_the_url_or_beside_it() {
    let connect = |url: &str| connect_beside(url, Some(b"confidential".to_vec())).map(drop);
    assert!(connect("postgres://user@host/database").is_ok());
    let Err(StoreError::Unusable(why)) = connect("postgres://user:confidential@host/database")
    else {
        panic!("both were taken");
    };
    assert_eq!(why, Unusable::TwoPasswords);
}

/// All connections hang: who has one is told so, and who waits for one in vain as well.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn calls_that_hang_end_in_time_and_are_over_then() {
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
            .map(|call| call.join().expect("no panic"))
            .collect()
    });
    assert!(started.elapsed() < 4 * limit, "{:?}", started.elapsed());
    let busy = answers
        .iter()
        .filter(|is| matches!(is, Err(StoreError::Busy)));
    let away = answers
        .iter()
        .filter(|is| matches!(is, Err(StoreError::Unavailable(_))));
    let (busy, away) = (busy.count(), away.count());
    assert!(busy > 0 && away > 0 && busy + away == 12, "{answers:?}");
    // What hangs at the server ends by itself.
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted
      AND relation = 'bulkhead_messages'::regclass";
    until(|| database.number(waiting) == 0, "nobody to wait");
    database.run("COMMIT");
    until(|| accept(&store, 1, "m").is_ok(), "a connection");
    assert_eq!(database.number("SELECT count(*) FROM bulkhead_messages"), 1);
}

/// From a start without a database to one that stops and comes back, in each way.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn a_database_that_is_away_is_told_and_used_when_it_is_back() {
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
        Now {
            wall: UnixMillis(0),
            boot: BootMillis(0),
        },
    ));
    assert_eq!(
        view.expect("asked").expect("there").state,
        MessageState::Pending
    );
}

/// Dropped where nothing may block.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn a_store_can_be_dropped_anywhere() {
    let database = Database::new();
    wait(async {
        let store = database.open("a", &Arc::default(), QUOTA);
        store.migrate().await.expect("made");
        drop(store);
    });
}

fn until(mut done: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Mode {
    Pass,
    /// Connections end, and new ones do at once.
    Refuse,
    /// Nothing comes back any more.
    Stall,
}

/// Stands between a store and the server.
struct Proxy {
    url: String,
    mode: Arc<AtomicU8>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("a URL");
        let [Host::Tcp(host)] = config.get_hosts() else {
            panic!("the tests need one server that listens on TCP");
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let server = (host.clone(), port);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("bound").port();
        let proxy = Self {
            url: url.replace(&format!("{host}:{port}"), &format!("127.0.0.1:{own}")),
            mode: Arc::default(),
            streams: Arc::default(),
        };
        assert_ne!(proxy.url, url, "the URL names host and port");
        let (mode, streams) = (Arc::clone(&proxy.mode), Arc::clone(&proxy.streams));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if mode.load(Ordering::SeqCst) == Mode::Refuse as u8 {
                    continue;
                }
                let there = TcpStream::connect((server.0.as_str(), server.1)).expect("the server");
                streams
                    .lock()
                    .expect("no panic")
                    .extend([&client, &there].map(|stream| stream.try_clone().expect("cloned")));
                for (from, to) in [(&client, &there), (&there, &client)] {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let (from, to) = (from.expect("cloned"), to.expect("cloned"));
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
            for stream in self.streams.lock().expect("no panic").drain(..) {
                let _ended_already = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8) {
    use std::io::{Read as _, Write as _};
    let mut octets = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut octets) {
        if mode.load(Ordering::SeqCst) == Mode::Stall as u8 {
            continue;
        }
        if to.write_all(&octets[..read]).is_err() {
            break;
        }
    }
    let _ended_already = to.shutdown(Shutdown::Both);
}
