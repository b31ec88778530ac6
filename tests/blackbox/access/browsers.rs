//! Requests that web pages make in a browser.

use super::routes::operations;
use super::{KeyFile, send_with};
use bulkhead_tests::http::{Response, request};
use bulkhead_tests::server::Server;

/// The headers by which browsers mark requests of pages of other origins. The second one is that of a browser that
/// does not know `Sec-Fetch-Site`.
const OF_OTHER_ORIGINS: [(&str, &str); 4] = [
    ("Sec-Fetch-Site", "cross-site"),
    ("Sec-Fetch-Site", "same-site"),
    ("Origin", "https://evil.example"),
    ("Origin", "null"),
];

fn assert_no_cors(response: &Response) {
    let mut headers = response.headers.iter();
    assert!(
        !headers.any(|(name, _)| name.starts_with("access-control-")),
        "{:?}",
        response.headers
    );
}

#[test]
fn request_of_another_origin_is_rejected_on_every_protected_route() {
    let server = Server::shared();
    for (method, target, scopes) in operations() {
        let is_open = scopes.is_empty() || target == "/health";
        for header in OF_OTHER_ORIGINS {
            let response = request(server.address, &method, &target, &[header], b"");
            if is_open {
                assert_eq!(response.status, 200, "{method} {target} {header:?}");
            } else {
                assert_eq!(
                    (response.status, response.problem().as_str()),
                    (403, "cross_site_request"),
                    "{method} {target} {header:?}"
                );
            }
            assert_no_cors(&response);
        }
    }
}

#[test]
fn request_of_the_same_origin_or_of_a_program_is_not_rejected() {
    let server = Server::start_with(
        &["--allowed-hosts", "decrypt.example"],
        &[("SECRET", "a secret of more than thirty-two bytes")],
    );
    for headers in [
        &[][..],
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
        // The harness sends this host.
        &[("Origin", "http://localhost")],
        // A proxy in front may change the header Host.
        &[("Origin", "https://decrypt.example")],
    ] {
        let response = request(server.address, "POST", "/token", headers, b"");
        assert_eq!(response.status, 200, "{headers:?}");
        assert_no_cors(&response);
    }
}

/// A client certificate or an address that may connect would otherwise suffice.
#[test]
fn valid_key_does_not_admit_a_request_of_another_origin() {
    let mut file = KeyFile::new();
    let key = file.add("ci", &["token:make"]);
    let server = file.start();
    for header in OF_OTHER_ORIGINS {
        let response = send_with(&server, &key, "POST", "/token", &[header]);
        assert_eq!(
            (response.status, response.problem().as_str()),
            (403, "cross_site_request")
        );
    }
    assert_eq!(send_with(&server, &key, "POST", "/token", &[]).status, 200);
}

#[test]
fn preflight_of_a_browser_gets_no_permission() {
    let headers = [
        ("Origin", "https://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    let server = Server::shared();
    let response = request(server.address, "OPTIONS", "/decryptMessage", &headers, b"");
    assert_eq!(response.status, 204);
    assert_no_cors(&response);
}
