use super::*;
use crate::listed::assert_listed;

fn parsed(url: &str) -> Target {
    Target::parse(url).unwrap_or_else(|rejection| panic!("{url}: {rejection}"))
}

#[test]
fn host_is_canonical_without_default_port() {
    for (url, host, port) in [
        ("http://Receiver.Example/a?b", "receiver.example", 80),
        ("HTTP://receiver.example:80/", "receiver.example", 80),
        ("https://receiver.example:443/", "receiver.example", 443),
        ("https://receiver.example:80", "receiver.example:80", 80),
        ("http://receiver.example:0443", "receiver.example:443", 443),
        ("http://bücher.example/", "xn--bcher-kva.example", 80),
        ("http://re%63eiver/", "receiver", 80),
        ("http://a_b/", "a_b", 80),
        ("http://[2001:DB8:0::1]:8080/", "[2001:db8::1]:8080", 8080),
        ("http://0x7f.1/", "127.0.0.1", 80),
    ] {
        let target = parsed(url);
        assert_eq!((target.authority(), target.port()), (host, port), "{url}");
        // The stored URL is parsed again at each attempt.
        assert_eq!(parsed(target.as_str()), target, "{url}");
    }
}

#[test]
fn url_is_kept_except_its_fragment() {
    let target = parsed("https://h/a%20b/../c?d=%41&e='#f");
    assert_eq!(target.as_str(), "https://h/c?d=%41&e=%27");
    assert_eq!(target.path().as_str(), "/c?d=%41&e=%27");
    assert_eq!(parsed("http://h").as_str(), "http://h/");
    assert_eq!(parsed("http://h?a").path().as_str(), "/?a");
}

#[test]
fn path_and_query_are_not_shown() {
    let target = parsed("https://h:1/secret?secret");
    assert_eq!(target.to_string(), "https://h:1");
    assert_eq!(format!("{target:?}"), "Target(https://h:1)");
}

#[test]
fn invalid_url_is_rejected() {
    let long_name = format!("http://{}/", ["a"; 128].join("."));
    let long_label = format!("http://{}.example/", "a".repeat(64));
    let long_path = format!("http://h/{}", "a".repeat(PATH_BYTES_MAX));
    let too_long = TargetError::TooLong {
        bytes_max: PATH_BYTES_MAX,
    };
    for (url, expected) in [
        ("", TargetError::NotUrl),
        ("receiver", TargetError::NotUrl),
        ("/path", TargetError::NotUrl),
        ("//receiver/path", TargetError::NotUrl),
        (" http://h/", TargetError::NotUrl),
        ("http://h/\r\nX: y", TargetError::NotUrl),
        ("http://rec\teiver/", TargetError::NotUrl),
        ("http://h/a b", TargetError::NotUrl),
        ("ftp://h/", TargetError::Scheme),
        ("file:///etc/hostname", TargetError::Scheme),
        ("gopher://h/", TargetError::Scheme),
        ("receiver:80", TargetError::Scheme),
        ("unix:/run/socket", TargetError::Scheme),
        ("javascript:alert(1)", TargetError::Scheme),
        ("http://user@h/", TargetError::Credentials),
        ("http://user:password@h/", TargetError::Credentials),
        ("http://:password@h/", TargetError::Credentials),
        ("http://127.0.0.1%40@h/", TargetError::Credentials),
        ("http://", TargetError::NoHost),
        ("http://:80/", TargetError::NoHost),
        ("http://?a", TargetError::NoHost),
        ("http://h:0/", TargetError::Port),
        ("http://h:65536/", TargetError::Port),
        ("http://h:port/", TargetError::Port),
        ("http://receiver.example./", TargetError::FinalDot),
        ("http://receiver../", TargetError::FinalDot),
        ("http://a..b/", TargetError::HostName),
        ("http://.a/", TargetError::HostName),
        ("http://a*b/", TargetError::HostName),
        ("http://a!b/", TargetError::HostName),
        ("http://a,b/", TargetError::HostName),
        ("http://a%00b/", TargetError::HostName),
        ("http://a%0ab/", TargetError::HostName),
        ("http://256.0.0.1/", TargetError::HostName),
        ("http://1.2.3.4.5/", TargetError::HostName),
        ("http://[::1/", TargetError::HostName),
        ("http://[fe80::1%25eth0]/", TargetError::HostName),
        ("http://[fe80::1%eth0]/", TargetError::HostName),
        ("http://[v1.a]/", TargetError::HostName),
        (&long_name, TargetError::HostName),
        (&long_label, TargetError::HostName),
        (&long_path, too_long),
    ] {
        assert_eq!(Target::parse(url), Err(expected), "{url:.60}");
    }
}

#[test]
fn unusual_spelling_of_address_is_recognised() {
    let loopback = Host::<String>::Ipv4(std::net::Ipv4Addr::LOCALHOST);
    for url in [
        "http://127.0.0.1",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7F.0.0.1/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.0.0.01/",
        "http://127.0.0.1./",
        "http://127.1./",
        "http://127。0。0。1/",
        "http://１２７.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://%31%32%37.0.0.1/",
        "http://127%2e0%2E0.1/",
        "http://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/",
        "http:\\\\127.0.0.1\\path",
        "http:127.0.0.1",
        "http:////127.0.0.1/",
        "http://@127.0.0.1/",
    ] {
        assert_eq!(parsed(url).host(), &loopback, "{url}");
    }
}

#[test]
fn upstream_url_may_have_path() {
    for (base, path, whole) in [
        ("https://api.example", "/", "https://api.example/"),
        (
            "https://api.example/",
            "/a?b=c",
            "https://api.example/a?b=c",
        ),
        ("http://a:1/v1", "/x", "http://a:1/v1/x"),
        ("http://a/v1/", "/x%2Fy?m='%0A", "http://a/v1/x%2Fy?m='%0A"),
    ] {
        let joined = Target::upstream(base).unwrap().join(path).unwrap();
        assert_eq!(joined.as_str(), whole);
        assert!(whole.ends_with(joined.path().as_str()));
        assert_eq!(
            joined.authority(),
            Target::upstream(base).unwrap().authority()
        );
    }
    assert_eq!(
        Target::upstream("http://a/?key=secret"),
        Err(TargetError::Query)
    );
}

#[test]
fn join_rejects_path_that_http_cannot_carry() {
    let base = Target::upstream("http://a/").unwrap();
    for path in [
        "",
        "a",
        "?a",
        "http://b/",
        "/a#b",
        "/a b",
        "/a\r\nX: y",
        "/a\0",
    ] {
        assert_eq!(base.join(path), Err(TargetError::Path), "{path:?}");
    }
    let situation = "attempt: the component returns a path with a control character";
    assert_listed(situation, &base.join("/a\0").unwrap_err(), &[]);
    // Here, two slashes begin a path and not a host.
    assert_eq!(base.join("//b/c").unwrap().authority(), "a");
    let longest = format!("/{}", "a".repeat(PATH_BYTES_MAX - 1));
    assert!(base.join(&longest).is_ok());
    assert_eq!(
        base.join(&format!("{longest}a")),
        Err(TargetError::TooLong {
            bytes_max: PATH_BYTES_MAX
        })
    );
}
