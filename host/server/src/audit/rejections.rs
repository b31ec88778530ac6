//! Rejected requests without a line of their own, counted by the address of the client. Even a flood of them adds only a
//! few lines in each interval.

use crate::client_address::ClientNetwork;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Maximum number of addresses with a line of their own in each interval.
const ADDRESSES_MAX: usize = 100;

/// The number of requests by the code of their problem. The number of codes is small and fixed.
type Codes = BTreeMap<&'static str, u64>;

/// The requests since the last line.
#[derive(Debug, Default)]
pub(super) struct Rejections(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_client: HashMap<ClientNetwork, Codes>,
    /// The requests of all further addresses.
    others: Codes,
}

/// A line of the audit log.
#[derive(Serialize)]
struct Line {
    time: String,
    event: &'static str,
    client: String,
    count: u64,
    codes: Codes,
}

impl Rejections {
    pub(super) fn count(&self, client: ClientNetwork, code: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { by_client, others } = &mut *counts;
        let codes = if by_client.len() < ADDRESSES_MAX || by_client.contains_key(&client) {
            by_client.entry(client).or_default()
        } else {
            others
        };
        *codes.entry(code).or_default() += 1;
    }

    /// Returns the lines of the requests since the last call, each with a line break.
    pub(super) fn take_lines(&self, now: SystemTime) -> Vec<Vec<u8>> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let others = Some(counts.others).filter(|codes| !codes.is_empty());
        let others = others.map(|codes| ("others".to_owned(), codes));
        let clients = counts.by_client.into_iter();
        let clients = clients.map(|(client, codes)| (client.to_string(), codes));
        let lines = clients.chain(others).map(|(client, codes)| {
            super::line(&Line {
                time: humantime::format_rfc3339_millis(now).to_string(),
                event: "rejections",
                client,
                count: codes.values().sum(),
                codes,
            })
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::net::{IpAddr, Ipv4Addr};

    fn lines(rejections: &Rejections) -> Vec<Value> {
        let lines = rejections.take_lines(SystemTime::UNIX_EPOCH);
        let mut lines: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_slice(line).expect("line should be JSON"))
            .collect();
        lines.sort_by_key(|line| line["client"].to_string());
        lines
    }

    #[test]
    fn rejections_are_counted_by_address_and_code_until_they_are_taken() {
        let rejections = Rejections::default();
        assert!(lines(&rejections).is_empty());
        let client = |number| ClientNetwork::of(Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, number))));
        for _ in 0..1000 {
            rejections.count(client(1), "unauthenticated");
        }
        rejections.count(client(1), "not_found");
        rejections.count(client(2), "unauthenticated");
        assert_eq!(
            lines(&rejections),
            [
                serde_json::json!({
                    "time": "1970-01-01T00:00:00.000Z", "event": "rejections", "client": "192.0.2.1",
                    "count": 1001, "codes": {"unauthenticated": 1000, "not_found": 1},
                }),
                serde_json::json!({
                    "time": "1970-01-01T00:00:00.000Z", "event": "rejections", "client": "192.0.2.2",
                    "count": 1, "codes": {"unauthenticated": 1},
                }),
            ]
        );
        assert!(lines(&rejections).is_empty());
    }

    #[test]
    fn number_of_lines_is_limited() {
        let rejections = Rejections::default();
        for number in 0..10_000 {
            let client = ClientNetwork::of(Some(IpAddr::V4(Ipv4Addr::from_bits(number))));
            rejections.count(client, "unauthenticated");
        }
        let lines = lines(&rejections);
        assert_eq!(lines.len(), ADDRESSES_MAX + 1);
        let others = lines.iter().find(|line| line["client"] == "others");
        let others = others.expect("there should be a line for others");
        assert_eq!(others["count"], 10_000 - ADDRESSES_MAX);
    }
}
