//! The command of `decrypt-offline.wasm`: reads the body of a request to `/decryptMessage` on standard
//! input and prints what the server would answer.
//!
//! Limits are the server's defaults, unless the environment names others. With the argument `--octets`
//! the plaintext itself is printed. What is no plaintext is a problem document, and the exit status 1. WASI knows no other: where the command itself was
//! called wrongly, the text on standard error tells, and nothing is printed.

mod bindings {
    #![expect(clippy::pedantic, reason = "generated from wit/")]
    wit_bindgen::generate!({
        inline: "
            package bulkhead:offline;
            world command {
                import bulkhead:decrypt/decryptor@1.0.0;
            }
        ",
        path: ["../../wit/component", "../../wit/crypto", "../../wit/decrypt"],
        generate_all,
    });
}

use bindings::bulkhead::decrypt::decryptor;
use bulkhead_envelope::{Excess, Limit, Problem, Request, Wiped, octets, opened};
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

const BODY_MAX: &str = "BULKHEAD_BODY_MAX";
const BODY_MAX_DEFAULT: &str = "32MiB";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let as_octets = match arguments.as_slice() {
        [] => false,
        [argument] if argument == "--octets" => true,
        _ => {
            return wrong("the only argument is --octets; a request comes on standard input");
        }
    };
    let (limits, body_max) = match limits() {
        Ok(limits) => limits,
        Err(what) => return wrong(&what),
    };
    let (answer, status) = match answer(&limits, body_max, as_octets) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(problem) => {
            let document = problem.document().to_string() + "\n";
            (Wiped::from(document.into_bytes()), ExitCode::FAILURE)
        }
    };
    match std::io::stdout().write_all(&answer) {
        Ok(()) => status,
        Err(error) => wrong(&format!("the answer cannot be written: {error}")),
    }
}

/// For what is wrong with the command, not with the request.
fn wrong(what: &str) -> ExitCode {
    let _nowhere_else = writeln!(std::io::stderr(), "decrypt-offline: {what}");
    ExitCode::FAILURE
}

fn answer(limits: &decryptor::Limits, body_max: u64, as_octets: bool) -> Result<Wiped, Problem> {
    let mut body = Wiped::default();
    // An octet more tells a body that is too large from one that is just not.
    let mut input = std::io::stdin().take(body_max.saturating_add(1));
    std::io::copy(&mut input, &mut body).map_err(|error| unreadable(&error))?;
    if body.len() as u64 > body_max {
        return Err(Problem::body_too_large(body_max));
    }
    let request = Request::parse(&body)?;
    let plaintext = decryptor::open(request.message.as_bytes(), &request.passphrase, *limits)
        .map(Wiped::from)
        .map_err(problem)?;
    if as_octets {
        return Ok(plaintext);
    }
    let text = std::str::from_utf8(&plaintext)
        .map_err(|_| Problem::not_text("Ask for the octets with the argument --octets."))?;
    Ok(opened(text))
}

fn unreadable(error: &std::io::Error) -> Problem {
    let detail = format!("Standard input cannot be read: {error}.");
    Problem::new(400, "body_incomplete", "Body broken off", detail)
}

/// The limits of the component, and the one on the body.
fn limits() -> Result<(decryptor::Limits, u64), String> {
    let given = |variable: &str| std::env::var(variable).ok();
    let allowed = |limit: Limit| limit.allowed(given(&limit.variable()).as_deref());
    let count = |limit: Limit| {
        u32::try_from(allowed(limit)?).map_err(|_| format!("{}: too large", limit.variable()))
    };
    // These are for the crypto that the component is composed with, which cannot complain.
    for limit in [
        Limit::S2kOctets,
        Limit::Argon2MemoryKib,
        Limit::Argon2Passes,
    ] {
        allowed(limit)?;
    }
    let body = given(BODY_MAX);
    let body_max = octets(body.as_deref().unwrap_or(BODY_MAX_DEFAULT))
        .map_err(|error| format!("{BODY_MAX}: {error}"))?;
    let limits = decryptor::Limits {
        plaintext_octets: allowed(Limit::PlaintextOctets)?,
        compression_layers: count(Limit::CompressionLayers)?,
        compression_ratio: count(Limit::CompressionRatio)?,
        session_key_packets: count(Limit::SessionKeyPackets)?,
        armor_header_octets: count(Limit::ArmorHeaderOctets)?,
    };
    Ok((limits, body_max))
}

fn problem(refusal: decryptor::Refusal) -> Problem {
    match refusal {
        decryptor::Refusal::NotOpenpgp => Problem::not_openpgp(),
        decryptor::Refusal::Unsupported(why) => Problem::unsupported_message(&why),
        decryptor::Refusal::Undecryptable => Problem::undecryptable(),
        decryptor::Refusal::TooCostly(excess) => Problem::over_limit(Excess {
            limit: match excess.limit {
                decryptor::Limit::PlaintextOctets => Limit::PlaintextOctets,
                decryptor::Limit::CompressionLayers => Limit::CompressionLayers,
                decryptor::Limit::CompressionRatio => Limit::CompressionRatio,
                decryptor::Limit::SessionKeyPackets => Limit::SessionKeyPackets,
                decryptor::Limit::ArmorHeaderOctets => Limit::ArmorHeaderOctets,
                decryptor::Limit::S2kOctets => Limit::S2kOctets,
                decryptor::Limit::Argon2MemoryKib => Limit::Argon2MemoryKib,
                decryptor::Limit::Argon2Passes => Limit::Argon2Passes,
            },
            asked: excess.asked,
            allowed: excess.allowed,
        }),
    }
}
