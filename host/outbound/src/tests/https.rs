//! Valid and invalid certificates of a private authority.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::dns::{Reply, outbound_with_dns};
use super::server::{Server, read_request};
use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    fn setup(&self) -> Setup {
        Setup {
            ca_file: Some(self.file.path().to_owned()),
            ..setup(&["*.example", "127.0.0.1"])
        }
    }

    /// Accepts TLS with a certificate for `names`, valid from the first of `years` to the second.
    fn acceptor(&self, names: &[&str], years: (i32, i32)) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = params(names, years);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(&certificate, &key)
    }
}

fn params(names: &[&str], years: (i32, i32)) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

/// The key need not be that of the certificate.
fn acceptor(certificate: &Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = any_supported_type(&key).unwrap();
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

const VALID: (i32, i32) = (2020, 2120);

#[derive(Clone, Copy)]
enum Ending {
    Orderly,
    Cut,
}

/// Starts a TLS server. It sends `answer`, and returns each request with the server name that the
/// client has sent.
async fn start(
    acceptor: TlsAcceptor,
    answer: &'static str,
    ending: Ending,
) -> (Server, mpsc::UnboundedReceiver<(Option<String>, String)>) {
    let (requests, received) = mpsc::unbounded_channel();
    let script = move |stream: TcpStream| {
        let (acceptor, requests) = (acceptor.clone(), requests.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let request = read_request(&mut stream).await;
            let name = stream.get_ref().1.server_name().map(str::to_owned);
            requests.send((name, request)).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            match ending {
                Ending::Orderly => stream.shutdown().await.unwrap(),
                Ending::Cut => stream.get_mut().0.shutdown().await.unwrap(),
            }
            let _ = stream.read(&mut [0]).await;
        }
    };
    (Server::start(script).await, received)
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn target(host: &str, server: &Server) -> Target {
    Target::upstream(&format!("https://{host}:{}/", server.address.port())).unwrap()
}

async fn fetch(outbound: &Outbound, host: &str, server: &Server) -> Result<Response, Failure> {
    let target = target(host, server);
    let result = outbound.upstream(&target, get(), generous()).await;
    // A callback fails in the same way.
    let callback = outbound.callback(&target, get(), generous()).await;
    assert_eq!(result.as_ref().err(), callback.as_ref().err());
    result
}

#[tokio::test]
async fn certificate_is_verified_for_name_of_host() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["receiver.example"], VALID);
    let (server, mut received) = start(acceptor, ANSWER, Ending::Orderly).await;
    let setup = authority.setup();
    let outbound = outbound_with_dns(&setup, |_| Reply::Addresses(vec!["127.0.0.1"])).await;
    let answer = fetch(&outbound, "receiver.example", &server).await;
    assert_eq!(answer.unwrap().body, "ok");
    let (name, request) = received.recv().await.unwrap();
    assert_eq!(name.as_deref(), Some("receiver.example"));
    let host = format!(
        "\r\nhost: {}\r\n",
        target("receiver.example", &server).authority()
    );
    assert!(request.contains(&host), "{request}");

    let other = Failure::NotConnected(
        "TLS: the certificate is for another name: issue one that lists the host of the URL",
    );
    for host in ["other.example", "127.0.0.1"] {
        assert_eq!(fetch(&outbound, host, &server).await, Err(other), "{host}");
    }
}

#[tokio::test]
async fn certificate_may_be_for_address() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["127.0.0.1"], VALID);
    let (server, mut received) = start(acceptor, ANSWER, Ending::Orderly).await;
    let outbound = Outbound::new(&authority.setup()).unwrap();
    let answer = fetch(&outbound, "127.0.0.1", &server).await;
    assert_eq!(answer.unwrap().body, "ok");
    assert_eq!(received.recv().await.unwrap().0, None);
}

#[tokio::test]
async fn invalid_certificate_is_rejected_before_anything_is_sent() {
    let authority = Authority::new();
    let names = ["127.0.0.1"];
    let public = Outbound::new(&setup(&["127.0.0.1"])).unwrap();
    let private = Outbound::new(&authority.setup()).unwrap();
    let unknown = "TLS: the certificate is from an authority that is not trusted: the server should send its \
                   intermediate certificates, and the operator adds a private authority to --ca-file";
    let same_name = "TLS: a signature does not match: another authority of the same name has issued the \
                     certificate, or the server does not have its key: the operator adds that authority to \
                     --ca-file";
    for (outbound, issuer, years, reason) in [
        (
            &private,
            &authority,
            (2020, 2021),
            "TLS: the certificate has expired: renew it",
        ),
        (
            &private,
            &authority,
            (2119, 2120),
            "TLS: the certificate is not valid yet: check the clocks",
        ),
        (&private, &Authority::new(), VALID, same_name),
        (&public, &authority, VALID, unknown),
    ] {
        let acceptor = issuer.acceptor(&names, years);
        let (server, mut received) = start(acceptor, ANSWER, Ending::Orderly).await;
        let result = fetch(outbound, "127.0.0.1", &server).await;
        assert_eq!(result, Err(Failure::NotConnected(reason)));
        assert!(received.try_recv().is_err());
    }
}

/// The reason of the failure, or `None` if the server is accepted.
async fn rejection(
    trusted: &[&Certificate],
    certificate: &Certificate,
    key: &KeyPair,
) -> Option<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bundle: String = trusted
        .iter()
        .map(|certificate| certificate.pem())
        .collect();
    std::fs::write(file.path(), bundle).unwrap();
    let outbound = Outbound::new(&Setup {
        ca_file: Some(file.path().to_owned()),
        ..setup(&["127.0.0.1"])
    })
    .unwrap();
    let (server, mut received) = start(acceptor(certificate, key), ANSWER, Ending::Orderly).await;
    let result = fetch(&outbound, "127.0.0.1", &server).await;
    assert_eq!(received.try_recv().is_ok(), result.is_ok());
    result.err().map(|failure| failure.to_string())
}

/// `openssl req -x509` makes such certificates, and curl accepts them with `--cacert`.
#[tokio::test]
async fn certificate_in_file_is_trusted_although_it_is_an_authority() {
    let key = KeyPair::generate().unwrap();
    let own = |names: &[&str], years| {
        let mut params = params(names, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap()
    };
    let certificate = own(&["127.0.0.1"], VALID);
    assert_eq!(rejection(&[&certificate], &certificate, &key).await, None);
    // Another certificate with the same key and the same name is not the one in the file.
    let other = own(&["127.0.0.1", "127.0.0.2"], VALID);
    let text = rejection(&[&other], &certificate, &key).await.unwrap();
    assert!(text.contains("(CA:TRUE)"), "{text}");
    for (certificate, reason) in [
        (own(&["127.0.0.1"], (2020, 2021)), "has expired"),
        (own(&["127.0.0.1"], (2119, 2120)), "is not valid yet"),
        (own(&["127.0.0.2"], VALID), "is for another name"),
        (own(&[], VALID), "lists no name (subjectAltName)"),
    ] {
        let text = rejection(&[&certificate], &certificate, &key)
            .await
            .unwrap();
        assert!(text.contains(reason), "{text}");
    }
    // A server that has only the public certificate cannot prove that it has the key.
    let wrong = KeyPair::generate().unwrap();
    let text = rejection(&[&certificate], &certificate, &wrong)
        .await
        .unwrap();
    assert!(text.contains("does not have its key"), "{text}");
}

#[tokio::test]
async fn certificate_in_file_is_trusted_without_its_issuer() {
    let (authority, key) = (Authority::new(), KeyPair::generate().unwrap());
    let certificate = params(&["127.0.0.1"], VALID)
        .signed_by(&key, &authority.issuer)
        .unwrap();
    assert_eq!(rejection(&[&certificate], &certificate, &key).await, None);
}

#[tokio::test]
async fn error_names_failed_check_and_remedy() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let mut client = params(&["127.0.0.1"], VALID);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut marked = params(&["127.0.0.1"], VALID);
    marked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (params, check, remedy) in [
        (client, "is not for servers", "serverAuth"),
        (marked, "(CA:TRUE)", "exactly this certificate"),
        (params(&[], VALID), "(subjectAltName)", "lists the host"),
    ] {
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let acceptor = acceptor(&certificate, &key);
        let (server, _received) = start(acceptor, ANSWER, Ending::Orderly).await;
        let outbound = Outbound::new(&authority.setup()).unwrap();
        let failure = fetch(&outbound, "127.0.0.1", &server).await.unwrap_err();
        let text = failure.to_string();
        assert!(text.contains(check) && text.contains(remedy), "{text}");
    }
}

#[tokio::test]
async fn server_without_tls_is_not_connected() {
    let outbound = outbound();
    for (answer, reason) in [
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "TLS: the response is not TLS",
        ),
        ("", "TLS: the connection was closed"),
        (
            "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}",
            "TLS: the server rejected the handshake",
        ),
    ] {
        let server = Server::start(move |mut stream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
        })
        .await;
        let result = fetch(&outbound, "127.0.0.1", &server).await;
        assert_eq!(result, Err(Failure::NotConnected(reason)));
    }
}

#[tokio::test]
async fn end_without_close_notify_cuts_off_response() {
    let authority = Authority::new();
    let outbound = Outbound::new(&authority.setup()).unwrap();
    let until_closed = "HTTP/1.0 200 OK\r\n\r\nok";
    for (answer, ending, whole) in [
        (ANSWER, Ending::Cut, true),
        (until_closed, Ending::Orderly, true),
        (until_closed, Ending::Cut, false),
    ] {
        let acceptor = authority.acceptor(&["127.0.0.1"], VALID);
        let (server, _received) = start(acceptor, answer, ending).await;
        let target = target("127.0.0.1", &server);
        let result = outbound.upstream(&target, get(), generous()).await;
        assert_eq!(result.err(), (!whole).then_some(Failure::CutOff));
    }
}

#[tokio::test]
async fn silent_address_leaves_time_for_next() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["receiver.example"], VALID);
    let (server, _received) = start(acceptor, ANSWER, Ending::Orderly).await;
    let port = server.address.port();
    // This server accepts connections and never sends a byte of TLS.
    let silent = Server::start_at(&format!("127.0.0.2:{port}"), |stream| async move {
        let () = std::future::pending().await;
        drop(stream);
    })
    .await;
    let setup = authority.setup();
    let outbound =
        outbound_with_dns(&setup, |_| Reply::Addresses(vec!["127.0.0.2", "127.0.0.1"])).await;
    let limits = within(Duration::from_secs(4));
    let target = target("receiver.example", &server);
    let answer = outbound.upstream(&target, get(), limits).await;
    assert_eq!(answer.unwrap().body, "ok");
    assert_eq!(silent.accepted(), 1);
}
