//! TLS to the server, ended by a proxy of the test, so that any server will do.

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
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let mut roots = RootCertStore::empty();
        let certificate = params.self_signed(&key).expect("signed");
        roots.add(certificate.der().clone()).expect("a root");
        Self {
            issuer: Issuer::new(params, key),
            roots,
        }
    }

    /// Of a server that is called so, from one year to another.
    fn acceptor(&self, name: &str, years: (i32, i32)) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("they fit");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A server called `localhost`.
struct Server {
    url: String,
    in_tls: Arc<AtomicU32>,
    in_plain: Arc<AtomicU32>,
}

impl Server {
    /// Before the one at `url`; without a certificate it has no TLS.
    fn start(url: &str, tls: Option<TlsAcceptor>) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("a URL");
        let [Host::Tcp(host)] = config.get_hosts() else {
            panic!("the tests need one server that listens on TCP");
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let listener = wait(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let own = listener.local_addr().expect("bound").port();
        let here = url.replace(&format!("{host}:{port}"), &format!("localhost:{own}"));
        assert_ne!(here, url, "the URL names host and port");
        let user = config.get_user().expect("the URL names a user");
        assert!(config.get_password().is_none(), "the tests have their own");
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
                    let behind = behind.await.expect("the server");
                    // What breaks is told by the other side.
                    let _broken = serve(client, tls, behind, &in_tls, &in_plain).await;
                });
            }
        });
        server
    }

    /// Whether connections came to be used in TLS, and in plain.
    fn used(&self) -> (bool, bool) {
        let used = |count: &AtomicU32| count.load(Ordering::SeqCst) > 0;
        (used(&self.in_tls), used(&self.in_plain))
    }

    /// A call of a store with these roots.
    fn call(&self, sslmode: &str, roots: &Authority) -> Result<Accepted> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
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
        let store = Postgres::connect(&format!("{}{sslmode}", self.url), setup).expect("a URL");
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
    let mut asked = [0; 8];
    client.read_exact(&mut asked).await?;
    assert_eq!(asked, [0, 0, 0, 8, 4, 210, 22, 47], "the wish for TLS");
    if let Some(tls) = tls {
        client.write_all(b"S").await?;
        let mut client = tls.accept(client).await?;
        in_tls.fetch_add(1, Ordering::SeqCst);
        copy_bidirectional(&mut client, &mut behind).await?;
    } else {
        client.write_all(b"N").await?;
        // Whoever wants no plain connection sends nothing any more.
        let first = client.read_u8().await?;
        in_plain.fetch_add(1, Ordering::SeqCst);
        behind.write_u8(first).await?;
        copy_bidirectional(&mut client, &mut behind).await?;
    }
    Ok(())
}

fn refused(answer: Result<Accepted>) -> String {
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
fn a_good_certificate_is_taken_and_everything_goes_through_tls() {
    let authority = Authority::new("ours");
    for sslmode in ["&sslmode=require", "&sslmode=verify-full", ""] {
        let database = Database::new();
        let server = Server::start(&database.url, Some(authority.acceptor("localhost", VALID)));
        let accepted = server.call(sslmode, &authority);
        assert_eq!(
            accepted.expect("stored"),
            Accepted::Pending(RequestId::new(UnixMillis(0), 1))
        );
        assert_eq!(server.used(), (true, false), "{sslmode}");
        assert_eq!(database.number("SELECT count(*) FROM bulkhead_messages"), 1);
    }
}

/// Not even where TLS is only preferred: what it says may be anybody's.
#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn bad_certificates_are_refused_and_told() {
    let (authority, another) = (Authority::new("ours"), Authority::new("another"));
    let database = Database::new();
    for (acceptor, told) in [
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
            let why = refused(server.call(sslmode, &authority));
            assert!(why.contains("certificate") && why.contains(told), "{why}");
            assert!(!server.used().1);
        }
    }
    let tables = format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = '{}'",
        database.schema
    );
    assert_eq!(database.number(&tables), 0, "nothing was said to it");
}

#[test]
#[ignore = "needs a PostgreSQL: run_tests.sh starts one"]
fn a_server_without_tls_is_used_only_where_tls_is_not_required() {
    let authority = Authority::new("ours");
    let database = Database::new();
    let server = Server::start(&database.url, None);
    for sslmode in ["&sslmode=require", "&sslmode=verify-full"] {
        let why = refused(server.call(sslmode, &authority));
        assert!(why.contains("does not support TLS"), "{why}");
        assert_eq!(server.used(), (false, false), "{sslmode}");
    }
    for sslmode in ["&sslmode=prefer", ""] {
        assert!(server.call(sslmode, &authority).is_ok(), "{sslmode}");
        assert_eq!(server.used(), (false, true), "{sslmode}");
    }
}
