//! What was promised, and whether it was kept, by the receivers' own log.

use crate::receivers::Delivery;
use crate::upstream::signature;
use bulkhead_store::RequestId;
use std::collections::BTreeMap;

/// Somebody was told that they will be told.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    #[expect(dead_code, reason = "for who reads the failure")]
    pub(crate) at_ms: i64,
    pub(crate) id: RequestId,
    pub(crate) message: String,
    pub(crate) callback: Option<String>,
}

/// A store may take so long to write down what a receiver said.
const COMMIT_MS: i64 = 60_000;

/// Whether a receiver took it, or wants no more of them.
pub(crate) fn kept(promise: &Promise, log: &[Delivery]) -> bool {
    let Some(url) = &promise.callback else {
        return true;
    };
    log.iter().any(|delivery| {
        let taken = (200..300).contains(&delivery.status) || delivery.status == 410;
        taken
            && delivery.id == promise.id.as_str()
            && delivery.url == *url
            && told(promise, delivery)
    })
}

/// Whether it says what it should.
fn told(promise: &Promise, delivery: &Delivery) -> bool {
    let expected = if promise.message.starts_with("refused") {
        "signature.failed".to_owned()
    } else {
        signature(&promise.message)
    };
    delivery.body.contains(&expected) && delivery.body.contains(&promise.message)
}

/// A receiver that took something, and was heard, gets it again only where who heard it died before
/// it could be written down.
pub(crate) fn check_deliveries(log: &[Delivery], deaths: &[(u64, i64)]) {
    let mut taken: BTreeMap<&str, &Delivery> = BTreeMap::new();
    for delivery in log {
        if let Some(before) = taken.get(delivery.id.as_str()) {
            let died = deaths
                .iter()
                .any(|(number, at_ms)| *number == before.by && *at_ms < before.at_ms + COMMIT_MS);
            assert!(died, "delivered again: {before:?}, {delivery:?}");
        }
        if (200..300).contains(&delivery.status) && delivery.heard {
            taken.insert(&delivery.id, delivery);
        }
    }
}
