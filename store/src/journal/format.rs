//! The journal's bytes: encoders and decoders for segment headers, groups, records and positions.
//!
//! The layout is written out in the module header of [`crate::journal`].
//!
//! **Not here**: I/O, and what a wrong byte means for the journal as a whole (`scan`, `recover`).

use aws_lc_rs::digest::{Context, SHA256};

use super::damage::DamageKind;

pub(super) const FORMAT_VERSION: u32 = 1;
pub(super) const SEGMENT_MAGIC: &[u8; 8] = b"BURSARJL";
pub(super) const SEGMENT_HEADER_BYTES: usize = 512;
pub(super) const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"BGRP");
pub(super) const GROUP_HEADER_BYTES: usize = 64;
pub(super) const RECORD_HEADER_BYTES: usize = 16;
/// Groups and records begin at multiples of this, so a search for a later group has few places to look.
pub(super) const ALIGN: usize = 8;

/// A SHA-256 over everything up to a point in the journal.
pub type Chain = [u8; 32];

/// Names an installation; every file of it carries the same 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InstallationId(pub [u8; 16]);

/// The chain before the first record: it already depends on the installation.
pub(super) fn genesis(installation: InstallationId) -> Chain {
    sha256(&[b"bursar journal", &installation.0])
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// What the first 512 bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub installation: InstallationId,
    pub segment: u64,
    pub first_record: u64,
    pub previous_chain: Chain,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[0..8].copy_from_slice(SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[16..32].copy_from_slice(&self.installation.0);
        out[32..40].copy_from_slice(&self.segment.to_le_bytes());
        out[40..48].copy_from_slice(&self.first_record.to_le_bytes());
        out[48..80].copy_from_slice(&self.previous_chain);
        let sum = crc(&[&out[..508]]);
        out[508..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Decodes a header; the error says at which byte.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, (u64, DamageKind)> {
        check_preamble(bytes, SEGMENT_MAGIC, SEGMENT_HEADER_BYTES)?;
        Ok(Self {
            installation: InstallationId(array_at(bytes, 16)),
            segment: u64_at(bytes, 32),
            first_record: u64_at(bytes, 40),
            previous_chain: array_at(bytes, 48),
        })
    }
}

/// Checks what every file of ours begins with: 8 magic bytes, the version, and a CRC at the end of the header.
///
/// The CRC is looked at before the version: a flipped bit is damage, not a newer format.
pub(crate) fn check_preamble(
    bytes: &[u8],
    magic: &[u8; 8],
    header_bytes: usize,
) -> Result<(), (u64, DamageKind)> {
    if bytes.len() < header_bytes {
        return Err((bytes.len() as u64, DamageKind::Truncated));
    }
    if bytes[..8] != magic[..] {
        return Err((0, DamageKind::Magic));
    }
    let sum_at = header_bytes - 4;
    if crc(&[&bytes[..sum_at]]) != u32_at(bytes, sum_at) {
        return Err((0, DamageKind::Checksum));
    }
    match u32_at(bytes, 8) {
        FORMAT_VERSION => Ok(()),
        found => Err((
            8,
            DamageKind::NewerFormat {
                found,
                known: FORMAT_VERSION,
            },
        )),
    }
}

/// Where a group lies; part of its checksum, so a group copied elsewhere is no group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub installation: InstallationId,
    pub segment: u64,
    pub offset: u64,
}

/// What the 64 bytes before a group's records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub body_bytes: u32,
    pub records: u32,
    pub first_record: u64,
    /// The highest record that was synced when this group was written.
    pub synced_record: u64,
    pub chain: Chain,
}

impl GroupHeader {
    pub(super) fn last_record(&self) -> u64 {
        self.first_record.saturating_add(u64::from(self.records)) - 1
    }

    pub(super) fn total_bytes(&self) -> u64 {
        GROUP_HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    fn sum(place: Place, after_sum: &[u8]) -> u32 {
        let Place {
            installation,
            segment,
            offset,
        } = place;
        crc(&[
            &installation.0,
            &segment.to_le_bytes(),
            &offset.to_le_bytes(),
            after_sum,
        ])
    }

    /// Decodes a header whose checksum matches its place and whose numbers are possible.
    pub(super) fn decode(
        bytes: &[u8; GROUP_HEADER_BYTES],
        place: Place,
    ) -> Result<Self, DamageKind> {
        if u32_at(bytes, 0) != GROUP_MAGIC {
            return Err(DamageKind::Magic);
        }
        if u32_at(bytes, 4) != Self::sum(place, &bytes[8..]) {
            return Err(DamageKind::Checksum);
        }
        let header = Self {
            body_bytes: u32_at(bytes, 8),
            records: u32_at(bytes, 12),
            first_record: u64_at(bytes, 16),
            synced_record: u64_at(bytes, 24),
            chain: array_at(bytes, 32),
        };
        let least = u64::from(header.records) * RECORD_HEADER_BYTES as u64;
        if u64::from(header.body_bytes) > super::GROUP_BYTES_MAX
            || header.records == 0
            || u64::from(header.body_bytes) < least
        {
            return Err(DamageKind::Length {
                found: u64::from(header.body_bytes),
            });
        }
        Ok(header)
    }
}

/// The chain after a group, from the chain before it, its header fields (bytes 8..32) and its body.
pub(super) fn next_chain(previous: &Chain, fields: &[u8], body: &[u8]) -> Chain {
    sha256(&[previous, fields, body])
}

/// Builds groups in one buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct GroupBuffer {
    bytes: Vec<u8>,
}

impl GroupBuffer {
    /// Bytes a group of these payloads takes, header and padding included.
    pub(super) fn size(payloads: &[&[u8]]) -> u64 {
        let body: u64 = payloads
            .iter()
            .map(|payload| RECORD_HEADER_BYTES as u64 + padded(payload.len()) as u64)
            .sum();
        GROUP_HEADER_BYTES as u64 + body
    }

    /// Encodes a group; gives its bytes and the chain after it. Calls `at` with each record's offset.
    pub(super) fn encode(
        &mut self,
        place: Place,
        previous: &Chain,
        first_record: u64,
        synced_record: u64,
        payloads: &[&[u8]],
        mut at: impl FnMut(u64, u32),
    ) -> (&[u8], Chain) {
        let out = &mut self.bytes;
        out.clear();
        out.resize(GROUP_HEADER_BYTES, 0);
        for (number, payload) in (first_record..).zip(payloads) {
            let len = u32::try_from(payload.len()).expect("group size was checked");
            at(place.offset + out.len() as u64, len);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&record_sum(number, payload).to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(payload);
            out.resize(out.len().next_multiple_of(ALIGN), 0);
        }
        let body_bytes =
            u32::try_from(out.len() - GROUP_HEADER_BYTES).expect("group size was checked");
        let records = u32::try_from(payloads.len()).expect("group size was checked");
        out[0..4].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
        out[8..12].copy_from_slice(&body_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&records.to_le_bytes());
        out[16..24].copy_from_slice(&first_record.to_le_bytes());
        out[24..32].copy_from_slice(&synced_record.to_le_bytes());
        let chain = next_chain(previous, &out[8..32], &out[GROUP_HEADER_BYTES..]);
        out[32..64].copy_from_slice(&chain);
        let sum = GroupHeader::sum(place, &out[8..GROUP_HEADER_BYTES]);
        out[4..8].copy_from_slice(&sum.to_le_bytes());
        (out, chain)
    }
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

fn record_sum(number: u64, payload: &[u8]) -> u32 {
    crc(&[
        &number.to_le_bytes(),
        &(payload.len() as u64).to_le_bytes(),
        payload,
    ])
}

/// A record inside a group's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawRecord<'a> {
    pub number: u64,
    /// Offset of the record's header from the start of the body.
    pub at: usize,
    pub payload: &'a [u8],
}

/// Decodes the record at `at` in `body`; the error's offset counts from the start of the body.
pub(super) fn record_at(
    body: &[u8],
    at: usize,
    expected: u64,
) -> Result<RawRecord<'_>, (u64, DamageKind)> {
    let here = at as u64;
    let rest = body.get(at..).unwrap_or_default();
    if rest.len() < RECORD_HEADER_BYTES {
        return Err((here, DamageKind::Truncated));
    }
    let len = u32_at(rest, 0);
    let room = rest.len() - RECORD_HEADER_BYTES;
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= room) else {
        return Err((
            here,
            DamageKind::Length {
                found: u64::from(len),
            },
        ));
    };
    let payload = &rest[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + len];
    let number = u64_at(rest, 8);
    if record_sum(number, payload) != u32_at(rest, 4) {
        return Err((here, DamageKind::Checksum));
    }
    if number != expected {
        return Err((
            here + 8,
            DamageKind::RecordNumber {
                found: number,
                expected,
            },
        ));
    }
    Ok(RawRecord {
        number,
        at,
        payload,
    })
}

impl RawRecord<'_> {
    /// Offset of the next record from the start of the body.
    pub(super) fn next_at(&self) -> usize {
        self.at + RECORD_HEADER_BYTES + padded(self.payload.len())
    }
}

/// Checks every record of a body against its group's header.
pub(super) fn check_body(header: &GroupHeader, body: &[u8]) -> Result<(), (u64, DamageKind)> {
    let mut at = 0;
    for number in header.first_record..=header.last_record() {
        let record = record_at(body, at, number)?;
        let end = record.at + RECORD_HEADER_BYTES + record.payload.len();
        at = record.next_at();
        match body.get(end..at) {
            None => return Err((end as u64, DamageKind::Truncated)),
            Some(padding) if padding.iter().any(|byte| *byte != 0) => {
                return Err((end as u64, DamageKind::NotZero));
            }
            Some(_) => {}
        }
    }
    match at == body.len() {
        true => Ok(()),
        false => Err((
            at as u64,
            DamageKind::Length {
                found: body.len() as u64,
            },
        )),
    }
}

/// Where a record's payload lies, for reading it back without an index.
///
/// Stored as 28 bytes little-endian: segment u64, record u64, offset u64, payload length u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// The record's number, counted from 1 over the whole journal.
    pub record: u64,
    /// Offset of the record's header in the segment, in bytes.
    pub offset: u64,
    /// Length of the payload, in bytes.
    pub len: u32,
}

impl Position {
    /// Length of the stored form.
    pub const BYTES: usize = 28;

    /// Gives the stored form.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[0..8].copy_from_slice(&self.segment.to_le_bytes());
        out[8..16].copy_from_slice(&self.record.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..28].copy_from_slice(&self.len.to_le_bytes());
        out
    }

    /// Reads the stored form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        Self {
            segment: u64_at(bytes, 0),
            record: u64_at(bytes, 8),
            offset: u64_at(bytes, 16),
            len: u32_at(bytes, 24),
        }
    }
}
