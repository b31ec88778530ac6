use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::tests::dns::{Reply, serve, sources};

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn name_is_resolved_to_all_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let port = serve(|name| match name {
        "both.example" => Reply::Addresses(vec!["10.0.0.1", "2001:db8::1", "10.0.0.2"]),
        "six.example" => Reply::Addresses(vec!["2001:db8::6"]),
        "empty.example" => Reply::Addresses(vec![]),
        "broken.example" => Reply::Failure,
        _ => Reply::NoSuchName,
    })
    .await;
    let resolver = Resolver::new(sources(dir.path(), port, "")).unwrap();
    let mut both = resolver.resolve("both.example").await.unwrap();
    both.sort();
    assert_eq!(both, addresses(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]));
    assert_eq!(
        resolver.resolve("six.example").await.unwrap(),
        addresses(&["2001:db8::6"])
    );
    for (name, reason) in [
        ("empty.example", "the name has no address"),
        ("none.example", "the name has no address"),
        ("broken.example", "the name could not be resolved"),
    ] {
        assert_eq!(resolver.resolve(name).await, Err(reason), "{name}");
    }
}

#[tokio::test]
async fn addresses_without_ttl_and_failures_are_queried_again() {
    let dir = tempfile::tempdir().unwrap();
    let queries = AtomicUsize::new(0);
    // Each name needs two queries, one for each kind of address.
    let port = serve(move |_| match queries.fetch_add(1, Ordering::SeqCst) / 2 {
        0 => Reply::Addresses(vec!["10.0.0.1"]),
        1 => Reply::Addresses(vec!["10.0.0.2"]),
        2 => Reply::NoSuchName,
        _ => Reply::Addresses(vec!["10.0.0.4"]),
    })
    .await;
    let resolver = Resolver::new(sources(dir.path(), port, "")).unwrap();
    for expected in [
        Ok(addresses(&["10.0.0.1"])),
        Ok(addresses(&["10.0.0.2"])),
        Err("the name has no address"),
        Ok(addresses(&["10.0.0.4"])),
    ] {
        assert_eq!(resolver.resolve("a.example").await, expected);
    }
}

#[tokio::test]
async fn addresses_with_ttl_are_queried_once() {
    let dir = tempfile::tempdir().unwrap();
    let queries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&queries);
    let port = serve(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Reply::Keep(vec!["10.0.0.1", "2001:db8::1"])
    })
    .await;
    let sources = sources(dir.path(), port, "");
    let resolver = Resolver::new(sources.clone()).unwrap();
    for _ in 0..3 {
        let mut found = resolver.resolve("a.example").await.unwrap();
        found.sort();
        assert_eq!(found, addresses(&["10.0.0.1", "2001:db8::1"]));
    }
    assert_eq!(queries.load(Ordering::SeqCst), 2);
    // A change of the network's configuration discards them.
    fs::write(&sources.hosts, "10.0.0.9 b\n").unwrap();
    resolver.resolve("a.example").await.unwrap();
    assert_eq!(queries.load(Ordering::SeqCst), 4);
}

/// hickory would wait six seconds for the family that gets no response.
#[tokio::test]
async fn dropped_queries_of_one_family_cost_little_time() {
    let dir = tempfile::tempdir().unwrap();
    let port = serve(|name| match name {
        "four.example" => Reply::OnlyIpv4("10.0.0.1"),
        "six.example" => Reply::OnlyIpv6("2001:db8::6"),
        _ => Reply::NoSuchName,
    })
    .await;
    let resolver = Resolver::new(sources(dir.path(), port, "")).unwrap();
    for (name, address) in [("four.example", "10.0.0.1"), ("six.example", "2001:db8::6")] {
        let found = tokio::time::timeout(QUERY_TIMEOUT_MIN, resolver.resolve(name)).await;
        assert_eq!(found.expect(name).unwrap(), addresses(&[address]));
    }
}

#[tokio::test]
async fn zero_timeout_and_attempts_do_not_disable_resolution() {
    let dir = tempfile::tempdir().unwrap();
    let port = serve(|_| Reply::Addresses(vec!["10.0.0.1"])).await;
    let sources = sources(dir.path(), port, "");
    fs::write(
        &sources.resolv_conf,
        "nameserver 127.0.0.1\noptions timeout:0 attempts:0\n",
    )
    .unwrap();
    let resolver = Resolver::new(sources).unwrap();
    let found = resolver.resolve("a.example").await;
    assert_eq!(found.unwrap(), addresses(&["10.0.0.1"]));
}

#[tokio::test]
async fn name_in_hosts_file_is_not_queried() {
    let dir = tempfile::tempdir().unwrap();
    let port = serve(|name| panic!("unexpected query for {name}")).await;
    let hosts = "127.0.0.9 Receiver other # and\n10.0.0.1 receiver\n::9 six\n";
    let resolver = Resolver::new(sources(dir.path(), port, hosts)).unwrap();
    assert_eq!(
        resolver.resolve("receiver").await.unwrap(),
        addresses(&["127.0.0.9", "10.0.0.1"])
    );
    assert_eq!(resolver.resolve("six").await.unwrap(), addresses(&["::9"]));
    let mut localhost = resolver.resolve("localhost").await.unwrap();
    localhost.sort();
    assert_eq!(localhost, addresses(&["127.0.0.1", "::1"]));
}

#[tokio::test]
async fn changed_file_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let port = serve(|_| Reply::Addresses(vec!["10.0.0.1"])).await;
    let sources = sources(dir.path(), port, "");
    let resolver = Resolver::new(sources.clone()).unwrap();
    assert_eq!(
        resolver.resolve("a").await.unwrap(),
        addresses(&["10.0.0.1"])
    );
    fs::write(&sources.hosts, "10.0.0.2 a\n").unwrap();
    assert_eq!(
        resolver.resolve("a").await.unwrap(),
        addresses(&["10.0.0.2"])
    );
    fs::remove_file(&sources.hosts).unwrap();
    assert_eq!(
        resolver.resolve("a").await.unwrap(),
        addresses(&["10.0.0.1"])
    );
}

#[tokio::test]
async fn missing_configuration_uses_local_dns_server() {
    let dir = tempfile::tempdir().unwrap();
    let port = serve(|_| Reply::Addresses(vec!["10.0.0.1"])).await;
    let sources = sources(dir.path(), port, "10.0.0.2 listed\n");
    for content in [None, Some(""), Some("search example\n"), Some("\u{0}\u{1}")] {
        fs::remove_file(&sources.resolv_conf).ok();
        if let Some(content) = content {
            fs::write(&sources.resolv_conf, content).unwrap();
        }
        let resolver = Resolver::new(sources.clone()).unwrap();
        assert_eq!(
            resolver.resolve("a").await.unwrap(),
            addresses(&["10.0.0.1"]),
            "{content:?}"
        );
        assert_eq!(
            resolver.resolve("listed").await.unwrap(),
            addresses(&["10.0.0.2"])
        );
    }
}

#[tokio::test]
async fn short_name_uses_search_domains() {
    let dir = tempfile::tempdir().unwrap();
    let port = serve(|name| match name {
        "receiver.ns.svc.example" => Reply::Addresses(vec!["10.0.0.1"]),
        _ => Reply::NoSuchName,
    })
    .await;
    let sources = sources(dir.path(), port, "");
    fs::write(
        &sources.resolv_conf,
        "nameserver 127.0.0.1\nsearch ns.svc.example svc.example\noptions ndots:5\n",
    )
    .unwrap();
    let resolver = Resolver::new(sources).unwrap();
    assert_eq!(
        resolver.resolve("receiver").await.unwrap(),
        addresses(&["10.0.0.1"])
    );
}

#[tokio::test]
async fn silent_server_times_out() {
    let dir = tempfile::tempdir().unwrap();
    let port = serve(|name| match name {
        "four.example" => Reply::OnlyIpv4("10.0.0.1"),
        _ => Reply::Nothing,
    })
    .await;
    let sources = sources(dir.path(), port, "");
    fs::write(
        &sources.resolv_conf,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    let resolver = Resolver::new(sources).unwrap();
    let (four, none) = tokio::join!(
        resolver.resolve("four.example"),
        resolver.resolve("none.example")
    );
    assert_eq!(four.unwrap(), addresses(&["10.0.0.1"]));
    assert_eq!(none, Err("no DNS server responded in time"));
}

#[test]
fn default_query_timeout_is_shortened() {
    let dir = tempfile::tempdir().unwrap();
    let resolver = Resolver::new(sources(dir.path(), 53, "")).unwrap();
    let loaded = resolver.loaded().unwrap();
    assert_eq!(loaded.dns.options().timeout, QUERY_TIMEOUT_MAX);
    assert_eq!(loaded.dns.options().cache_size, 0);
}

#[test]
fn resolver_is_created_without_runtime() {
    assert!(Resolver::new(Sources::default()).is_ok());
}
