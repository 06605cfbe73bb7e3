//! Hashes of ids, which come in pieces and are not kept: FNV-1a of 64 bits. Who makes two ids alike can only mistake his own.

/// Of nothing.
pub(super) const NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Of what a hash is of, and of these.
pub(super) fn and(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}
