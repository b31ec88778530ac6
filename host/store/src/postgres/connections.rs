//! The connections, their number, and the time limit of calls.

use super::{PostgresSetup, Replica, Work, schema};
use crate::{Result, StoreError, Unavailable, Unusable};
use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, PoolConfig, RecyclingMethod};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The class of a call that needs a connection. Thousands of callers must not delay the work that
/// completes their requests, or the heartbeats.
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
    /// Held while the tables are checked or migrated.
    pub(super) migrating: Mutex<()>,
}

impl Connections {
    pub(super) fn new(url: &str, setup: &PostgresSetup) -> Result<Self> {
        let config = config(url, setup)?;
        let how = ManagerConfig {
            // The task of a connection notices if it breaks. A hanging connection is discarded
            // below.
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

    /// Runs `work` with a connection, within the time limit of a call. The connection is discarded
    /// after a failure, because it may be broken, in the middle of a transaction, or connected to
    /// the wrong server.
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
        // A connection that is available later is useless, because too little time is left.
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
        // A commit is on disk before it returns, whatever the default of the database is. A
        // stricter default (`remote_apply`) is kept. The time-outs end calls that were cancelled
        // here, and transactions of replicas that have died.
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

/// A connection that returns to the pool only if it is known to be sound. A dropped future may
/// leave it in the middle of a transaction.
struct Borrowed {
    object: Option<Client>,
    is_sound: bool,
}

impl Borrowed {
    fn client(&mut self) -> &mut Client {
        self.object
            .as_mut()
            .expect("only drop should take the connection")
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
    /// Checks a URL and a separate password without connecting. Returns the hosts of the URL,
    /// without user, database and options. Returns `None` if a host contains characters that host
    /// names do not have, because it may be a part of a password.
    ///
    /// # Errors
    /// [`Unusable`] if the URL, or the URL together with the password, cannot be used.
    pub fn check_url(url: &str, password: Option<&[u8]>) -> Result<Option<String>> {
        let config = parse(url, password)?;
        let is_name = |host: &str| {
            host.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte))
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

/// Parses a URL. Errors of the parser are dropped, because they may quote it.
fn parse(url: &str, password: Option<&[u8]>) -> Result<Config> {
    // Certificates and names are always verified with TLS.
    let url_text = match url.rsplit_once('?') {
        Some((head, options)) => {
            let options = options.replace("sslmode=verify-full", "sslmode=require");
            format!("{head}?{options}")
        }
        None => url.to_owned(),
    };
    let mut config: Config = url_text.parse().map_err(|_| Unusable::Url)?;
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
        // A standby does not accept changes.
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
