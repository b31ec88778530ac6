//! Checks of promised notifications against the deliveries that receivers received.

use crate::receivers::Delivery;
use crate::upstream::signature;
use bulkhead_store::{Owner, RequestId};
use std::collections::BTreeMap;

/// A request was pending at the end of its call, so that its callback must be notified.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    #[expect(dead_code, reason = "for the reader of a failure")]
    pub(crate) at_ms: i64,
    pub(crate) id: RequestId,
    pub(crate) owner: Option<Owner>,
    pub(crate) message: String,
    pub(crate) callback: Option<String>,
}

/// Maximum time to store the response of a receiver.
const COMMIT_MS: i64 = 60_000;

/// Returns whether the receiver accepted the notification, or wants no more notifications (410).
pub(crate) fn kept(promise: &Promise, deliveries: &[Delivery]) -> bool {
    let Some(url) = &promise.callback else {
        return true;
    };
    deliveries.iter().any(|delivery| {
        let accepted = (200..300).contains(&delivery.status) || delivery.status == 410;
        accepted
            && delivery.id == promise.id.as_str()
            && delivery.url == *url
            && has_result(promise, delivery)
    })
}

/// Returns whether the delivery contains the message and its result.
fn has_result(promise: &Promise, delivery: &Delivery) -> bool {
    let expected = if promise.message.starts_with("refused") {
        "signature.failed".to_owned()
    } else {
        signature(&promise.message)
    };
    delivery.body.contains(&expected) && delivery.body.contains(&promise.message)
}

/// Checks that no request was returned to two owners.
pub(crate) fn check_owners(promises: &[Promise]) {
    let mut owners = BTreeMap::new();
    for promise in promises {
        let owner = owners.entry(&promise.id).or_insert(&promise.owner);
        assert_eq!(*owner, &promise.owner, "{promise:?}");
    }
}

/// Checks that a receiver whose acceptance reached the relay gets the notification again only if that
/// process died before it could store the acceptance.
pub(crate) fn check_deliveries(deliveries: &[Delivery], deaths: &[(u64, i64)]) {
    let mut accepted: BTreeMap<&str, &Delivery> = BTreeMap::new();
    for delivery in deliveries {
        if let Some(before) = accepted.get(delivery.id.as_str()) {
            let died = deaths
                .iter()
                .any(|(number, at_ms)| *number == before.by && *at_ms < before.at_ms + COMMIT_MS);
            assert!(died, "delivered again: {before:?}, {delivery:?}");
        }
        if (200..300).contains(&delivery.status) && delivery.response_arrived {
            accepted.insert(&delivery.id, delivery);
        }
    }
}
