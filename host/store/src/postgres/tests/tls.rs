//! TLS to a proxy of the test, so that the database server needs no TLS.

use super::*;
use crate::StoreError;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::config::Host;
use tokio_rustls::TlsAcceptor;

const SECRET: &str = "confidential";
const VALID: (i32, i32) = (2020, 2120);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("key should be generated");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters should be valid");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let mut roots = RootCertStore::empty();
        let certificate = params
            .self_signed(&key)
            .expect("certificate should be signed");
        roots
            .add(certificate.der().clone())
            .expect("root should be valid");
        Self {
            issuer: Issuer::new(params, key),
            roots,
        }
    }

    /// Accepts TLS with a certificate for `name`, valid from the first of `years` to the second.
    fn acceptor(&self, name: &str, years: (i32, i32)) -> TlsAcceptor {
        let key = KeyPair::generate().expect("key should be generated");
        let mut params = CertificateParams::new([name.to_owned()]).expect("name should be valid");
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("certificate should be signed");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("provider should support the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate should match the key");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A proxy with the name `localhost`.
struct Server {
    url: String,
    in_tls: Arc<AtomicU32>,
    in_plain: Arc<AtomicU32>,
}

impl Server {
    /// Starts a proxy for the server at `url`. It supports TLS only with a certificate.
    fn start(url: &str, tls: Option<TlsAcceptor>) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("URL should be valid");
        let [Host::Tcp(host)] = config.get_hosts() else {
            panic!("the tests need exactly one server on TCP");
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let listener = wait(TcpListener::bind("127.0.0.1:0")).expect("listener should bind");
        let own = listener
            .local_addr()
            .expect("listener should have an address")
            .port();
        let here = url.replace(&format!("{host}:{port}"), &format!("localhost:{own}"));
        assert_ne!(here, url, "the URL should contain host and port");
        let user = config.get_user().expect("URL should contain a user");
        assert!(
            config.get_password().is_none(),
            "the tests set a password of their own"
        );
        let server = Self {
            url: here.replacen(&format!("{user}@"), &format!("{user}:{SECRET}@"), 1)
                + "&hostaddr=127.0.0.1",
            in_tls: Arc::default(),
            in_plain: Arc::default(),
        };
        assert!(server.url.contains(SECRET));
        let (in_tls, in_plain) = (Arc::clone(&server.in_tls), Arc::clone(&server.in_plain));
        let behind = (host.clone(), port);
        RUNTIME.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (in_tls, in_plain) = (Arc::clone(&in_tls), Arc::clone(&in_plain));
                let (tls, behind) = (tls.clone(), behind.clone());
                tokio::spawn(async move {
                    let behind = TcpStream::connect((behind.0.as_str(), behind.1));
                    let behind = behind.await.expect("server should be reachable");
                    // The client reports broken connections.
                    let _broken = serve(client, tls, behind, &in_tls, &in_plain).await;
                });
            }
        });
        server
    }

    /// Returns whether connections were used with TLS, and without it.
    fn used(&self) -> (bool, bool) {
        let used = |count: &AtomicU32| count.load(Ordering::SeqCst) > 0;
        (used(&self.in_tls), used(&self.in_plain))
    }

    /// Sends a request to a store that trusts these roots.
    fn call(&self, sslmode: &str, roots: &Authority) -> Result<Accepted> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("provider should support the default versions")
            .with_root_certificates(roots.roots.clone())
            .with_no_client_auth();
        let setup = PostgresSetup {
            password: None,
            tls: Some(Arc::new(tls)),
            connections_max: 2,
            boot_id: "a".into(),
            boot_clock: Arc::new(|| BootMillis(0)),
            quota: QUOTA,
            timeout: TIMEOUT,
        };
        let store = Postgres::connect(&format!("{}{sslmode}", self.url), setup)
            .expect("URL should be valid");
        accept(&store, 1, "m")
    }
}

async fn serve(
    mut client: TcpStream,
    tls: Option<TlsAcceptor>,
    mut behind: TcpStream,
    in_tls: &AtomicU32,
    in_plain: &AtomicU32,
) -> std::io::Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47], "the request for TLS");
    if let Some(tls) = tls {
        client.write_all(b"S").await?;
        let mut client = tls.accept(client).await?;
        in_tls.fetch_add(1, Ordering::SeqCst);
        copy_bidirectional(&mut client, &mut behind).await?;
    } else {
        client.write_all(b"N").await?;
        // A client that requires TLS sends nothing more.
        let first = client.read_u8().await?;
        in_plain.fetch_add(1, Ordering::SeqCst);
        behind.write_u8(first).await?;
        copy_bidirectional(&mut client, &mut behind).await?;
    }
    Ok(())
}

fn error_text(answer: Result<Accepted>) -> String {
    match answer {
        Err(StoreError::Unavailable(why)) => {
            let why = why.to_string();
            assert!(!why.contains(SECRET), "{why}");
            why
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn valid_certificate_is_accepted_and_only_tls_is_used() {
    let authority = Authority::new("ours");
    for sslmode in ["&sslmode=require", "&sslmode=verify-full", ""] {
        let database = Database::new();
        let server = Server::start(&database.url, Some(authority.acceptor("localhost", VALID)));
        let accepted = server.call(sslmode, &authority);
        assert_eq!(
            accepted.expect("request should be stored"),
            Accepted::Pending(RequestId::new(UnixMillis(0), 1))
        );
        assert_eq!(server.used(), (true, false), "{sslmode}");
        assert_eq!(database.number("SELECT count(*) FROM bulkhead_messages"), 1);
    }
}

/// They are also rejected if TLS is only preferred, because anyone may have sent them.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn invalid_certificate_is_rejected_with_reason() {
    let (authority, another) = (Authority::new("ours"), Authority::new("another"));
    let database = Database::new();
    for (acceptor, reason) in [
        (authority.acceptor("localhost", (2000, 2001)), "expired"),
        (
            authority.acceptor("localhost", (2110, 2120)),
            "not valid yet",
        ),
        (
            authority.acceptor("other.example", VALID),
            "not valid for name",
        ),
        (another.acceptor("localhost", VALID), "UnknownIssuer"),
    ] {
        let server = Server::start(&database.url, Some(acceptor));
        for sslmode in ["&sslmode=require", "&sslmode=verify-full", ""] {
            let why = error_text(server.call(sslmode, &authority));
            assert!(why.contains("certificate") && why.contains(reason), "{why}");
            assert!(!server.used().1);
        }
    }
    let tables = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = '{}'",
        database.schema
    );
    assert_eq!(
        database.number(&tables),
        0,
        "nothing should reach the server"
    );
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn server_without_tls_is_used_only_if_tls_is_not_required() {
    let authority = Authority::new("ours");
    let database = Database::new();
    let server = Server::start(&database.url, None);
    for sslmode in ["&sslmode=require", "&sslmode=verify-full"] {
        let why = error_text(server.call(sslmode, &authority));
        assert!(why.contains("does not support TLS"), "{why}");
        assert_eq!(server.used(), (false, false), "{sslmode}");
    }
    for sslmode in ["&sslmode=prefer", ""] {
        assert!(server.call(sslmode, &authority).is_ok(), "{sslmode}");
        assert_eq!(server.used(), (false, true), "{sslmode}");
    }
}
