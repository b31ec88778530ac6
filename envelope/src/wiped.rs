//! Buffers for confidential bytes.

use std::ops::Deref;

/// A buffer for passphrases and plaintexts that may have megabytes. Its bytes are overwritten when it is dropped, and when
/// it moves because it grows.
///
/// `zeroize` overwrites byte by byte, whereas this type works at the speed of memory. Reserved memory that was never
/// written to is not overwritten, because the kernel may not have provided it yet.
#[derive(Default)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// Creates an empty buffer with a capacity of at least `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Returns the capacity in bytes that the buffer will have once it contains `bytes` bytes.
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
            // `Vec::reserve` would not overwrite the old place.
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
        // Without the barrier, the compiler may remove the write.
        zeroize::optimization_barrier(&self.0[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_when_the_buffer_grows() {
        let mut wiped = Wiped::with_capacity(3);
        for at in 0..100_u8 {
            wiped.extend_from_slice(&[at; 7]);
        }
        assert_eq!(wiped.len(), 700);
        assert!(wiped.chunks(7).zip(0..).all(|(part, at)| part == [at; 7]));
    }
}
