//! The connection below HTTP.
//!
//! It records whether a byte of the request may have been sent, sends nothing after `send_before`,
//! and limits the number of bytes read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::connect::Stream;

/// The state of the first byte of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstByte {
    Unsent,
    /// It could not be sent.
    Failed,
    /// It may have been sent.
    Sent,
}

#[derive(Debug)]
pub(crate) struct TrackedStream {
    stream: Stream,
    send_before: Instant,
    bytes_left: usize,
    /// Waker of a read that waits until the first byte has been sent.
    reader: Option<Waker>,
    first_byte: FirstByte,
    /// Whether the first byte was not sent because it was too late.
    pub(crate) late: bool,
    /// Whether the response has more bytes than the limit.
    pub(crate) too_long: bool,
}

impl TrackedStream {
    pub(crate) fn new(stream: Stream, send_before: Instant, bytes_max: usize) -> Self {
        Self {
            stream,
            send_before,
            bytes_left: bytes_max,
            reader: None,
            first_byte: FirstByte::Unsent,
            late: false,
            too_long: false,
        }
    }

    /// Closes the connection in an orderly way, without waiting.
    pub(crate) fn close(mut self) {
        #[expect(
            deprecated,
            reason = "lingering for a time can block; `None` resets the option"
        )]
        // If it fails, the other side sees a reset after its response.
        let _ = self.stream.socket().set_linger(None);
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.stream().poll_shutdown(&mut context);
    }

    /// Returns whether a byte of the request may have been sent.
    pub(crate) fn sent(&self) -> bool {
        self.first_byte == FirstByte::Sent
    }

    /// Wakes a read that waits for the first byte to be sent.
    fn set_first_byte(&mut self, first_byte: FirstByte) {
        self.first_byte = first_byte;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn stream(&mut self) -> Pin<&mut dyn ReadWrite> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ReadWrite for T {}

impl AsyncRead for TrackedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tracked = self.get_mut();
        // A server may respond before it has received the request, for example if it is overloaded.
        // hyper would treat that as an error and send nothing.
        match tracked.first_byte {
            FirstByte::Unsent => {
                tracked.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            FirstByte::Failed => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            FirstByte::Sent => {}
        }
        let before = buffer.filled().len();
        let polled = tracked.stream().poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        if bytes > tracked.bytes_left {
            tracked.too_long = true;
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        tracked.bytes_left -= bytes;
        polled
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tracked = self.get_mut();
        if !tracked.sent() && Instant::now() >= tracked.send_before {
            tracked.late = true;
            tracked.set_first_byte(FirstByte::Failed);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let polled = tracked.stream().poll_write(context, buffer);
        // TLS may have sent a part before it failed.
        let may_have_left = match &polled {
            Poll::Pending => false,
            Poll::Ready(Ok(bytes)) => *bytes > 0,
            Poll::Ready(Err(_)) => matches!(tracked.stream, Stream::Tls(_)),
        };
        if !tracked.sent() {
            if may_have_left {
                tracked.set_first_byte(FirstByte::Sent);
            } else if matches!(polled, Poll::Ready(Err(_))) {
                tracked.set_first_byte(FirstByte::Failed);
            }
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_shutdown(context)
    }
}
