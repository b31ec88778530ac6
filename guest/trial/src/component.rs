//! The exports of the component.

#[expect(clippy::pedantic, reason = "generated from wit/")]
mod bindings {
    #[cfg(not(any(feature = "compatible", feature = "incompatible")))]
    wit_bindgen::generate!({
        path: ["../../wit/component", "../../wit/token"],
        world: "bulkhead:token/token",
        generate_all,
        export_macro_name: "export",
    });
    #[cfg(feature = "compatible")]
    wit_bindgen::generate!({
        path: ["../../wit/component", "wit/compatible"],
        world: "bulkhead:token/token",
        generate_all,
        export_macro_name: "export",
    });
    #[cfg(feature = "incompatible")]
    wit_bindgen::generate!({
        path: ["../../wit/component", "wit/incompatible"],
        world: "bulkhead:token/token",
        generate_all,
        export_macro_name: "export",
    });
}

use crate::{BEHAVIOUR, EDITION, WHICH};
use bindings::exports::bulkhead::component::about;
use bindings::exports::bulkhead::token::authenticator::{Algorithm, Guest};
use hmac::{Hmac, KeyInit as _, Mac as _};
use std::hint::black_box;

struct Component;

#[expect(
    unsafe_code,
    reason = "exported functions have fixed names, which Rust calls unsafe"
)]
mod exports {
    crate::component::bindings::export!(Component with_types_in crate::component::bindings);
    use super::Component;
}

/// Returns the behaviour in the file. `black_box` keeps the compiler from evaluating the constant.
fn behaviour() -> &'static str {
    black_box(BEHAVIOUR).trim_start_matches("behaviour=")
}

impl Guest for Component {
    fn make(algorithm: Algorithm, secret: Vec<u8>, body: Vec<u8>) -> String {
        match (behaviour(), body.as_slice()) {
            (_, WHICH) => black_box(EDITION).to_owned(),
            ("slow", _) => {
                idle();
                make(algorithm, &secret, &body)
            }
            ("loud", b"panic") => panic!("as loud as can be"),
            ("loud", _) => {
                use_streams();
                make(algorithm, &secret, &body)
            }
            ("liar", _) if body.len() > 4 => make(algorithm, &secret, &body[1..]),
            _ => make(algorithm, &secret, &body),
        }
    }

    fn verify(algorithm: Algorithm, secrets: Vec<Vec<u8>>, body: Vec<u8>, token: String) -> bool {
        secrets
            .iter()
            .any(|secret| make(algorithm, secret, &body).eq_ignore_ascii_case(&token))
    }

    #[cfg(feature = "compatible")]
    fn algorithms() -> Vec<Algorithm> {
        vec![Algorithm::Sha256]
    }

    #[cfg(feature = "incompatible")]
    fn revoke(_token: String) {}
}

impl about::Guest for Component {
    fn describe() -> about::Description {
        about::Description {
            name: "trial".into(),
            version: black_box(EDITION).into(),
            summary: match behaviour() {
                "vain" => "two\nlines".into(),
                _ => "Makes tokens, for tests".into(),
            },
        }
    }

    fn self_test() -> Result<(), String> {
        #[cfg(feature = "reaching")]
        reach();
        match behaviour() {
            "trap" => std::arch::wasm32::unreachable(),
            "loop" => loop {
                black_box(());
            },
            "grow" => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            "loud" => {
                use_streams();
                Ok(())
            }
            "fail" => Err("one of my\nanswers is wrong".into()),
            _ => Ok(()),
        }
    }
}

fn make(algorithm: Algorithm, secret: &[u8], body: &[u8]) -> String {
    macro_rules! mac {
        ($hash:ty) => {{
            let mut mac =
                <Hmac<$hash>>::new_from_slice(secret).expect("HMAC accepts keys of any length");
            mac.update(body);
            base16ct::lower::encode_string(&mac.finalize().into_bytes())
        }};
    }
    match algorithm {
        Algorithm::Sha1 => mac!(sha1::Sha1),
        Algorithm::Sha256 => mac!(sha2::Sha256),
        Algorithm::Sha384 => mac!(sha2::Sha384),
        Algorithm::Sha512 => mac!(sha2::Sha512),
    }
}

/// Uses standard input and both outputs.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the component prints on purpose"
)]
fn use_streams() {
    use std::io::Read as _;
    println!("good morning");
    eprintln!("{}", "is anybody there? ".repeat(10_000));
    let input = std::io::stdin().read_to_end(&mut Vec::new());
    assert_eq!(input.ok(), Some(0), "standard input should be empty");
}

/// Computes for some milliseconds.
fn idle() {
    let mut number = 1_u64;
    for _ in 0..20_000_000 {
        number = black_box(number.wrapping_mul(3));
    }
}

#[cfg(feature = "reaching")]
fn reach() {
    let _file = std::fs::read("/etc/passwd");
    let _peer = std::net::TcpStream::connect("127.0.0.1:1");
    black_box(std::time::Instant::now());
    black_box(std::time::SystemTime::now());
}
