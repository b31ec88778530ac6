//! The command of `decrypt-offline.wasm`: it reads the body of a request to `/decryptMessage` on standard input and prints
//! the response of the server.
//!
//! The limits are the server's defaults, which the server's environment variables change. With the argument `--bytes`, the
//! command prints the plaintext itself. If the message is not decrypted, it prints a problem document. If the command is
//! called incorrectly, it prints nothing but a text on standard error. The exit status is 0 after success and 1 otherwise,
//! because WASI has no other.

mod bindings {
    #![expect(clippy::pedantic, reason = "generated from wit/")]
    wit_bindgen::generate!({
        inline: "
            package bulkhead:offline;
            world command {
                import bulkhead:decrypt/decryptor@0.2.0;
            }
        ",
        path: ["../../wit/component", "../../wit/crypto", "../../wit/decrypt"],
        generate_all,
    });
}

use bindings::bulkhead::decrypt::decryptor;
use bulkhead_envelope::{
    Evidence, Excess, InvalidLimit, Limit, Problem, Request, Setting, Wiped, decrypted_response,
    parse_size, problem_kind,
};
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

const BODY_MAX: Setting = Setting::new("body_max");
const BODY_MAX_DEFAULT: &str = "32MiB";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let as_bytes = match arguments.as_slice() {
        [] => false,
        [argument] if argument == "--bytes" => true,
        _ => {
            return usage_error(
                "the only argument is --bytes; write the request to standard input",
            );
        }
    };
    let (limits, body_max) = match limits() {
        Ok(limits) => limits,
        Err(error) => return usage_error(&error.to_string()),
    };
    let (response, status) = match respond(&limits, body_max, as_bytes) {
        Ok(response) => (response, ExitCode::SUCCESS),
        Err(problem) => {
            let document = problem.document().to_string() + "\n";
            (Wiped::from(document.into_bytes()), ExitCode::FAILURE)
        }
    };
    match std::io::stdout().write_all(&response) {
        Ok(()) => status,
        Err(error) => usage_error(&format!("cannot write the response: {error}")),
    }
}

/// Reports an error that is not a property of the request.
fn usage_error(error: &str) -> ExitCode {
    // If this fails, the error cannot be reported anywhere else.
    let _ = writeln!(std::io::stderr(), "decrypt-offline: {error}");
    ExitCode::FAILURE
}

fn respond(limits: &decryptor::Limits, body_max: u64, as_bytes: bool) -> Result<Wiped, Problem> {
    let mut body = Wiped::default();
    // One more byte distinguishes a body that is too large from one of the maximum size.
    let mut input = std::io::stdin().take(body_max.saturating_add(1));
    std::io::copy(&mut input, &mut body).map_err(|error| unreadable(&error))?;
    if body.len() as u64 > body_max {
        return Err(Problem::body_too_large(body_max));
    }
    let request = Request::parse(&body)?;
    let opened = decryptor::open(request.message.as_bytes(), &request.passphrase, *limits)
        .map_err(problem)?;
    let plaintext = Wiped::from(opened.plaintext);
    if as_bytes {
        return Ok(plaintext);
    }
    let text = std::str::from_utf8(&plaintext).map_err(|_| {
        Problem::not_text(
            "Use the argument --bytes to receive the bytes.",
            opened.is_openpgp,
        )
    })?;
    Ok(decrypted_response(text))
}

fn unreadable(error: &std::io::Error) -> Problem {
    let detail = format!("Standard input cannot be read: {error}.");
    Problem::new(&problem_kind::BODY_INCOMPLETE, detail)
}

/// Returns the limits of the component, and the maximum size of the body in bytes.
fn limits() -> Result<(decryptor::Limits, u64), InvalidLimit> {
    let given = |variable: &str| std::env::var(variable).ok();
    let allowed = |limit: Limit| limit.allowed(given(&limit.setting().variable()).as_deref());
    let count = |limit: Limit| {
        let setting = limit.setting();
        u32::try_from(allowed(limit)?).map_err(|_| InvalidLimit::TooLarge { setting })
    };
    // The crypto component reads these variables, but it cannot report errors.
    for limit in [Limit::S2kBytes, Limit::Argon2MemoryKib, Limit::Argon2Passes] {
        allowed(limit)?;
    }
    let body = given(&BODY_MAX.variable());
    let body_max = parse_size(body.as_deref().unwrap_or(BODY_MAX_DEFAULT)).map_err(|source| {
        let setting = BODY_MAX;
        InvalidLimit::Size { setting, source }
    })?;
    let limits = decryptor::Limits {
        plaintext_bytes: allowed(Limit::PlaintextBytes)?,
        compression_layers: count(Limit::CompressionLayers)?,
        compression_ratio: count(Limit::CompressionRatio)?,
        session_key_packets: count(Limit::SessionKeyPackets)?,
        armor_header_bytes: count(Limit::ArmorHeaderBytes)?,
    };
    Ok((limits, body_max))
}

fn problem(rejection: decryptor::Rejection) -> Problem {
    match rejection {
        decryptor::Rejection::NotOpenpgp(evidence) => Problem::not_openpgp(match evidence {
            decryptor::Evidence::Nothing => Evidence::Nothing,
            decryptor::Evidence::Binary => Evidence::Binary,
            decryptor::Evidence::Pem => Evidence::Pem,
            decryptor::Evidence::Signature => Evidence::Signature,
            decryptor::Evidence::Key => Evidence::Key,
        }),
        decryptor::Rejection::Damaged(place) => Problem::damaged_message(&place),
        decryptor::Rejection::Unsupported(why) => Problem::unsupported_message(&why),
        decryptor::Rejection::Undecryptable => Problem::undecryptable(),
        decryptor::Rejection::TooCostly(excess) => Problem::over_limit(Excess {
            limit: match excess.limit {
                decryptor::Limit::PlaintextBytes => Limit::PlaintextBytes,
                decryptor::Limit::CompressionLayers => Limit::CompressionLayers,
                decryptor::Limit::CompressionRatio => Limit::CompressionRatio,
                decryptor::Limit::SessionKeyPackets => Limit::SessionKeyPackets,
                decryptor::Limit::ArmorHeaderBytes => Limit::ArmorHeaderBytes,
                decryptor::Limit::S2kBytes => Limit::S2kBytes,
                decryptor::Limit::Argon2MemoryKib => Limit::Argon2MemoryKib,
                decryptor::Limit::Argon2Passes => Limit::Argon2Passes,
            },
            requested: excess.requested,
            allowed: excess.allowed,
        }),
    }
}
