//! Attacks on access control that need many requests: guesses, measurements of times, and requests during a reload.

use super::{KeyFile, file_argument, is_accepted, new_key, send};
use bulkhead_tests::canaries::record_secret;
use bulkhead_tests::http::{connect, read};
use bulkhead_tests::server::Server;
use bulkhead_tests::until;
use serde_json::json;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A connection on which requests for tokens are sent one after the other.
struct Caller(TcpStream);

impl Caller {
    fn connect(server: &Server) -> Self {
        Self(connect(server.address))
    }

    /// Returns the status of a request with a key, and its time.
    fn status(&mut self, key: &str) -> (u16, Duration) {
        let request =
            format!("POST /token HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n");
        let start = Instant::now();
        let sent = self.0.write_all(request.as_bytes());
        sent.expect("request should be sent");
        let response = read(&mut self.0, false).expect("response should arrive");
        (response.status, start.elapsed())
    }
}

/// Ends the loops of other threads when it is dropped, also by a panic.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// An unknown key, and keys that differ from a valid one at the end, at the start and everywhere, are rejected after the
/// same time.
#[test]
fn time_of_a_rejection_does_not_depend_on_the_key() {
    const ROUNDS: usize = 140;
    let mut file = KeyFile::new();
    let key = file.add("victim", &["token:make"]);
    let server = file.start();
    let mut caller = Caller::connect(&server);
    let other = |text: &str| if text == "0" { "1" } else { "0" };
    let (unknown, _) = new_key("guess", &["token:make"]);
    let last = key.len() - 1;
    let guesses = [
        unknown,
        [&key[..last], other(&key[last..])].concat(),
        [&key[..3], other(&key[3..4]), &key[4..]].concat(),
        "x".repeat(key.len()),
    ];
    let mut times = guesses.each_ref().map(|_| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        // Interleaved, so that the load of the machine is the same for all.
        for (guess, times) in guesses.iter().zip(&mut times) {
            let (status, time) = caller.status(guess);
            assert_eq!(status, 401);
            times.push(time);
        }
    }
    assert_eq!(caller.status(&key).0, 200);
    let medians = times.each_mut().map(|times| median(times));
    let (min, max) = (medians.iter().min(), medians.iter().max());
    let (min, max) = min.zip(max).expect("there should be medians");
    // A comparison of keys byte by byte would differ by nanoseconds, too little to measure over a socket. This finds
    // coarser differences, such as an additional lookup or a log line.
    assert!(*max < min.mul_f64(1.5), "{medians:?}");
}

#[test]
fn flood_of_wrong_keys_keeps_no_valid_key_out_and_adds_no_series() {
    const CLIENTS: usize = 8;
    const REQUESTS: u32 = 500;
    let mut file = KeyFile::new();
    let key = file.add("victim", &["token:make"]);
    let observer = file.add("ops", &["observe"]);
    let server = file.start();
    let samples = || {
        let metrics = send(&server, &observer, "GET", "/metrics").json();
        let metrics = metrics["metrics"].as_array().cloned().unwrap_or_default();
        // The series of a status begins with its first response.
        let other = metrics
            .iter()
            .filter(|metric| metric["name"] != "bulkhead_http_requests");
        let samples = other.filter_map(|it| it["samples"].as_array());
        samples.map(Vec::len).sum::<usize>()
    };
    assert!(is_accepted(&server, &key) && !is_accepted(&server, "x"));
    let before = samples();
    let running = AtomicBool::new(true);
    let (accepted, rejected) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, rejected, running) = (&server, &rejected, &running);
            scope.spawn(move || {
                let _end = EndOnDrop(running);
                let mut caller = Caller::connect(server);
                for number in 0..REQUESTS {
                    let guess = format!("bh_{client}_{number:0>47}");
                    assert!([401, 429].contains(&caller.status(&guess).0));
                    if rejected.fetch_add(1, Ordering::Relaxed).is_multiple_of(500) {
                        record_secret(&guess);
                    }
                }
            });
        }
        // From the same address.
        let mut caller = Caller::connect(&server);
        while running.load(Ordering::Relaxed) {
            assert_eq!(caller.status(&key).0, 200);
            accepted.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(accepted.into_inner() > 10);
    assert_eq!(samples(), before);
}

/// The file is replaced as fast as the server reads it. A key of all versions is always valid, and a key of none never.
#[test]
fn reload_never_admits_or_rejects_the_wrong_key() {
    let mut file = KeyFile::new();
    let always = file.add("always", &["token:make"]);
    let sometimes = file.add("sometimes", &["token:make"]);
    let (never, _) = new_key("never", &["token:make"]);
    // The test reads the log often.
    let server = file.start_with(&[("BULKHEAD_LOG", "info"), ("BULKHEAD_ACCESS_LOG", "off")]);
    let with = file.text();
    file.entries.pop();
    let without = file.text();
    let next = file.path().with_extension("next");
    let reloads = || server.log().matches("access keys read again").count();
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (server, running) = (&server, &running);
        let check = move |key: &str, is_valid: fn(u16) -> bool| {
            let mut caller = Caller::connect(server);
            while running.load(Ordering::Relaxed) {
                let (status, _) = caller.status(key);
                assert!(is_valid(status), "{status}");
            }
        };
        scope.spawn(move || check(&always, |status| status == 200));
        scope.spawn(move || check(&never, |status| status == 401 || status == 429));
        scope.spawn(move || check(&sometimes, |status| [200, 401, 429].contains(&status)));
        let _end = EndOnDrop(running);
        let mut has_all = true;
        until("the file was read often", || {
            has_all = !has_all;
            let text = if has_all { &with } else { &without };
            std::fs::write(&next, text).expect("file should be written");
            std::fs::rename(&next, file.path()).expect("file should be replaced");
            server.signal("HUP");
            // The server reads a version once the file has stopped changing.
            let read = reloads();
            until("the version is read", || reloads() > read);
            reloads() >= 6
        });
    });
}

#[test]
fn revoked_key_is_rejected_on_an_open_connection() {
    let mut file = KeyFile::new();
    let key = file.add("victim", &["token:make"]);
    let server = file.start();
    let mut caller = Caller::connect(&server);
    assert_eq!(caller.status(&key).0, 200);
    file.entries.clear();
    file.write();
    server.signal("HUP");
    until("the key is rejected", || caller.status(&key).0 != 200);
    // A key that expires while the connection is open.
    let (short, mut entry) = new_key("short", &["token:make"]);
    let soon = std::time::SystemTime::now() + Duration::from_secs(10);
    let soon = humantime::format_rfc3339_seconds(soon).to_string();
    entry["keys"][0]["expires"] = json!(soon);
    file.entries.push(entry);
    file.write();
    server.signal("HUP");
    until("the key is accepted", || caller.status(&short).0 == 200);
    until("the key has expired", || caller.status(&short).0 != 200);
}

/// One link switches certificate and key together. No handshake uses a certificate and a key of different versions.
#[test]
fn handshakes_succeed_while_certificates_are_switched() {
    use bulkhead_tests::tls::{Authority, request};
    let authority = Authority::default();
    let folder = tempfile::tempdir().expect("folder should be created");
    let path = |name: &str| folder.path().join(name);
    let mut versions = 0;
    let mut switch = || {
        versions += 1;
        let version = path(&versions.to_string());
        std::fs::create_dir(&version).expect("folder should be created");
        let identity = authority.issue("127.0.0.1");
        for (name, content) in [("tls.crt", identity.certificate), ("tls.key", identity.key)] {
            std::fs::write(version.join(name), content).expect("file should be written");
        }
        symlink(&version, path("next")).expect("link should be created");
        std::fs::rename(path("next"), path("data")).expect("link should be switched");
    };
    switch();
    let (certificate, key) = (path("data/tls.crt"), path("data/tls.key"));
    let arguments = [
        "--tls-cert",
        file_argument(&certificate),
        "--tls-key",
        file_argument(&key),
    ];
    // The test reads the log often.
    let variables = [("BULKHEAD_LOG", "info"), ("BULKHEAD_ACCESS_LOG", "off")];
    let server = Server::start_with(&arguments, &variables);
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                let response = request(server.address, &authority, None, "GET", "/livez", &[]);
                let response = response.expect("handshake should succeed");
                assert_eq!(response.status, 200);
            }
        });
        let _end = EndOnDrop(&running);
        let reloads = || server.log().matches("tls files read again").count();
        until("certificates were read often", || {
            let read = reloads();
            switch();
            server.signal("HUP");
            until("the version is read", || reloads() > read);
            reloads() >= 6
        });
    });
    let health = request(server.address, &authority, None, "GET", "/health", &[]);
    let health = health.expect("handshake should succeed").json();
    assert_eq!(health["tls"]["status"], "ok");
}
