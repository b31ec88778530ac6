//! Addresses that are not those of an ordinary host in the public internet.
//!
//! The ranges are those of the two special-purpose registries of IANA, including those that the
//! registries call globally reachable, because no host there receives callbacks. The multicast and
//! reserved blocks are added. Every form of IPv6 address that contains an IPv4 address is added,
//! too, because an unknown translator or tunnel decides which host it reaches. A NAT64 prefix of a
//! network's own (RFC 6052, section 2.2) looks like any other address and is not recognised.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

/// A range of addresses to which callbacks are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Special {
    /// The purpose of the range, phrased to follow "the address is".
    pub purpose: &'static str,
    /// The range in CIDR notation if it has one; otherwise a short name.
    pub range: &'static str,
}

/// The ranges and their purposes. The first range that contains an address is returned, so that
/// narrow ranges stand before the wider ones around them.
const RANGES: &[(&str, &str)] = &[
    // RFC 791, RFC 1122
    ("0.0.0.0/8", "of this network"),
    // RFC 1918
    ("10.0.0.0/8", "private"),
    // RFC 6598. The metadata service of Alibaba is at 100.100.100.200.
    ("100.64.0.0/10", "shared among a carrier's customers"),
    // RFC 1122
    ("127.0.0.0/8", "loopback"),
    // Not in a registry. The platform of Azure responds at this address in every virtual network.
    ("168.63.129.16/32", "the one of Azure's platform"),
    // RFC 3927. The metadata service of most clouds is at 169.254.169.254.
    ("169.254.0.0/16", "link-local"),
    // RFC 1918
    ("172.16.0.0/12", "private"),
    // RFC 6890. The metadata service of Oracle was at 192.0.0.192.
    ("192.0.0.0/24", "for IETF protocols"),
    // RFC 5737
    ("192.0.2.0/24", "for documentation"),
    // RFC 7535
    ("192.31.196.0/24", "for AS112"),
    // RFC 7450
    ("192.52.193.0/24", "for automatic multicast tunnels"),
    // RFC 7526
    ("192.88.99.0/24", "for 6to4 relays"),
    // RFC 1918
    ("192.168.0.0/16", "private"),
    // RFC 7534
    ("192.175.48.0/24", "for AS112"),
    // RFC 2544
    ("198.18.0.0/15", "for benchmarks"),
    // RFC 5737
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    // RFC 5771
    ("224.0.0.0/4", "multicast"),
    // RFC 919
    ("255.255.255.255/32", "broadcast"),
    // RFC 1112
    ("240.0.0.0/4", "reserved"),
    // RFC 4291
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "an IPv4 address in IPv6 form"),
    ("::ffff:0:0/96", "an IPv4 address in IPv6 form"),
    // RFC 2765
    ("::ffff:0:0:0/96", "an IPv4 address in IPv6 form"),
    // RFC 6052
    ("64:ff9b::/96", "for NAT64"),
    // RFC 8215
    ("64:ff9b:1::/48", "for NAT64"),
    // RFC 6666
    ("100::/64", "for discarding"),
    // RFC 9780
    ("100:0:0:1::/64", "a dummy"),
    // RFC 4380
    ("2001::/32", "for Teredo"),
    // RFC 5180
    ("2001:2::/48", "for benchmarks"),
    // RFC 4843
    ("2001:10::/28", "for ORCHID"),
    // RFC 7343
    ("2001:20::/28", "for ORCHID"),
    // RFC 2928. Other assignments from this range are for protocols, too.
    ("2001::/23", "for IETF protocols"),
    // RFC 3849
    ("2001:db8::/32", "for documentation"),
    // RFC 3056
    ("2002::/16", "for 6to4"),
    // RFC 7534
    ("2620:4f:8000::/48", "for AS112"),
    // RFC 3701: returned to IANA.
    ("3ffe::/16", "reserved"),
    // RFC 9637
    ("3fff::/20", "for documentation"),
    // RFC 9602
    ("5f00::/16", "for segment routing"),
    // RFC 4193. AWS has a metadata service at fd00:ec2::254.
    ("fc00::/7", "private"),
    // RFC 4291
    ("fe80::/10", "link-local"),
    // RFC 3879
    ("fec0::/10", "private"),
    // RFC 4291
    ("ff00::/8", "multicast"),
];

static NETWORKS: LazyLock<Vec<(IpNet, Special)>> = LazyLock::new(|| {
    let network = |&(range, purpose): &(&'static str, &'static str)| {
        let network = range
            .parse()
            .expect("the table should contain valid networks");
        (network, Special { purpose, range })
    };
    RANGES.iter().map(network).collect()
});

/// Returns the purpose of an address, or `None` for an ordinary one.
pub(crate) fn special(address: IpAddr) -> Option<Special> {
    let listed = NETWORKS
        .iter()
        .find(|(network, _)| network.contains(&address));
    if let Some((_, special)) = listed {
        return Some(*special);
    }
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => special_form(address),
    }
}

fn special_form(address: Ipv6Addr) -> Option<Special> {
    let parts = address.segments();
    // IANA assigns addresses of hosts only from 2000::/3 (RFC 4291, section 2.4).
    if parts[0] & 0xe000 != 0x2000 {
        return Some(Special {
            purpose: "not one for hosts",
            range: "outside 2000::/3",
        });
    }
    // ISATAP (RFC 5214): an IPv4 address after one of two marks, under any prefix.
    if matches!(parts[4], 0 | 0x0200) && parts[5] == 0x5efe {
        return Some(Special {
            purpose: "an IPv4 address in IPv6 form",
            range: "ISATAP",
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source, first address, last address and purpose of a range, and the purposes of the
    /// addresses below and above it. `GLOBAL` is an ordinary address, `NONE` the end of the address
    /// space.
    struct Row(
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static str,
    );

    const GLOBAL: &str = "global";
    const NONE: &str = "none";
    const UNASSIGNED: &str = "not one for hosts";
    const EMBEDDED: &str = "an IPv4 address in IPv6 form";
    const DOCUMENTS: &str = "for documentation";
    const IETF: &str = "for IETF protocols";

    #[rustfmt::skip]
    const ROWS: &[Row] = &[
        Row("RFC 1122", "0.0.0.0", "0.255.255.255", "of this network", NONE, GLOBAL),
        Row("RFC 1918", "10.0.0.0", "10.255.255.255", "private", GLOBAL, GLOBAL),
        Row("RFC 6598", "100.64.0.0", "100.127.255.255", "shared among a carrier's customers", GLOBAL, GLOBAL),
        Row("RFC 1122", "127.0.0.0", "127.255.255.255", "loopback", GLOBAL, GLOBAL),
        Row("Azure", "168.63.129.16", "168.63.129.16", "the one of Azure's platform", GLOBAL, GLOBAL),
        Row("RFC 3927", "169.254.0.0", "169.254.255.255", "link-local", GLOBAL, GLOBAL),
        Row("RFC 1918", "172.16.0.0", "172.31.255.255", "private", GLOBAL, GLOBAL),
        Row("RFC 6890", "192.0.0.0", "192.0.0.255", IETF, GLOBAL, GLOBAL),
        Row("RFC 5737", "192.0.2.0", "192.0.2.255", DOCUMENTS, GLOBAL, GLOBAL),
        Row("RFC 7535", "192.31.196.0", "192.31.196.255", "for AS112", GLOBAL, GLOBAL),
        Row("RFC 7450", "192.52.193.0", "192.52.193.255", "for automatic multicast tunnels", GLOBAL, GLOBAL),
        Row("RFC 7526", "192.88.99.0", "192.88.99.255", "for 6to4 relays", GLOBAL, GLOBAL),
        Row("RFC 1918", "192.168.0.0", "192.168.255.255", "private", GLOBAL, GLOBAL),
        Row("RFC 7534", "192.175.48.0", "192.175.48.255", "for AS112", GLOBAL, GLOBAL),
        Row("RFC 2544", "198.18.0.0", "198.19.255.255", "for benchmarks", GLOBAL, GLOBAL),
        Row("RFC 5737", "198.51.100.0", "198.51.100.255", DOCUMENTS, GLOBAL, GLOBAL),
        Row("RFC 5737", "203.0.113.0", "203.0.113.255", DOCUMENTS, GLOBAL, GLOBAL),
        Row("RFC 5771", "224.0.0.0", "239.255.255.255", "multicast", GLOBAL, "reserved"),
        Row("RFC 1112", "240.0.0.0", "255.255.255.254", "reserved", "multicast", "broadcast"),
        Row("RFC 919", "255.255.255.255", "255.255.255.255", "broadcast", "reserved", NONE),
        Row("RFC 4291", "::", "::", "unspecified", NONE, "loopback"),
        Row("RFC 4291", "::1", "::1", "loopback", "unspecified", EMBEDDED),
        Row("RFC 4291", "::2", "::ffff:ffff", EMBEDDED, "loopback", UNASSIGNED),
        Row("RFC 4291", "::ffff:0:0", "::ffff:ffff:ffff", EMBEDDED, UNASSIGNED, UNASSIGNED),
        Row("RFC 2765", "::ffff:0:0:0", "::ffff:0:ffff:ffff", EMBEDDED, UNASSIGNED, UNASSIGNED),
        Row("RFC 6052", "64:ff9b::", "64:ff9b::ffff:ffff", "for NAT64", UNASSIGNED, UNASSIGNED),
        Row("RFC 8215", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "for NAT64", UNASSIGNED, UNASSIGNED),
        Row("RFC 6666", "100::", "100::ffff:ffff:ffff:ffff", "for discarding", UNASSIGNED, "a dummy"),
        Row("RFC 9780", "100:0:0:1::", "100::1:ffff:ffff:ffff:ffff", "a dummy", "for discarding", UNASSIGNED),
        Row("RFC 4291", "101::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", UNASSIGNED, UNASSIGNED, GLOBAL),
        Row("RFC 4380", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "for Teredo", GLOBAL, IETF),
        Row("RFC 2928", "2001:1::", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", IETF, "for Teredo", "for benchmarks"),
        Row("RFC 5180", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "for benchmarks", IETF, IETF),
        Row("RFC 4843", "2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", "for ORCHID", IETF, "for ORCHID"),
        Row("RFC 7343", "2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", "for ORCHID", "for ORCHID", IETF),
        Row("RFC 2928", "2001:30::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", IETF, "for ORCHID", GLOBAL),
        Row("RFC 3849", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", DOCUMENTS, GLOBAL, GLOBAL),
        Row("RFC 3056", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "for 6to4", GLOBAL, GLOBAL),
        Row("RFC 7534", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "for AS112", GLOBAL, GLOBAL),
        Row("RFC 3701", "3ffe::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved", GLOBAL, DOCUMENTS),
        Row("RFC 9637", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", DOCUMENTS, "reserved", GLOBAL),
        Row("RFC 4291", "4000::", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", UNASSIGNED, GLOBAL, "for segment routing"),
        Row("RFC 9602", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "for segment routing", UNASSIGNED, UNASSIGNED),
        Row("RFC 4193", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private", UNASSIGNED, UNASSIGNED),
        Row("RFC 4291", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local", UNASSIGNED, "private"),
        Row("RFC 3879", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private", "link-local", "multicast"),
        Row("RFC 4291", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast", "private", NONE),
    ];

    fn purpose(address: IpAddr) -> &'static str {
        special(address).map_or(GLOBAL, |special| special.purpose)
    }

    fn neighbour(address: IpAddr, up: bool) -> Option<IpAddr> {
        match address {
            IpAddr::V4(address) => {
                let number = u32::from(address);
                let next = if up {
                    number.checked_add(1)
                } else {
                    number.checked_sub(1)
                };
                next.map(|number| IpAddr::V4(number.into()))
            }
            IpAddr::V6(address) => {
                let number = u128::from(address);
                let next = if up {
                    number.checked_add(1)
                } else {
                    number.checked_sub(1)
                };
                next.map(|number| IpAddr::V6(number.into()))
            }
        }
    }

    #[test]
    fn ranges_have_the_bounds_of_their_rfc() {
        for Row(source, first, last, expected, below, above) in ROWS {
            let (first, last) = (first.parse().unwrap(), last.parse().unwrap());
            let around = |address, up| neighbour(address, up).map_or(NONE, purpose);
            assert_eq!(purpose(first), *expected, "{source}: {first}");
            assert_eq!(purpose(last), *expected, "{source}: {last}");
            assert_eq!(around(first, false), *below, "{source}: below {first}");
            assert_eq!(around(last, true), *above, "{source}: above {last}");
        }
    }

    #[test]
    fn every_range_is_tested() {
        for (range, _) in RANGES {
            let network: IpNet = range.parse().unwrap();
            // If narrower ranges lie at the ends of a range, a row covers its remainder.
            assert!(
                ROWS.iter()
                    .any(|row| network.contains(&row.1.parse::<IpAddr>().unwrap())),
                "{range}"
            );
            assert_eq!(
                network,
                network.trunc(),
                "{range} has bits outside its mask"
            );
        }
    }

    #[test]
    fn cloud_metadata_address_is_special() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd20:ce::254",
        ] {
            assert_ne!(purpose(address.parse().unwrap()), GLOBAL, "{address}");
        }
    }

    #[test]
    fn isatap_is_special_under_any_prefix() {
        for address in ["2a00:1::5efe:7f00:1", "2a00:1::200:5efe:10.0.0.1"] {
            assert_eq!(purpose(address.parse().unwrap()), EMBEDDED, "{address}");
        }
        for address in ["2a00:1::5eff:7f00:1", "2a00:1::1:5efe:7f00:1"] {
            assert_eq!(purpose(address.parse().unwrap()), GLOBAL, "{address}");
        }
    }

    #[test]
    fn ordinary_address_is_global() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.215.14",
            "2606:4700::1111",
            "2a00:1450:4001:82a::200e",
        ] {
            assert_eq!(purpose(address.parse().unwrap()), GLOBAL, "{address}");
        }
    }
}
