//! The addresses that a server listens on.

use crate::tls::Tls;
use std::fmt::{Display, Formatter};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Before the path of a Unix socket.
const UNIX: &str = "unix:";

/// Rights of a Unix socket: the server's user and group may connect.
const UNIX_MODE: u32 = 0o660;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Returns whether other machines cannot reach the address.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix(UNIX) {
            // The kernel's limit is 108 bytes with the final zero.
            return if (1..=107).contains(&path.len()) {
                Ok(Self::Unix(path.into()))
            } else {
                Err("give a path of 1 to 107 bytes after unix:, as in unix:/run/bulkhead.sock")
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "give an IP address and a port, as in 127.0.0.1:8080 or [::]:80, or unix: and a path"
        })
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// An open listener.
pub struct Listener {
    socket: ListeningSocket,
    address: Address,
    tls: Option<Arc<Tls>>,
}

enum ListeningSocket {
    Tcp(TcpListener),
    Unix {
        socket: UnixListener,
        _file: RemovedFile,
    },
}

/// A file that is removed when this is dropped.
struct RemovedFile(PathBuf);

impl Drop for RemovedFile {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens on an address. TLS applies to TCP only.
    ///
    /// # Errors
    /// If the address is in use, or the system does not allow it.
    pub async fn bind(address: &Address, tls: Option<Arc<Tls>>) -> std::io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let socket = TcpListener::bind(address).await?;
                Ok(Self {
                    address: Address::Tcp(socket.local_addr()?),
                    socket: ListeningSocket::Tcp(socket),
                    tls,
                })
            }
            Address::Unix(path) => {
                remove_unused(path)?;
                let socket = UnixListener::bind(path)?;
                let file = RemovedFile(path.clone());
                let rights = std::fs::Permissions::from_mode(UNIX_MODE);
                std::fs::set_permissions(path, rights)?;
                Ok(Self {
                    socket: ListeningSocket::Unix {
                        socket,
                        _file: file,
                    },
                    address: address.clone(),
                    tls: None,
                })
            }
        }
    }

    /// Returns the address, with the port that the system has chosen.
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Waits for a connection. It is not registered with this thread's event queue, so that another thread
    /// can register it.
    pub(crate) async fn accept(&self) -> std::io::Result<Accepted> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok(Accepted::Tcp(stream.into_std()?, peer))
            }
            ListeningSocket::Unix { socket, .. } => {
                let (stream, _) = socket.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }
}

/// Removes the socket that a server left behind which did not end regularly.
fn remove_unused(path: &Path) -> std::io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// A connection that was accepted.
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection that is registered with the thread on which it lives.
pub(crate) enum Opened {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(*peer),
            Self::Unix(_) => None,
        }
    }

    /// Registers the connection with the event queue of this thread.
    pub(crate) fn open(self) -> std::io::Result<Opened> {
        match self {
            Self::Tcp(stream, _) => {
                let stream = TcpStream::from_std(stream)?;
                let _slower_at_worst = stream.set_nodelay(true);
                Ok(Opened::Tcp(stream))
            }
            Self::Unix(stream) => Ok(Opened::Unix(UnixStream::from_std(stream)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_ip_and_port_or_the_path_of_a_unix_socket() {
        for text in ["127.0.0.1:8080", "[::1]:80", "unix:/run/a.sock"] {
            let address: Address = text.parse().expect("address should be valid");
            assert_eq!(address.to_string(), text);
            assert!(address.is_local(), "{text}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        for text in ["", "localhost:80", "127.0.0.1", ":80", "unix:", &long] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
            let address: Address = text.parse().expect("address should be valid");
            assert!(!address.is_local(), "{text}");
        }
    }

    #[tokio::test]
    async fn socket_of_a_server_that_has_ended_is_replaced_and_a_used_one_is_not() {
        let folder = std::env::temp_dir().join(format!("bulkhead-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("folder should be created");
        let path = folder.join("s");
        let address = Address::Unix(path.clone());
        // The standard library leaves the file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("socket should be bound"));
        let listener = Listener::bind(&address, None)
            .await
            .expect("socket should be bound");
        let mode = std::fs::metadata(&path)
            .expect("file should exist")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, UNIX_MODE);
        assert!(Listener::bind(&address, None).await.is_err());
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "a file").expect("file should be written");
        assert!(Listener::bind(&address, None).await.is_err());
        std::fs::remove_dir_all(&folder).expect("folder should be removed");
    }
}
