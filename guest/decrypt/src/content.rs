//! The packets inside the encryption: compression, signatures, and one literal data packet (RFC 9580 section 10.3). They
//! have been authenticated before.

use crate::container::Plaintext;
use crate::packet::{Packets, tag};
use crate::rejection::{Limit, Limits, Rejection, too_costly, unsupported};
use crate::session::Reader;
use pgp::packet::Decompressor;
use std::borrow::Cow;
use std::io::Read as _;
use std::ops::Range;

/// The compression ratio is limited only for more plaintext than this, in bytes: less is cheap at any ratio.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Number of bytes by which a layer may exceed the limit on plaintext: for packet headers, signatures and a file name.
const LAYER_OVERHEAD_BYTES: u64 = 64 << 10;

const MALFORMED: &str = "its decrypted content is not a well-formed OpenPGP message";

/// Returns the data of the only literal data packet in `plain`.
///
/// The compression ratio is measured against `encrypted_bytes`, the length of the encrypted data.
pub(crate) fn literal(
    plain: Plaintext,
    encrypted_bytes: usize,
    limits: &Limits,
) -> Result<Vec<u8>, Rejection> {
    let content = Content {
        encrypted_bytes: encrypted_bytes as u64,
        limits,
    };
    let (bytes, start) = plain.into_parts();
    content
        .literal(bytes, start, 0)?
        .ok_or_else(|| unsupported("its decrypted content has no literal data packet"))
}

struct Content<'a> {
    encrypted_bytes: u64,
    limits: &'a Limits,
}

/// The place of the literal data.
enum Located {
    /// A range of the layer that was searched, so that megabytes need not be copied.
    InLayer(Range<usize>),
    /// A buffer of its own.
    Extracted(Vec<u8>),
}

impl Content<'_> {
    /// Returns the literal data of one layer, whose packets begin at `start`. The limit on layers bounds the recursion.
    fn literal(
        &self,
        mut layer: Vec<u8>,
        start: usize,
        layers: u32,
    ) -> Result<Option<Vec<u8>>, Rejection> {
        let mut found = None;
        let mut compressed = false;
        let mut packets = Packets::new(&layer[start..]);
        while let Some(packet) = packets.next().map_err(|_| unsupported(MALFORMED))? {
            match packet.tag {
                tag::LITERAL => {
                    reject_second(found.as_ref())?;
                    let data = self.data(&packet.body)?;
                    found = Some(match packet.body {
                        Cow::Borrowed(_) => {
                            let end = layer.len() - packets.rest().len();
                            Located::InLayer(end - data.len()..end)
                        }
                        Cow::Owned(_) => Located::Extracted(data.to_vec()),
                    });
                }
                tag::COMPRESSED => {
                    reject_second(found.as_ref())?;
                    // A message has at most one per layer. Each would be unpacked up to the limit.
                    if std::mem::replace(&mut compressed, true) {
                        return Err(unsupported("it contains more than one compressed packet"));
                    }
                    if layers >= self.limits.compression_layers {
                        return Err(too_costly(
                            Limit::CompressionLayers,
                            u64::from(layers) + 1,
                            self.limits.compression_layers.into(),
                        ));
                    }
                    let inner = self.decompress(&packet.body)?;
                    found = self.literal(inner, 0, layers + 1)?.map(Located::Extracted);
                }
                // Signatures are not verified, because the component has no public keys.
                tag::ONE_PASS_SIGNATURE
                | tag::SIGNATURE
                | tag::MARKER
                | tag::PADDING
                | tag::NON_CRITICAL.. => {}
                tag::SEIPD
                | tag::GNUPG_AEAD
                | tag::ENCRYPTED_UNPROTECTED
                | tag::SKESK
                | tag::PKESK => {
                    return Err(unsupported("it contains another encrypted message"));
                }
                _ => return Err(unsupported(MALFORMED)),
            }
        }
        Ok(match found {
            None => None,
            Some(Located::Extracted(data)) => Some(data),
            Some(Located::InLayer(range)) => {
                layer.truncate(range.end);
                layer.drain(..range.start);
                Some(layer)
            }
        })
    }

    /// Returns the data of a literal data packet, which follows the format, the file name and the date (RFC 9580 section
    /// 5.9). The format is advice about line ends; the data is returned unchanged.
    fn data<'b>(&self, body: &'b [u8]) -> Result<&'b [u8], Rejection> {
        let mut body = Reader(body);
        body.byte()?;
        let name_bytes = body.byte()?;
        body.take(usize::from(name_bytes) + 4)?;
        let data = body.rest();
        let allowed = self.limits.plaintext_bytes;
        if data.len() as u64 > allowed {
            return Err(too_costly(
                Limit::PlaintextBytes,
                data.len() as u64,
                allowed,
            ));
        }
        Ok(data)
    }

    fn decompress(&self, body: &[u8]) -> Result<Vec<u8>, Rejection> {
        // The number of the algorithm was encrypted, so the error does not contain it.
        let mut reader = Decompressor::from_reader(body)
            .map_err(|_| unsupported("it is compressed with an unknown algorithm"))?;
        let bytes_max = self.limits.plaintext_bytes + LAYER_OVERHEAD_BYTES;
        let ratio_max = u64::from(self.limits.compression_ratio);
        let by_ratio = RATIO_FREE_BYTES.max(self.encrypted_bytes.saturating_mul(ratio_max));
        let allowed = bytes_max.min(by_ratio);
        let mut layer = Vec::with_capacity(body.len().saturating_mul(2));
        reader
            .by_ref()
            .take(allowed + 1)
            .read_to_end(&mut layer)
            .map_err(|_| unsupported("its compressed data is malformed"))?;
        if layer.len() as u64 <= allowed {
            return Ok(layer);
        }
        Err(if by_ratio < bytes_max {
            let ratio = layer.len() as u64 / self.encrypted_bytes.max(1);
            too_costly(Limit::CompressionRatio, ratio.max(ratio_max + 1), ratio_max)
        } else {
            // The total size is not known. It is at least this large.
            let at_least = layer.len() as u64;
            too_costly(Limit::PlaintextBytes, at_least, self.limits.plaintext_bytes)
        })
    }
}

fn reject_second(found: Option<&Located>) -> Result<(), Rejection> {
    match found {
        None => Ok(()),
        Some(_) => Err(unsupported("it contains more than one text or file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(
        bytes: Vec<u8>,
        encrypted_bytes: usize,
        limits: &Limits,
    ) -> Result<Vec<u8>, Rejection> {
        super::literal(Plaintext::whole(bytes), encrypted_bytes, limits)
    }

    const LIMITS: Limits = Limits {
        plaintext_bytes: 1000,
        compression_layers: 2,
        compression_ratio: 100,
        session_key_packets: 1,
        armor_header_bytes: 0,
    };

    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xc0 | tag, 255];
        packet.extend_from_slice(
            &u32::try_from(body.len())
                .expect("the body should be short")
                .to_be_bytes(),
        );
        packet.extend_from_slice(body);
        packet
    }

    fn literal_packet(data: &[u8]) -> Vec<u8> {
        packet(tag::LITERAL, &[b"b\x01n\0\0\0\0", data].concat())
    }

    fn uncompressed(inside: &[u8]) -> Vec<u8> {
        packet(tag::COMPRESSED, &[&[0], inside].concat())
    }

    #[test]
    fn literal_data_is_found_among_signatures_and_padding() {
        let message = [
            packet(tag::MARKER, b"PGP"),
            packet(tag::ONE_PASS_SIGNATURE, &[3; 13]),
            literal_packet(b"text"),
            packet(tag::SIGNATURE, &[4; 30]),
            packet(tag::PADDING, &[0; 9]),
            packet(60, b"private"),
        ]
        .concat();
        assert_eq!(literal(message.clone(), 1, &LIMITS), Ok(b"text".to_vec()));
        assert_eq!(
            literal(uncompressed(&message), 1, &LIMITS),
            Ok(b"text".to_vec())
        );
    }

    #[test]
    fn second_literal_data_packet_is_rejected_in_every_position() {
        let one = literal_packet(b"1");
        for message in [
            [one.clone(), one.clone()].concat(),
            [uncompressed(&one), one.clone()].concat(),
            [one.clone(), uncompressed(&one)].concat(),
        ] {
            assert!(matches!(
                literal(message.clone(), 1, &LIMITS),
                Err(Rejection::Unsupported(_))
            ));
        }
    }

    #[test]
    fn limits_are_inclusive() {
        assert!(literal(literal_packet(&[7; 1000]), 1, &LIMITS).is_ok());
        let Err(Rejection::TooCostly(excess)) = literal(literal_packet(&[7; 1001]), 1, &LIMITS)
        else {
            panic!("the message should exceed the limit");
        };
        assert_eq!(
            (excess.limit, excess.requested, excess.allowed),
            (Limit::PlaintextBytes, 1001, 1000)
        );
        let two = uncompressed(&uncompressed(&literal_packet(b"x")));
        assert!(literal(two.clone(), 1, &LIMITS).is_ok());
        let Err(Rejection::TooCostly(excess)) = literal(uncompressed(&two), 1, &LIMITS) else {
            panic!("the message should exceed the limit");
        };
        assert_eq!(
            (excess.limit, excess.requested),
            (Limit::CompressionLayers, 3)
        );
    }

    #[test]
    fn empty_and_malformed_content_is_rejected() {
        for message in [
            &[][..],
            b"hello",
            &[0xcb, 200, 1],
            &packet(tag::LITERAL, b"b\xff"),
        ] {
            assert!(matches!(
                literal(message.to_vec(), 1, &LIMITS),
                Err(Rejection::Unsupported(_))
            ));
        }
    }
}
