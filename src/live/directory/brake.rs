//! The slots of the brake, as bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::checksum;
use crate::domain::Entry;
use crate::domain::machine::Brake;

/// A slot, in bytes.
pub(super) const SLOT: usize = 32 << 10;

/// `checksum length json`. What does not fit is left out, words first: the rollback counts.
pub(super) fn slot_bytes(brake: &Brake) -> serde_json::Result<Vec<u8>> {
    let mut brake = brake.clone();
    let mut text = serde_json::to_string(&brake)?;
    if text.len() + 80 > SLOT {
        for entry in Entry::BOTH {
            if let Some(condemned) = &mut brake.condemned[entry] {
                condemned.reason = None;
            }
        }
        text = serde_json::to_string(&brake)?;
    }
    if text.len() + 80 > SLOT {
        brake.overlay = None;
        text = serde_json::to_string(&brake)?;
    }
    if text.len() + 80 > SLOT {
        // Better without its words than over the neighbour.
        brake.rollout = None;
        text = serde_json::to_string(&brake)?;
    }
    Ok(format!("{} {} {text}\n", checksum(&text), text.len()).into_bytes())
}

pub(super) fn read_slot(file: &File, slot: u64) -> Option<Brake> {
    let mut bytes = vec![0; SLOT];
    file.read_exact_at(&mut bytes, slot * SLOT as u64).ok()?;
    // What stands behind the line is left of a longer one, and may end in half a character.
    let text = String::from_utf8_lossy(&bytes);
    let (sum, rest) = text.split_once(' ')?;
    let (length, rest) = rest.split_once(' ')?;
    let text = rest.get(..length.parse().ok()?)?;
    (checksum(text) == sum).then(|| serde_json::from_str(text).ok())?
}
