//! A server of DNS, and connections that ask it.

use std::net::IpAddr;
use std::path::Path;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;
use crate::resolve::Sources;

/// What is said of a name.
pub(crate) enum Said {
    Addresses(Vec<&'static str>),
    /// Nothing, when asked for IPv6.
    OnlyFour(&'static str),
    NoSuchName,
    Failure,
    Nothing,
}

/// Answers over UDP; `say` gets names without their final dot. Gives the port.
pub(crate) async fn serve(mut say: impl FnMut(&str) -> Said + Send + 'static) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (octets, from) = socket.recv_from(&mut buffer).await.unwrap();
            let asked = Message::from_vec(&buffer[..octets]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
            answer.add_query(query.clone());
            match say(query.name().to_utf8().trim_end_matches('.')) {
                Said::Nothing => continue,
                Said::OnlyFour(_) if query.query_type() == RecordType::AAAA => continue,
                Said::OnlyFour(address) => {
                    let data = RData::from(address.parse::<IpAddr>().unwrap());
                    answer.add_answer(Record::from_rdata(query.name().clone(), 0, data));
                }
                Said::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
                Said::Failure => answer.metadata.response_code = ResponseCode::ServFail,
                Said::Addresses(addresses) => {
                    for address in addresses {
                        let address: IpAddr = address.parse().unwrap();
                        let kind = match address {
                            IpAddr::V4(_) => RecordType::A,
                            IpAddr::V6(_) => RecordType::AAAA,
                        };
                        if kind == query.query_type() {
                            let data = RData::from(address);
                            answer.add_answer(Record::from_rdata(query.name().clone(), 3600, data));
                        }
                    }
                }
            }
            let answer = answer.to_vec().unwrap();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    port
}

/// Files as if this machine used the server at `port`.
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

/// Connections of a machine that uses such a server.
pub(super) async fn outbound_asking(
    setup: &Setup,
    say: impl FnMut(&str) -> Said + Send + 'static,
) -> Outbound {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path(), serve(say).await, "");
    let outbound = Outbound::with_sources(setup, sources).unwrap();
    // The files are looked at again at each use.
    std::mem::forget(dir);
    outbound
}
