//! A listener that can be closed and reopened on the same port.

use super::connection::{Service, serve_connection};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

const CONNECTIONS_MAX: usize = 4096;
const STACK_BYTES: usize = 512 * 1024;

/// Accepts connections while it is open.
pub(crate) struct ReopenableListener {
    pub(crate) address: SocketAddr,
    /// Bound to the port without listening, so that no other process gets the port while the
    /// listener is closed.
    _reserved: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
    connections: Mutex<Vec<Weak<TcpStream>>>,
}

enum State {
    Open(Arc<TcpListener>),
    Closed { until: Option<Instant> },
}

impl ReopenableListener {
    /// Opens a listener at an address. With port 0, the kernel chooses a free port.
    pub(crate) fn new(address: SocketAddr) -> io::Result<Self> {
        let reserved = bound(address)?;
        let address = rustix::net::getsockname(&reserved)?;
        let address = SocketAddr::try_from(address)?;
        Ok(Self {
            address,
            _reserved: reserved,
            state: Mutex::new(State::Open(listener(address)?)),
            changed: Condvar::new(),
            connections: Mutex::default(),
        })
    }

    /// Closes the listener and all its connections before it returns. The listener reopens after
    /// `time`, if given, or by `open`.
    pub(crate) fn close(&self, time: Option<Duration>) {
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let before = std::mem::replace(&mut *self.state(), State::Closed { until });
        if let State::Open(listener) = before {
            // Ends a blocked `accept`. From here on, Linux refuses connections.
            rustix::net::shutdown(&listener, rustix::net::Shutdown::Both)
                .expect("listener should shut down");
        }
        self.changed.notify_all();
        for connection in lock(&self.connections).iter().filter_map(Weak::upgrade) {
            // The shutdown fails if the connection has already ended.
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    /// Reopens the listener before it returns.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        if matches!(*state, State::Closed { .. }) {
            *state = State::Open(listener(self.address).expect("reserved port should be free"));
            self.changed.notify_all();
        }
    }

    /// Accepts and serves connections until the process ends.
    pub(crate) fn serve(&self, service: &Arc<impl Service>) -> ! {
        loop {
            match self.listener().accept() {
                Ok((stream, _)) => self.admit(stream, Arc::clone(service)),
                // The listener was closed, or the process is out of descriptors for a moment.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn admit(&self, stream: TcpStream, service: Arc<impl Service>) {
        let stream = Arc::new(stream);
        let mut connections = lock(&self.connections);
        connections.retain(|connection| connection.strong_count() > 0);
        if connections.len() >= CONNECTIONS_MAX {
            return;
        }
        connections.push(Arc::downgrade(&stream));
        drop(connections);
        // The listener was closed after this connection was accepted and before it was listed.
        if matches!(*self.state(), State::Closed { .. }) {
            return;
        }
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        // Errors are ignored, because clients may disconnect at any time. If no thread can be
        // started, the connection is closed.
        drop(thread.spawn(move || serve_connection(stream, &*service)));
    }

    /// Waits until the listener is open.
    fn listener(&self) -> Arc<TcpListener> {
        let mut state = self.state();
        loop {
            let until = match &*state {
                State::Open(listener) => return Arc::clone(listener),
                State::Closed { until } => *until,
            };
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                None => ignoring_panics(self.changed.wait(state)),
                Some(Duration::ZERO) => {
                    drop(state);
                    self.open();
                    self.state()
                }
                Some(left) => ignoring_panics(self.changed.wait_timeout(state, left)).0,
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Locks a mutex even after a panic in another connection's thread, so that the mock goes on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignoring_panics(mutex.lock())
}

fn ignoring_panics<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

fn listener(address: SocketAddr) -> io::Result<Arc<TcpListener>> {
    let socket = bound(address)?;
    listen(&socket, 1024)?;
    Ok(Arc::new(TcpListener::from(socket)))
}

fn bound(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Linux lets two sockets share a port as long as only one of them listens.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}
