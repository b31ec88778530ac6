//! Connections, how many there are, and how long anything takes at most.

use super::{PostgresSetup, Replica, Work, schema};
use crate::{Result, StoreError, Unavailable, Unusable};
use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolConfig, RecyclingMethod};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Who waits for a connection. Callers that come in thousands must not keep those from their work
/// that get rid of them, nor a session from its beat.
#[derive(Clone, Copy)]
pub(super) enum PoolClass {
    Callers,
    Work,
}

pub(super) struct Connections {
    pool: Pool,
    callers: Semaphore,
    work: Semaphore,
    timeout: Duration,
    /// Held by whoever looks after the tables.
    pub(super) migrating: Mutex<()>,
}

impl Connections {
    pub(super) fn new(url: &str, setup: &PostgresSetup) -> Result<Self> {
        let config = config(url, setup)?;
        let how = ManagerConfig {
            // A broken one is noticed by its task; one that hangs is thrown away below.
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match &setup.tls {
            Some(tls) => Manager::from_config(config, MakeRustlsConnect::new((**tls).clone()), how),
            None => Manager::from_config(config, NoTls, how),
        };
        let all = setup.connections_max.max(2);
        let work = (all / 4).max(1);
        let pool = Pool::builder(manager).config(PoolConfig::new(all)).build();
        let pool = pool.map_err(|error| Unavailable::Postgres(error.to_string()))?;
        Ok(Self {
            pool,
            callers: Semaphore::new(all - work),
            work: Semaphore::new(work),
            timeout: setup.timeout,
            migrating: Mutex::new(()),
        })
    }

    /// Does the work with a connection, within the time for a call. After a failure the connection is
    /// thrown away: it may be broken, in the middle of something, or to a server that is no longer the
    /// right one.
    pub(super) async fn with<T>(
        &self,
        class: PoolClass,
        replica: &Replica,
        work: impl for<'c> FnOnce(&'c Replica, &'c mut Client) -> Work<'c, T>,
    ) -> Result<T> {
        let deadline = Instant::now() + self.timeout;
        let class = match class {
            PoolClass::Callers => &self.callers,
            PoolClass::Work => &self.work,
        };
        // Whoever gets one late could do nothing with it.
        let Ok(Ok(_permit)) = timeout_at(deadline - self.timeout / 4, class.acquire()).await else {
            return Err(StoreError::Busy);
        };
        let work = async {
            let mut connection = self.connection(replica).await?;
            let done = work(replica, connection.client()).await;
            connection.is_sound =
                matches!(done, Ok(_) | Err(StoreError::LeaseLost | StoreError::Busy));
            done
        };
        timeout_at(deadline, work)
            .await
            .unwrap_or_else(|_| Err(Unavailable::TimedOut(self.timeout).into()))
    }

    async fn connection(&self, replica: &Replica) -> Result<Borrowed> {
        let mut connection = Borrowed {
            object: Some(self.pool.get().await?),
            is_sound: false,
        };
        let is_new = connection
            .object
            .as_ref()
            .is_some_and(|object| Client::metrics(object).recycle_count == 0);
        if is_new {
            self.set_up(connection.client(), replica).await?;
        }
        Ok(connection)
    }

    async fn set_up(&self, client: &mut Client, replica: &Replica) -> Result<()> {
        let limit = self.timeout.as_millis().to_string();
        // A commit is on disk before it returns, whatever the database's default; a default that waits
        // for more stays. The times end what we gave up, and what a replica that died left open.
        client
            .query_one(
                "SELECT set_config('synchronous_commit',
                   CASE current_setting('synchronous_commit')
                     WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
                 set_config('statement_timeout', $1, false),
                 set_config('idle_in_transaction_session_timeout', $1, false),
                 set_config('default_transaction_isolation', 'read committed', false),
                 set_config('default_transaction_read_only', 'off', false),
                 set_config('default_transaction_deferrable', 'off', false),
                 set_config('jit', 'off', false)",
                &[&limit],
            )
            .await?;
        schema::ensure(client, replica).await
    }
}

/// A connection that goes back to the pool only if it is known to be sound: whoever drops the work in
/// the middle leaves it in the middle.
struct Borrowed {
    object: Option<Client>,
    is_sound: bool,
}

impl Borrowed {
    fn client(&mut self) -> &mut Client {
        self.object.as_mut().expect("it is only taken by drop")
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.is_sound
            && let Some(object) = self.object.take()
        {
            drop(Client::take(object));
        }
    }
}

impl super::Postgres {
    /// What [`Postgres::connect`](super::Postgres::connect) says to a URL and a password beside it: why it
    /// cannot be used, or where it leads, without user, database and options. `None` where what it names
    /// cannot be the name of a host, and may be a part of a password.
    ///
    /// # Errors
    /// [`Unusable`] where the URL, or the URL together with the password, cannot be used.
    pub fn judge(url: &str, password: Option<&[u8]>) -> Result<Option<String>> {
        let config = parse(url, password)?;
        let is_name = |host: &str| {
            host.bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_.:/".contains(&octet))
        };
        let mut places = Vec::new();
        for (at, host) in config.get_hosts().iter().enumerate() {
            let host = match host {
                Host::Tcp(name) => name.into(),
                Host::Unix(folder) => folder.to_string_lossy(),
            };
            if !is_name(&host) {
                return Ok(None);
            }
            let ports = config.get_ports();
            let port = ports.get(at).or_else(|| ports.first());
            places.push(match port {
                Some(port) if host.contains(':') => format!("[{host}]:{port}"),
                Some(port) => format!("{host}:{port}"),
                None => host.into_owned(),
            });
        }
        Ok(Some(format!("postgres://{}/…", places.join(","))))
    }
}

/// What a URL says. Its own errors may quote it.
fn parse(url: &str, password: Option<&[u8]>) -> Result<Config> {
    // Certificates and names are verified whenever there is TLS.
    let asked = match url.rsplit_once('?') {
        Some((head, options)) => {
            let options = options.replace("sslmode=verify-full", "sslmode=require");
            format!("{head}?{options}")
        }
        None => url.to_owned(),
    };
    let mut config: Config = asked.parse().map_err(|_| Unusable::Url)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(Unusable::NoHost.into());
    }
    if let Some(password) = password {
        if config.get_password().is_some() {
            return Err(Unusable::TwoPasswords.into());
        }
        config.password(password);
    }
    Ok(config)
}

fn config(url: &str, setup: &PostgresSetup) -> Result<Config> {
    let mut config = parse(url, setup.password.as_deref())?;
    if setup.tls.is_none() {
        if config.get_ssl_mode() == SslMode::Require {
            return Err(Unusable::NoRoots.into());
        }
        config.ssl_mode(SslMode::Disable);
    }
    if config.get_hosts().len() > 1 || config.get_hostaddrs().len() > 1 {
        // Nothing can be stored with a standby.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(setup.timeout);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(setup.timeout);
    }
    config.keepalives_idle(Duration::from_secs(10));
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(Duration::from_secs(5));
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
    if config.get_application_name().is_none() {
        config.application_name("bulkhead");
    }
    Ok(config)
}
