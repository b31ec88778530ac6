//! The socket for hyper. It ends a connection whose client does not receive responses in time.

use crate::head_timer::HeadStart;
use crate::socket::Socket;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// A socket with hyper's traits for reading and writing.
pub(crate) struct ConnectionIo {
    io: TokioIo<Socket>,
    write_timeout: Duration,
    head_start: HeadStart,
    /// The time by which all pending data of hyper must be written. It is set when a write first has to
    /// wait for the client.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl ConnectionIo {
    pub(crate) fn new(stream: Socket, write_timeout: Duration, head_start: HeadStart) -> Self {
        Self {
            io: TokioIo::new(stream),
            write_timeout,
            head_start,
            deadline: None,
        }
    }

    pub(crate) fn into_stream(self) -> Socket {
        self.io.into_inner()
    }

    /// Returns an error once pending data has waited too long. A client that does not receive its response
    /// occupies memory and a connection.
    fn within_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        if written.is_ready() {
            return written;
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.write_timeout)));
        deadline.as_mut().poll(cx).map(|()| {
            tracing::debug!("client did not receive its response in time");
            Err(ErrorKind::TimedOut.into())
        })
    }
}

impl Read for ConnectionIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_ready() {
            self.head_start.received();
        }
        read
    }
}

impl Write for ConnectionIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.within_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.within_time(cx, written)
    }

    /// hyper flushes after it has written all pending data. TLS may still hold some of it.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready() {
            self.deadline = None;
        }
        self.within_time(cx, flushed)
    }

    /// TLS writes a last message.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let shut_down = Pin::new(&mut self.io).poll_shutdown(cx);
        self.within_time(cx, shut_down)
    }
}
