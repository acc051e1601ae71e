//! The sealed form: compress when it helps, encrypt, and back.
//!
//! The layout is written out in the module header of [`crate::vault`].

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use secrecy::{ExposeSecret, SecretBox};

use crate::journal::u64_at;
use std::cell::RefCell;

const VERSION: u8 = 1;
const COMPRESSED: u8 = 1;
const NONCE_AT: usize = 10;
const CIPHER_AT: usize = NONCE_AT + NONCE_LEN;
const TAG_BYTES: usize = 16;
/// The most one sealed text may hold. Also bounds what a text may grow to when decompressed.
pub const PLAIN_BYTES_MAX: usize = 16 << 20;
// Below this LZ4 does not pay for its own four bytes of length.
const COMPRESS_BYTES_MIN: usize = 64;

/// Why sealed bytes could not be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// The subject's key was erased on purpose: the text is gone for good.
    #[error("erased")]
    Erased,
    /// The key is neither here nor known as erased: the vault has lost it.
    #[error("key {key_id} is missing from the vault")]
    UnknownKey {
        /// The key the bytes name.
        key_id: u64,
    },
    /// The bytes are not what was sealed, or belong to another place.
    #[error("sealed bytes are damaged")]
    Damaged,
    /// A newer program sealed the bytes.
    #[error("sealed format version {found} is not known")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The text is over [`PLAIN_BYTES_MAX`], or the subject's name is over [`super::SUBJECT_BYTES_MAX`].
    #[error("{bytes} bytes are over the limit")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Bytes of the length before a compressed text.
const LENGTH_BYTES: usize = 4;

thread_local! {
    /// What the compressor looks up, and what it writes to: made once for each thread, not for each text.
    static SCRATCH: RefCell<(CompressTable, Vec<u8>)> = RefCell::new((CompressTable::small(), Vec::new()));
}
/// A thread keeps no larger scratch than this between two texts.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// Plain bytes ready to be encrypted behind room for what stands before them, and the flags that tell what was done
/// to them.
pub(super) struct Compressed {
    bytes: Vec<u8>,
    flags: u8,
}

impl Compressed {
    /// With room before and after the parts, so that sealing moves nothing.
    fn of(parts: [&[u8]; 2], flags: u8) -> Self {
        let len = CIPHER_AT + parts[0].len() + parts[1].len();
        let mut bytes = Vec::with_capacity(len + TAG_BYTES);
        bytes.resize(CIPHER_AT, 0);
        bytes.extend_from_slice(parts[0]);
        bytes.extend_from_slice(parts[1]);
        Self { bytes, flags }
    }
}

pub(super) fn compress(plain: &[u8]) -> Result<Compressed, UnsealError> {
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(UnsealError::TooLarge { bytes: plain.len() });
    }
    let shorter = (plain.len() >= COMPRESS_BYTES_MIN).then(|| {
        SCRATCH.with_borrow_mut(|scratch| {
            let (table, out) = scratch;
            let most = get_maximum_output_size(plain.len());
            if out.len() < most {
                out.resize(most, 0);
            }
            let written = compress_into_with_table(plain, out, table).unwrap_or(usize::MAX);
            let len = u32::try_from(plain.len()).ok().map(u32::to_le_bytes);
            let shorter = match (out.get(..written), len) {
                (Some(block), Some(len)) if LENGTH_BYTES + written < plain.len() => {
                    Some(Compressed::of([&len, block], COMPRESSED))
                }
                _ => None,
            };
            if out.len() > SCRATCH_BYTES_MAX {
                *scratch = (CompressTable::small(), Vec::new());
            }
            shorter
        })
    });
    Ok(shorter
        .flatten()
        .unwrap_or_else(|| Compressed::of([plain, &[]], 0)))
}

fn cipher(key: &SecretBox<[u8; 32]>) -> Result<RandomizedNonceKey, UnsealError> {
    RandomizedNonceKey::new(&AES_256_GCM, key.expose_secret()).map_err(|_| UnsealError::Damaged)
}

pub(super) fn seal(
    key: &SecretBox<[u8; 32]>,
    key_id: u64,
    aad: &[u8],
    Compressed { mut bytes, flags }: Compressed,
) -> Result<Vec<u8>, UnsealError> {
    bytes[..2].copy_from_slice(&[VERSION, flags]);
    bytes[2..NONCE_AT].copy_from_slice(&key_id.to_le_bytes());
    let aad = Aad::from([&bytes[..NONCE_AT], aad].concat());
    let (nonce, tag) = cipher(key)?
        .seal_in_place_separate_tag(aad, &mut bytes[CIPHER_AT..])
        .map_err(|_| UnsealError::NoRandomness)?;
    bytes[NONCE_AT..CIPHER_AT].copy_from_slice(nonce.as_ref());
    bytes.extend_from_slice(tag.as_ref());
    Ok(bytes)
}

/// Reads which key sealed bytes name.
pub(super) fn key_id(sealed: &[u8]) -> Result<u64, UnsealError> {
    match sealed.first() {
        Some(&VERSION) if sealed.len() >= CIPHER_AT + TAG_BYTES => Ok(u64_at(sealed, 2)),
        Some(&VERSION) | None => Err(UnsealError::Damaged),
        Some(&found) => Err(UnsealError::Version { found }),
    }
}

pub(super) fn unseal(
    key: &SecretBox<[u8; 32]>,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, UnsealError> {
    let nonce = Nonce::try_assume_unique_for_key(&sealed[NONCE_AT..CIPHER_AT])
        .map_err(|_| UnsealError::Damaged)?;
    let aad = Aad::from([&sealed[..NONCE_AT], aad].concat());
    let mut bytes = sealed[CIPHER_AT..].to_vec();
    let plain_bytes = cipher(key)?
        .open_in_place(nonce, aad, &mut bytes)
        .map_err(|_| UnsealError::Damaged)?
        .len();
    bytes.truncate(plain_bytes);
    if sealed[1] & COMPRESSED == 0 {
        return Ok(bytes);
    }
    let (plain_bytes, block) =
        lz4_flex::block::uncompressed_size(&bytes).map_err(|_| UnsealError::Damaged)?;
    if plain_bytes > PLAIN_BYTES_MAX {
        return Err(UnsealError::Damaged);
    }
    lz4_flex::block::decompress(block, plain_bytes).map_err(|_| UnsealError::Damaged)
}
