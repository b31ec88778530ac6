//! Notifications: the loop that claims them, sends them and stores the results.

use crate::core::{FAULT_WAIT_MS, Relay, STORE_PAUSE_MS, report_fault};
use crate::decision::of_delivering;
use crate::environment::{CallResult, Environment, Point};
use crate::settings::WebhookSecret;
use bulkhead_sandbox::{Delivery, Event, SigningComponent};
use bulkhead_store::{BootMillis, Claim, Notification, NotificationOutcome};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The header with the signatures of a webhook (Standard Webhooks 1.0).
const SIGNATURE: &str = "webhook-signature";

/// Number of running notifications of this process, by host.
#[derive(Clone, Default)]
struct UnderWay(Arc<Mutex<BTreeMap<String, u32>>>);

/// The notifications that may start now: at most `max`, and none for the `busy` hosts.
struct Capacity {
    max: u32,
    busy: Vec<String>,
}

impl UnderWay {
    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, host: &str) {
        *self.hosts().entry(host.to_owned()).or_default() += 1;
    }

    fn end(&self, host: &str) {
        let mut hosts = self.hosts();
        let left = hosts.get(host).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            hosts.remove(host);
        } else {
            hosts.insert(host.to_owned(), left);
        }
    }

    /// Returns how many notifications may start. No host exceeds `host_max`, even if all of them are for
    /// the same host.
    fn capacity(&self, all_max: u32, host_max: u32) -> Capacity {
        let hosts = self.hosts();
        let free = all_max.saturating_sub(hosts.values().sum());
        let (busy, others): (Vec<_>, Vec<_>) =
            hosts.iter().partition(|(_, count)| **count >= host_max);
        let fullest = others.iter().map(|(_, count)| **count).max().unwrap_or(0);
        Capacity {
            max: free.min(host_max - fullest),
            busy: busy.into_iter().map(|(host, _)| host.clone()).collect(),
        }
    }
}

/// Claims due notifications and starts an attempt for each, forever.
pub(crate) async fn make<W: Environment>(relay: Arc<Relay<W>>) {
    let under_way = UnderWay::default();
    loop {
        let looking = relay.tasks.begin();
        let wait_ms = match begin(&relay, &under_way).await {
            Claim::Acquired(claimed) => {
                for notification in claimed {
                    let host = notification.callback.host.clone();
                    under_way.begin(&host);
                    let (relay, under_way) = (Arc::clone(&relay), under_way.clone());
                    let (environment, task) = (Arc::clone(&relay.environment), relay.tasks.begin());
                    environment.spawn(Box::pin(async move {
                        make_one(&relay, notification).await;
                        drop(task);
                        under_way.end(&host);
                        relay.notify.notify_one();
                    }));
                }
                continue;
            }
            Claim::RetryAfter { after_ms } => relay.pause_ms(after_ms),
        };
        drop(looking);
        tokio::select! {
            biased;
            () = relay.notify.notified() => {}
            () = relay.sleep_ms(wait_ms) => {}
        }
    }
}

async fn begin<W: Environment>(relay: &Relay<W>, under_way: &UnderWay) -> Claim<Vec<Notification>> {
    let settings = &relay.settings;
    let capacity = under_way.capacity(settings.webhooks_max, settings.webhooks_per_host_max);
    if capacity.max == 0 || relay.tasks.are_ending() {
        return Claim::RetryAfter { after_ms: None };
    }
    let claimed = relay
        .store
        .claim_notifications(capacity.max, capacity.busy, relay.environment.now())
        .await;
    relay.noted(claimed).unwrap_or(Claim::RetryAfter {
        after_ms: Some(STORE_PAUSE_MS),
    })
}

async fn make_one<W: Environment>(relay: &Relay<W>, notification: Notification) {
    relay.environment.reached(Point::NotificationClaimed);
    let outcome = send(relay, &notification).await;
    relay.environment.reached(Point::Notified);
    relay
        .persist(|now| {
            let lease = notification.lease.clone();
            relay.store.finish_notification(lease, outcome.clone(), now)
        })
        .await;
    relay.environment.reached(Point::NotificationFinished);
}

async fn send<W: Environment>(
    relay: &Relay<W>,
    notification: &Notification,
) -> NotificationOutcome {
    let fault = |fault| NotificationOutcome::Retry {
        after_ms: FAULT_WAIT_MS,
        why: report_fault(&fault),
    };
    let now = relay.environment.now();
    let request = notification.lease.request.as_str();
    let event = Event {
        request: request.to_owned(),
        message: notification.message.clone(),
        outcome: notification.outcome.clone(),
        since_ms: u64::try_from(notification.finished_at.0).unwrap_or(0),
    };
    let now_ms = u64::try_from(now.wall.0).unwrap_or(0);
    let component = relay.components.current();
    // The request's id is unique and the same for all attempts, so that receivers can recognise repetitions.
    let build = |secret: Option<&WebhookSecret>| {
        component.webhook(request, &event, secret.map(|secret| &secret.0[..]), now_ms)
    };
    let secrets = relay.settings.webhook_secrets.current();
    let mut delivery = match build(secrets.first()) {
        Ok(delivery) => delivery,
        Err(ended) => return fault(ended),
    };
    for previous in secrets.iter().skip(1) {
        match build(Some(previous)) {
            Ok(other) => add_signature(&mut delivery, &other),
            Err(ended) => return fault(ended),
        }
    }
    let until = BootMillis(now.boot.0 + i64::from(relay.settings.webhook_ms));
    let result = relay
        .environment
        .deliver(
            notification.callback.clone(),
            delivery,
            notification.trace.clone(),
            until,
        )
        .await;
    relay.metrics.record_delivery(&result);
    outcome(relay, &component, notification, result).unwrap_or_else(fault)
}

/// Adds the signature of another secret to the header (Standard Webhooks 1.0: a list, separated by spaces).
/// Adds nothing if the component has built two different requests.
fn add_signature(delivery: &mut Delivery, other: &Delivery) {
    let is_signature = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(SIGNATURE);
    let same_rest = delivery.body == other.body
        && delivery
            .headers
            .iter()
            .filter(|header| !is_signature(header))
            .eq(other.headers.iter().filter(|header| !is_signature(header)));
    let Some((_, addition)) = other.headers.iter().find(is_signature) else {
        return;
    };
    let mut headers = delivery.headers.iter_mut();
    let signature = headers.find(|(name, _)| name.eq_ignore_ascii_case(SIGNATURE));
    if let (true, Some((_, value))) = (same_rest, signature) {
        value.push(' ');
        value.push_str(addition);
    }
}

fn outcome<W: Environment>(
    relay: &Relay<W>,
    component: &SigningComponent,
    notification: &Notification,
    result: CallResult,
) -> Result<NotificationOutcome, bulkhead_sandbox::Fault> {
    let (reply, precise_reason) = result.into_reply();
    let situation = relay.situation(notification.number, notification.first_attempt_at);
    let delivering = component.read_webhook(&reply, situation)?;
    Ok(of_delivering(delivering, precise_reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_one_request_are_joined() {
        let delivery = |timestamp: &str, signature: Option<&str>| {
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let signature = signature.map(|value| header(SIGNATURE, value));
            let headers = [header("webhook-timestamp", timestamp)];
            Delivery {
                headers: headers.into_iter().chain(signature).collect(),
                body: b"{}".to_vec(),
            }
        };
        let joined = |mut first: Delivery, other: Delivery| {
            add_signature(&mut first, &other);
            first.headers.pop().expect("there should be a header").1
        };
        let first = || delivery("1", Some("v1,a"));
        assert_eq!(joined(first(), delivery("1", Some("v1,b"))), "v1,a v1,b");
        assert_eq!(joined(first(), delivery("2", Some("v1,b"))), "v1,a");
        assert_eq!(joined(first(), delivery("1", None)), "v1,a");
        assert_eq!(joined(delivery("1", None), first()), "1");
    }

    #[test]
    fn notifications_are_limited_per_host_and_do_not_block_other_hosts() {
        let under_way = UnderWay::default();
        assert_eq!(under_way.capacity(10, 4).max, 4);
        for _ in 0..3 {
            under_way.begin("a");
        }
        assert_eq!(under_way.capacity(10, 4).max, 1);
        under_way.begin("a");
        let capacity = under_way.capacity(10, 4);
        assert_eq!((capacity.max, capacity.busy), (4, vec!["a".to_owned()]));
        assert_eq!(under_way.capacity(5, 4).max, 1);
        assert_eq!(under_way.capacity(4, 4).max, 0);
        under_way.end("a");
        under_way.end("a");
        let capacity = under_way.capacity(10, 4);
        assert_eq!((capacity.max, capacity.busy), (2, Vec::new()));
    }
}
