//! Measures hashing alone: bytes per second on one thread, for each path, compared with OpenSSL.

use bulkhead_crypto::{Hash, S2k};
use bulkhead_kdf::{CallerId, CancelFlag, Cancellation, Engine, KdfMetrics, Path, Setup};
use std::process::Command;
use std::time::{Duration, Instant};

/// The hashes and their names in OpenSSL.
const HASHES: [(Hash, &str); 3] = [
    (Hash::Sha1, "sha1"),
    (Hash::Sha256, "sha256"),
    (Hash::Sha512, "sha512"),
];

/// The maximum coded count (RFC 9580 section 3.7.1.3).
const BYTES: u32 = 65_011_712;

const STREAMS: [u8; 6] = [1, 2, 4, 8, 16, 32];

const TURNS: usize = 3;

/// Prints a table for each hash: one row per path, one column per number of concurrent streams.
pub(crate) fn measure() {
    for (hash, openssl) in HASHES {
        println!(
            "\n{openssl}, GB/s of one thread (best of {TURNS} turns), by streams side by side"
        );
        print!("  {:<22}", "");
        for streams in STREAMS {
            print!("{streams:>8}");
        }
        println!();
        let choices = Path::ALL.map(Some).into_iter().chain([None]);
        let mut rows: Vec<_> = choices
            .map(|path| (path, [0.0_f64; STREAMS.len()]))
            .collect();
        let mut by_openssl = 0.0_f64;
        for _ in 0..TURNS {
            by_openssl = by_openssl.max(openssl_speed(openssl).unwrap_or(0.0));
            for (path, rates) in &mut rows {
                if path.is_none_or(Path::is_available) {
                    for (rate, streams) in rates.iter_mut().zip(STREAMS) {
                        *rate = rate.max(rate_of(*path, hash, streams));
                    }
                }
            }
        }
        if by_openssl > 0.0 {
            println!("  {:<22}{by_openssl:>8.2}", "openssl speed");
        } else {
            println!("  openssl speed: not measured, openssl is missing");
        }
        for (path, rates) in rows {
            let name = path.map_or("auto", Path::name);
            if path.is_some_and(|path| !path.is_available()) {
                println!("  {name}: not measured, this processor does not support it");
                continue;
            }
            print!("  {name:<22}");
            for rate in rates {
                print!("{rate:>8.2}");
            }
            println!();
        }
    }
}

/// Returns the rate of `streams` concurrent derivations.
fn rate_of(path: Option<Path>, hash: Hash, streams: u8) -> f64 {
    let setup = Setup {
        threads: 1,
        path,
        bytes_max: u64::MAX,
    };
    let engine = Engine::new(setup, KdfMetrics::unregistered()).expect("a thread");
    let cancellation = Cancellation {
        flag: CancelFlag::default(),
        deadline: Instant::now() + Duration::from_mins(5),
    };
    // A quarter of the maximum, to keep the run short.
    let bytes = BYTES / 4;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..streams {
            let (engine, cancellation) = (&engine, &cancellation);
            scope.spawn(move || {
                let salt = [number; 8];
                let s2k = S2k::new(hash, &salt, b"topsecret", bytes, hash.digest_len());
                let key = engine.derive(&s2k.expect("valid"), CallerId::UNKNOWN, cancellation);
                assert_eq!(key.expect("derived").len(), hash.digest_len());
            });
        }
    });
    f64::from(streams) * f64::from(bytes) / start.elapsed().as_secs_f64() / 1e9
}

/// Returns the rate of one stream in GB/s.
fn openssl_speed(hash: &str) -> Option<f64> {
    let output = Command::new("openssl")
        .args([
            "speed", "-mr", "-seconds", "1", "-bytes", "65536", "-evp", hash,
        ])
        .output()
        .ok()?;
    // The last line ends with the rate in bytes per second.
    let text = String::from_utf8_lossy(&output.stdout);
    let rate: f64 = text.lines().last()?.rsplit(':').next()?.parse().ok()?;
    Some(rate / 1e9)
}
