//! Bytes that nobody is to find later.

use std::ops::Deref;

/// Passphrases and plaintexts by the megabyte: overwritten when they are dropped, and where they
/// were before they grew.
///
/// `zeroize` writes byte by byte; this is at memory speed. What is reserved and was never written
/// to is left alone: it may not even be in memory.
#[derive(Default)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// Empty, with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Bytes that there is room for once `bytes` are in it.
    pub fn capacity_for(&self, bytes: usize) -> usize {
        match self.0.capacity() {
            enough if bytes <= enough => enough,
            _ => bytes.next_power_of_two(),
        }
    }

    /// Appends `data`.
    pub fn extend_from_slice(&mut self, data: &[u8]) {
        let bytes = self.0.len() + data.len();
        let capacity = self.capacity_for(bytes);
        if capacity > self.0.capacity() {
            // Not `reserve`, which would leave the old place as it is.
            let mut larger = Self::with_capacity(capacity);
            larger.0.extend_from_slice(&self.0);
            *self = larger;
        }
        self.0.extend_from_slice(data);
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl std::io::Write for Wiped {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fill(0);
        // `fill` has the speed of memory; this keeps the compiler from leaving it out.
        zeroize::optimization_barrier(&self.0[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_keeps_what_it_holds() {
        let mut wiped = Wiped::with_capacity(3);
        for at in 0..100_u8 {
            wiped.extend_from_slice(&[at; 7]);
        }
        assert_eq!(wiped.len(), 700);
        assert!(wiped.chunks(7).zip(0..).all(|(part, at)| part == [at; 7]));
    }
}
