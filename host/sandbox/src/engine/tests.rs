use super::{Sandbox, Setup};
use crate::admission::GuestComponent as _;
use crate::decrypt::{DecryptLimits, Decryptor, OpenRequest};
use crate::instance::InstanceLimits;
use crate::load::Compiled;
use crate::metrics::ComponentMetrics;
use bulkhead_artifacts::DECRYPT;
use bulkhead_crypto::KdfLimits;
use bulkhead_kdf::CancelFlag;
use bulkhead_test_components::HOSTILE;
use std::time::Duration;

const SAMPLE: &str = include_str!("../../../../guest/decrypt/src/sample.asc");

const LIMITS: InstanceLimits = InstanceLimits {
    memory_bytes: 256 << 20,
    time: Duration::from_secs(30),
};

/// Returns the plaintext of a message.
fn open(component: &Decryptor, message: &str) -> String {
    let opened = component.open(OpenRequest {
        message: message.as_bytes(),
        passphrase: b"topsecret",
        limits: DecryptLimits {
            plaintext_bytes: 1 << 20,
            compression_layers: 4,
            compression_ratio: 4096,
            session_key_packets: 16,
            armor_header_bytes: 1 << 16,
        },
        kdf_limits: KdfLimits {
            s2k_bytes: 64 << 20,
            ..KdfLimits::ZERO
        },
        cancel: CancelFlag::default(),
        kdf_offload: None,
        kdf_charge: None,
    });
    let opened = opened.expect("message should be opened");
    String::from_utf8(opened.plaintext.to_vec()).expect("plaintext should be UTF-8")
}

/// The result must not depend on whether the kernel can report which pages were written to (Linux 6.7).
#[test]
fn no_memory_outlives_a_call_however_it_is_reset() {
    let setup = Setup {
        memory_bytes_max: LIMITS.memory_bytes,
        instances: 8,
    };
    let [hostile, healthy] =
        [HOSTILE, DECRYPT.wasm].map(|wasm| Compiled::new(wasm).expect("component should compile"));
    for (name, sandbox) in [
        ("as served", Sandbox::new(&setup)),
        ("without", Sandbox::with_pagemap_scan(&setup, false)),
        ("with", Sandbox::with_pagemap_scan(&setup, true)),
    ] {
        let sandbox = match sandbox {
            Ok(sandbox) => sandbox,
            Err(_) if name == "with" => {
                eprintln!("not run with pagemap_scan: this kernel is older than Linux 6.7");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let link = |compiled: &Compiled| {
            let loaded = sandbox
                .load_compiled(compiled)
                .expect("component should be loaded");
            let metrics = ComponentMetrics::unregistered();
            Decryptor::new(&sandbox, &loaded, LIMITS, metrics).expect("component should link")
        };
        let component = link(&hostile);
        // The component always finds its own copies of the searched text.
        let own = open(&component, "search");
        for _ in 0..10 {
            assert_eq!(open(&component, "mark"), "marked");
            assert_eq!(open(&component, "search"), own, "{name} pagemap_scan");
        }
        assert_eq!(open(&link(&healthy), SAMPLE), "Nice work!\n");
    }
}
