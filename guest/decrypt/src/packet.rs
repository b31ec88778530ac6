//! Packet framing (RFC 9580 section 4.2): headers, lengths, and bodies assembled from partial lengths.
//!
//! rpgp's parser is not used, because it copies. Here the packets of many candidate positions are framed before one is
//! opened, and bodies of megabytes are passed on as slices. The cost is linear in the input, however short the parts are.

use std::borrow::Cow;

/// Packet type IDs (RFC 9580 section 5; 20 is GnuPG's).
pub(crate) mod tag {
    pub(crate) const PKESK: u8 = 1;
    pub(crate) const SIGNATURE: u8 = 2;
    pub(crate) const SKESK: u8 = 3;
    pub(crate) const ONE_PASS_SIGNATURE: u8 = 4;
    pub(crate) const SECRET_KEY: u8 = 5;
    pub(crate) const PUBLIC_KEY: u8 = 6;
    pub(crate) const COMPRESSED: u8 = 8;
    pub(crate) const ENCRYPTED_UNPROTECTED: u8 = 9;
    pub(crate) const MARKER: u8 = 10;
    pub(crate) const LITERAL: u8 = 11;
    pub(crate) const SEIPD: u8 = 18;
    pub(crate) const GNUPG_AEAD: u8 = 20;
    pub(crate) const PADDING: u8 = 21;
    /// Packets of unknown types from this number on must be ignored (RFC 9580 section 4.3).
    pub(crate) const NON_CRITICAL: u8 = 40;
}

/// One packet. The body borrows from the input unless it has partial lengths.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub(crate) tag: u8,
    pub(crate) body: Cow<'a, [u8]>,
}

/// The reason for which no further packet could be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FramingError {
    /// The input ends before the packet does.
    Truncated,
    /// The data is not a packet: bit 7 is clear, or a partial length is not allowed for the type.
    Malformed,
}

/// Iterates over the packets of a sequence.
#[derive(Debug, Clone)]
pub(crate) struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the bytes that have not been framed yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the next packet, or `None` at the end. After an error the position is unspecified.
    pub(crate) fn next(&mut self) -> Result<Option<Packet<'a>>, FramingError> {
        let Some(header) = self.rest.first().copied() else {
            return Ok(None);
        };
        self.take(1)?;
        match header >> 6 {
            0b11 => self.new_format(header & 0x3f).map(Some),
            0b10 => self.old_format(header >> 2 & 0x0f, header & 0x03).map(Some),
            _ => Err(FramingError::Malformed),
        }
    }

    fn old_format(&mut self, tag: u8, length_type: u8) -> Result<Packet<'a>, FramingError> {
        let len = match length_type {
            0 => self.take_number(1)?,
            1 => self.take_number(2)?,
            2 => self.take_number(4)?,
            _ if may_be_streamed(tag) => self.rest.len(),
            _ => return Err(FramingError::Malformed),
        };
        let body = Cow::Borrowed(self.take(len)?);
        Ok(Packet { tag, body })
    }

    fn new_format(&mut self, tag: u8) -> Result<Packet<'a>, FramingError> {
        let body = match self.take_length()? {
            Length::Final(len) => Cow::Borrowed(self.take(len)?),
            Length::Partial(_) if !may_be_streamed(tag) => return Err(FramingError::Malformed),
            Length::Partial(first) => {
                // The input bounds the length of the body. Growing the buffer would copy.
                let mut body = Vec::with_capacity(self.rest.len());
                body.extend_from_slice(self.take(first)?);
                loop {
                    let (len, last) = match self.take_length()? {
                        Length::Final(len) => (len, true),
                        Length::Partial(len) => (len, false),
                    };
                    body.extend_from_slice(self.take(len)?);
                    if last {
                        break Cow::Owned(body);
                    }
                }
            }
        };
        Ok(Packet { tag, body })
    }

    fn take_length(&mut self) -> Result<Length, FramingError> {
        let first = self.take(1)?[0];
        Ok(match first {
            0..=191 => Length::Final(first.into()),
            192..=223 => {
                let second = self.take_number(1)?;
                Length::Final(((usize::from(first) - 192) << 8) + second + 192)
            }
            224..=254 => Length::Partial(1 << (first & 0x1f)),
            255 => Length::Final(self.take_number(4)?),
        })
    }

    fn take_number(&mut self, bytes: usize) -> Result<usize, FramingError> {
        let number = self.take(bytes)?;
        Ok(number.iter().fold(0, |n, &byte| n << 8 | usize::from(byte)))
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], FramingError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(bytes)
            .ok_or(FramingError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

enum Length {
    Final(usize),
    Partial(usize),
}

/// Returns whether a packet type may have partial and indeterminate lengths: only data packets may (RFC 9580 section
/// 4.2.1.4).
fn may_be_streamed(tag: u8) -> bool {
    matches!(
        tag,
        tag::COMPRESSED | tag::ENCRYPTED_UNPROTECTED | tag::LITERAL | tag::SEIPD | tag::GNUPG_AEAD
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, FramingError> {
        let mut packets = Packets::new(bytes);
        let mut found = Vec::new();
        while let Some(packet) = packets.next()? {
            found.push((packet.tag, packet.body.into_owned()));
        }
        Ok(found)
    }

    #[test]
    fn packets_are_framed_with_every_form_of_length() {
        assert_eq!(all(&[0x8c, 2, 1, 2]), Ok(vec![(3, vec![1, 2])]));
        assert_eq!(all(&[0x8d, 0, 1, 7]), Ok(vec![(3, vec![7])]));
        assert_eq!(all(&[0x8e, 0, 0, 0, 1, 7]), Ok(vec![(3, vec![7])]));
        assert_eq!(all(&[0xa3, 1, 2, 3]), Ok(vec![(8, vec![1, 2, 3])]));
        assert_eq!(
            all(&[0xc3, 1, 9, 0xca, 0]),
            Ok(vec![(3, vec![9]), (10, vec![])])
        );
        let mut two_bytes = vec![0xd2, 192, 8];
        two_bytes.extend([5; 200]);
        assert_eq!(all(&two_bytes), Ok(vec![(18, vec![5; 200])]));
        assert_eq!(all(&[0xd2, 255, 0, 0, 0, 1, 5]), Ok(vec![(18, vec![5])]));
    }

    #[test]
    fn partial_bodies_are_joined_and_may_end_with_an_empty_part() {
        // Parts of 2, 1 and 0 bytes.
        assert_eq!(
            all(&[0xd2, 225, 1, 2, 224, 3, 0]),
            Ok(vec![(18, vec![1, 2, 3])])
        );
        assert_eq!(
            all(&[0xd2, 225, 1, 2, 224, 3]),
            Err(FramingError::Truncated)
        );
    }

    #[test]
    fn partial_and_indeterminate_lengths_are_rejected_except_for_data_packets() {
        assert_eq!(all(&[0xc3, 224, 1, 0]), Err(FramingError::Malformed));
        assert_eq!(all(&[0x8f, 1]), Err(FramingError::Malformed));
    }

    #[test]
    fn truncated_and_malformed_packets_are_rejected() {
        assert_eq!(all(&[0x8c, 2, 1]), Err(FramingError::Truncated));
        assert_eq!(
            all(&[0xd2, 255, 255, 255, 255, 255]),
            Err(FramingError::Truncated)
        );
        assert_eq!(all(&[0x40]), Err(FramingError::Malformed));
        assert_eq!(all(&[]), Ok(vec![]));
    }
}
