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
    memory_octets: 256 << 20,
    time: Duration::from_secs(30),
};

/// What the component makes of a message.
fn ask(component: &Decryptor, message: &str) -> String {
    let opened = component.open(OpenRequest {
        message: message.as_bytes(),
        passphrase: b"topsecret",
        limits: DecryptLimits {
            plaintext_octets: 1 << 20,
            compression_layers: 4,
            compression_ratio: 4096,
            session_key_packets: 16,
            armor_header_octets: 1 << 16,
        },
        kdf_limits: KdfLimits {
            s2k_bytes: 64 << 20,
            ..KdfLimits::ZERO
        },
        cancel: CancelFlag::default(),
        kdf_offload: None,
    });
    let opened = opened.expect("the component should answer");
    String::from_utf8(opened.plaintext.to_vec()).expect("the answer should be text")
}

/// It must not matter whether the kernel can tell which pages were touched (Linux 6.7).
#[test]
fn no_memory_outlives_a_call_however_it_is_reset() {
    let setup = Setup {
        memory_octets_max: LIMITS.memory_octets,
        instances: 8,
    };
    let [hostile, healthy] = [HOSTILE, DECRYPT.wasm]
        .map(|wasm| Compiled::new(wasm).expect("the component should compile"));
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
                .expect("an instance should fit");
            let metrics = ComponentMetrics::unregistered();
            Decryptor::new(&sandbox, &loaded, LIMITS, metrics).expect("the component should link")
        };
        let component = link(&hostile);
        // The component finds its own copies of what it searches for.
        let own = ask(&component, "search");
        for _ in 0..10 {
            assert_eq!(ask(&component, "mark"), "marked");
            assert_eq!(ask(&component, "search"), own, "{name} pagemap_scan");
        }
        assert_eq!(ask(&link(&healthy), SAMPLE), "Nice work!\n");
    }
}
