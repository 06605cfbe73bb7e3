//! The journal of modern pins: records of one size, appended in batches, so that a torn one costs itself
//! and nothing before it.

use std::fs::{self, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::domain::Entry;
use crate::live::pins::{Handle, Pin, PinBatch, PinRecord};
use crate::telemetry::clock::since_epoch;

/// `hash | endpoint | version | expiry in seconds (4) | kind | entry | 0 0 | check (4)`, big-endian.
const RECORD: usize = 36;
const CHECKED: usize = RECORD - 4;

/// What a journal says. A later record of a word takes the place of an earlier one; what is torn,
/// altered or has run out is passed over.
pub(super) fn read(path: &Path) -> io::Result<Vec<PinRecord>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let now = since_epoch();
    Ok(bytes.chunks_exact(RECORD).filter_map(|chunk| read_record(chunk, now)).collect())
}

pub(super) fn write(path: &Path, batch: &PinBatch) -> io::Result<()> {
    let now = since_epoch();
    let bytes = |records: &[PinRecord]| records.iter().flat_map(|record| record_bytes(record, now)).collect::<Vec<u8>>();
    match batch {
        PinBatch::More(records) => {
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            // After a torn write the next record would start in the middle of one.
            let torn = file.metadata()?.len() % RECORD as u64;
            if torn > 0 {
                file.set_len(file.metadata()?.len() - torn)?;
            }
            file.write_all(&bytes(records))?;
            file.sync_data()
        }
        PinBatch::All(records) => {
            let anew = path.with_extension("new");
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&anew)?;
            file.write_all(&bytes(records))?;
            file.sync_data()?;
            fs::rename(&anew, path)
        }
    }
}

fn record_bytes(record: &PinRecord, now: Duration) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    let expiry = u32::try_from((now + record.left).as_secs()).unwrap_or(u32::MAX);
    bytes[..8].copy_from_slice(&record.hash.to_be_bytes());
    bytes[8..16].copy_from_slice(&record.pin.endpoint.to_be_bytes());
    bytes[16..24].copy_from_slice(&record.pin.version.to_be_bytes());
    bytes[24..28].copy_from_slice(&expiry.to_be_bytes());
    bytes[28] = record.kind as u8;
    bytes[29] = u8::from(record.pin.entry == Entry::Secondary);
    let check = check(&bytes[..CHECKED]);
    bytes[CHECKED..].copy_from_slice(&check);
    bytes
}

fn read_record(bytes: &[u8], now: Duration) -> Option<PinRecord> {
    if check(&bytes[..CHECKED]) != bytes[CHECKED..] {
        return None;
    }
    let number = |from: usize| bytes[from..from + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let expiry = bytes[24..28].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some(PinRecord {
        kind: *Handle::ALL.get(usize::from(bytes[28]))?,
        hash: number(0),
        pin: Pin {
            entry: if bytes[29] == 0 { Entry::Primary } else { Entry::Secondary },
            endpoint: number(8),
            version: number(16),
        },
        left: Duration::from_secs(expiry).checked_sub(now).filter(|left| !left.is_zero())?,
    })
}

fn check(bytes: &[u8]) -> [u8; 4] {
    let mut hasher = SipHasher13::new_with_key(b"dualgate.journal");
    hasher.write(bytes);
    let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("dualgate-pins-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn record(n: u64) -> PinRecord {
        let pin = Pin { entry: Entry::Secondary, endpoint: n + 1, version: n + 2 };
        PinRecord { kind: Handle::Task, hash: n, pin, left: Duration::from_secs(1_000) }
    }

    fn hashes(path: &Path) -> Vec<u64> {
        read(path).unwrap().iter().map(|record| record.hash).collect()
    }

    #[test]
    fn a_torn_or_altered_record_costs_itself_alone() {
        let path = fresh("torn");
        assert_eq!(hashes(&path), [] as [u64; 0]);
        write(&path, &PinBatch::More(vec![record(1), record(2)])).unwrap();
        let found = read(&path).unwrap();
        assert_eq!((found[0].pin, found[0].kind), (record(1).pin, Handle::Task));
        assert!(found[0].left <= Duration::from_secs(1_001) && found[0].left > Duration::from_secs(990));
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, &bytes[..RECORD * 2 - 5]).unwrap();
        assert_eq!(hashes(&path), [] as [u64; 0]);
        write(&path, &PinBatch::More(vec![record(3)])).unwrap();
        assert_eq!(hashes(&path), [3], "behind the torn one");
        write(&path, &PinBatch::All(vec![record(4)])).unwrap();
        assert_eq!(hashes(&path), [4]);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_has_run_out_does_not_come_back() {
        let path = fresh("old");
        write(&path, &PinBatch::More(vec![PinRecord { left: Duration::ZERO, ..record(1) }, record(2)])).unwrap();
        assert_eq!(hashes(&path), [2]);
        fs::remove_file(path).unwrap();
    }
}
