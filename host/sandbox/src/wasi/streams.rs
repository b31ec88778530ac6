//! Streams that discard output and are at the end of their input. No call blocks. wasmtime's own streams
//! block on a tokio runtime in each call, which panics on a thread that already drives a runtime. I/O
//! threads do, and they call guests.

use wasmtime::Result;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::sync::io::poll::{Host as PollHost, HostPollable, Pollable};
use wasmtime_wasi::p2::bindings::sync::io::streams::{
    self, Host, HostInputStream, HostOutputStream, InputStream, OutputStream,
};
use wasmtime_wasi::p2::{StreamError, StreamResult};

/// Maximum number of bytes in one write.
const WRITE_MAX: u64 = 64 << 10;

pub(super) struct Streams;

impl HasData for Streams {
    type Data<'a> = Inert<'a>;
}

/// The resources of one instance. No method of a stream in the table is called.
pub(super) struct Inert<'a>(pub(super) &'a mut ResourceTable);

impl Host for Inert<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        match error {
            StreamError::Closed => Ok(streams::StreamError::Closed),
            StreamError::LastOperationFailed(error) | StreamError::Trap(error) => Err(error),
        }
    }
}

impl HostInputStream for Inert<'_> {
    fn read(&mut self, _: Resource<InputStream>, _: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }

    fn blocking_read(&mut self, _: Resource<InputStream>, _: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }

    fn skip(&mut self, _: Resource<InputStream>, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn blocking_skip(&mut self, _: Resource<InputStream>, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn subscribe(&mut self, stream: Resource<InputStream>) -> Result<Resource<Pollable>> {
        HostInputStream::subscribe(self.0, stream)
    }

    fn drop(&mut self, stream: Resource<InputStream>) -> Result<()> {
        self.0.delete(stream)?;
        Ok(())
    }
}

impl HostOutputStream for Inert<'_> {
    fn check_write(&mut self, _: Resource<OutputStream>) -> StreamResult<u64> {
        Ok(WRITE_MAX)
    }

    fn write(&mut self, _: Resource<OutputStream>, _: Vec<u8>) -> StreamResult<()> {
        Ok(())
    }

    fn blocking_write_and_flush(
        &mut self,
        _: Resource<OutputStream>,
        _: Vec<u8>,
    ) -> StreamResult<()> {
        Ok(())
    }

    fn flush(&mut self, _: Resource<OutputStream>) -> StreamResult<()> {
        Ok(())
    }

    fn blocking_flush(&mut self, _: Resource<OutputStream>) -> StreamResult<()> {
        Ok(())
    }

    fn subscribe(&mut self, stream: Resource<OutputStream>) -> Result<Resource<Pollable>> {
        HostOutputStream::subscribe(self.0, stream)
    }

    fn write_zeroes(&mut self, _: Resource<OutputStream>, _: u64) -> StreamResult<()> {
        Ok(())
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        _: Resource<OutputStream>,
        _: u64,
    ) -> StreamResult<()> {
        Ok(())
    }

    fn splice(
        &mut self,
        _: Resource<OutputStream>,
        _: Resource<InputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn blocking_splice(
        &mut self,
        _: Resource<OutputStream>,
        _: Resource<InputStream>,
        _: u64,
    ) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn drop(&mut self, stream: Resource<OutputStream>) -> Result<()> {
        self.0.delete(stream)?;
        Ok(())
    }
}

impl PollHost for Inert<'_> {
    /// Returns all pollables as ready, because all of them belong to streams.
    fn poll(&mut self, pollables: Vec<Resource<Pollable>>) -> Result<Vec<u32>> {
        wasmtime::ensure!(!pollables.is_empty(), "poll is called with an empty list");
        (0..pollables.len())
            .map(|at| Ok(u32::try_from(at)?))
            .collect()
    }
}

impl HostPollable for Inert<'_> {
    fn ready(&mut self, _: Resource<Pollable>) -> Result<bool> {
        Ok(true)
    }

    fn block(&mut self, _: Resource<Pollable>) -> Result<()> {
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        HostPollable::drop(self.0, pollable)
    }
}
