//! Compares programs that decrypt messages: gpg as a process, rpgp natively and in Wasm, and the
//! server over HTTP.

use crate::compare::{Contestant, side_by_side};
use crate::messages::{self, Message, PASSPHRASE};
use bulkhead_sandbox::{
    CancelFlag, ComponentMetrics, DecryptLimits, Decryptor, GuestComponent as _, InstanceLimits,
    KdfLimits, OpenRequest, Sandbox, Setup,
};
use bulkhead_tests::server::Server;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// The plaintext size from which a message counts as large.
const LARGE_BYTES: usize = 1_000_000;

/// Prints a table for each message. Returns whether all targets were met.
pub(crate) fn compare_all(rpgp_wasm: &Path, rounds: u32) -> bool {
    let scratch = tempfile::tempdir().expect("temporary directory should be created");
    let sandbox = sandbox();
    let rpgp_wasm =
        std::fs::read(rpgp_wasm).expect("bench/run.sh should have built rpgp as a component");
    let rpgp_wasm = load(&sandbox, &rpgp_wasm);
    let server = Server::start(&[]);
    let mut met = true;
    for message in messages::all(scratch.path()) {
        let rounds = if message.plaintext.len() >= LARGE_BYTES {
            rounds.div_ceil(2)
        } else {
            rounds
        };
        let Ok(plaintext) = std::str::from_utf8(&message.plaintext) else {
            unreachable!("all plaintexts are UTF-8");
        };
        let request = json!({"passphrase": PASSPHRASE, "message": message.text}).to_string();
        let response = json!({"DecryptedMessage": plaintext})
            .to_string()
            .into_bytes();
        let expected = &message.plaintext[..];
        let contestants = &mut [
            Contestant {
                name: "gpg, a process",
                run: Box::new(|| gpg(scratch.path(), &message)),
                expected,
                target: None,
            },
            Contestant {
                name: "rpgp native, in this process",
                run: Box::new(|| {
                    bulkhead_bench_rpgp::open(message.text.as_bytes(), PASSPHRASE)
                        .expect("rpgp should open the message")
                }),
                expected,
                target: None,
            },
            Contestant {
                name: "rpgp in Wasm, no host crypto",
                run: Box::new(|| in_sandbox(&rpgp_wasm, &message)),
                expected,
                target: None,
            },
            Contestant {
                name: "Bulkhead, over HTTP",
                run: Box::new(|| server.post(&request, &[]).body),
                expected: &response,
                target: message.target,
            },
        ];
        met &= side_by_side(message.title, rounds, contestants);
    }
    met
}

fn gpg(scratch: &Path, message: &Message) -> Vec<u8> {
    let output = messages::gpg(scratch)
        .arg("--decrypt")
        .arg(&message.file)
        .output();
    output.expect("gpg should run").stdout
}

fn sandbox() -> Sandbox {
    Sandbox::new(&Setup {
        memory_bytes_max: LIMITS.memory_bytes,
        instances: 1,
    })
    .expect("address space should be reserved")
}

const LIMITS: InstanceLimits = InstanceLimits {
    memory_bytes: 1 << 30,
    time: Duration::from_mins(1),
};

fn load(sandbox: &Sandbox, wasm: &[u8]) -> Decryptor {
    sandbox
        .load(wasm, None)
        .and_then(|loaded| {
            Decryptor::new(sandbox, &loaded, LIMITS, ComponentMetrics::unregistered())
        })
        .expect("component should load")
}

fn in_sandbox(decryptor: &Decryptor, message: &Message) -> Vec<u8> {
    let limits = DecryptLimits {
        plaintext_bytes: 1 << 30,
        compression_layers: 1,
        compression_ratio: u32::MAX,
        session_key_packets: 1,
        armor_header_bytes: 1 << 20,
    };
    let kdf = KdfLimits {
        s2k_bytes: u64::MAX,
        argon2_memory_kib: 0,
        argon2_passes: 0,
    };
    let opened = decryptor.open(OpenRequest {
        message: message.text.as_bytes(),
        passphrase: PASSPHRASE.as_bytes(),
        limits,
        kdf_limits: kdf,
        cancel: CancelFlag::default(),
        kdf_offload: None,
        kdf_charge: None,
    });
    opened.expect("rpgp in Wasm opens it").plaintext.to_vec()
}
