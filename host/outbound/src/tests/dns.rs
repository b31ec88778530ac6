//! A DNS server, and clients that use it.

use std::net::IpAddr;
use std::path::Path;

use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;
use crate::resolve::Sources;

/// The response to a query.
pub(crate) enum Reply {
    /// Addresses that must not be kept.
    Addresses(Vec<&'static str>),
    /// Addresses that may be kept for an hour.
    Keep(Vec<&'static str>),
    /// An IPv4 address, and no response to queries for IPv6.
    OnlyIpv4(&'static str),
    /// An IPv6 address, and no response to queries for IPv4.
    OnlyIpv6(&'static str),
    NoSuchName,
    Failure,
    Nothing,
}

/// Starts a server over UDP and returns its port. `reply` receives names without their final dot.
pub(crate) async fn serve(mut reply: impl FnMut(&str) -> Reply + Send + 'static) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let request = Message::from_vec(&buffer[..length]).unwrap();
            let query = request.queries[0].clone();
            let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
            answer.add_query(query.clone());
            match reply(query.name().to_utf8().trim_end_matches('.')) {
                Reply::Nothing => continue,
                Reply::OnlyIpv4(_) if query.query_type() == RecordType::AAAA => continue,
                Reply::OnlyIpv6(_) if query.query_type() == RecordType::A => continue,
                Reply::OnlyIpv4(address) | Reply::OnlyIpv6(address) => {
                    add(&mut answer, &query, &[address], 0);
                }
                Reply::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
                Reply::Failure => answer.metadata.response_code = ResponseCode::ServFail,
                Reply::Addresses(addresses) => add(&mut answer, &query, &addresses, 0),
                Reply::Keep(addresses) => add(&mut answer, &query, &addresses, 3600),
            }
            let answer = answer.to_vec().unwrap();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    port
}

/// Adds the addresses that the query is for.
fn add(answer: &mut Message, query: &Query, addresses: &[&str], ttl: u32) {
    for address in addresses {
        let address: IpAddr = address.parse().unwrap();
        let kind = match address {
            IpAddr::V4(_) => RecordType::A,
            IpAddr::V6(_) => RecordType::AAAA,
        };
        if kind == query.query_type() {
            let data = RData::from(address);
            answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
        }
    }
}

/// Writes the configuration files of a machine that uses the DNS server at `port`.
pub(crate) fn sources(dir: &Path, port: u16, hosts: &str) -> Sources {
    let sources = Sources {
        resolv_conf: dir.join("resolv.conf"),
        hosts: dir.join("hosts"),
        port,
    };
    std::fs::write(&sources.resolv_conf, "nameserver 127.0.0.1\n").unwrap();
    std::fs::write(&sources.hosts, hosts).unwrap();
    sources
}

/// Returns a client that uses such a DNS server.
pub(super) async fn outbound_with_dns(
    setup: &Setup,
    reply: impl FnMut(&str) -> Reply + Send + 'static,
) -> Outbound {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path(), serve(reply).await, "");
    let outbound = Outbound::with_sources(setup, sources).unwrap();
    // The files are read again at each use.
    std::mem::forget(dir);
    outbound
}
