//! The journal of modern pins: records of one size, appended in batches, so that a torn one costs itself
//! and nothing before it.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::sync_folder;
use crate::domain::Entry;
use crate::live::pins::{Handle, Pin, PinBatch, PinJournal, PinRecord};
use crate::telemetry::clock::since_epoch;

/// `hash (8) | endpoint (4) | version (4) | expiry in seconds (4) | kind | entry | 0 0 | check (4)`, big-endian.
const RECORD: usize = 28;
const CHECKED: usize = RECORD - 4;

/// What a journal says. A later record of a word takes the place of an earlier one; what is torn,
/// altered or has run out is passed over.
pub(super) fn read(path: &Path) -> io::Result<PinJournal> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PinJournal::default()),
        Err(error) => return Err(error),
    };
    let now = since_epoch();
    let records = bytes.chunks_exact(RECORD).filter_map(|chunk| read_record(chunk, now)).collect();
    Ok(PinJournal { records, length: bytes.len() / RECORD })
}

pub(super) fn write(path: &Path, batch: &PinBatch) -> io::Result<()> {
    match batch {
        PinBatch::More(records) => append(path, records),
        PinBatch::All(records) => write_anew(path, records),
    }
}

fn append(path: &Path, records: &[PinRecord]) -> io::Result<()> {
    let open = |create| OpenOptions::new().create_new(create).append(true).mode(0o600).open(path);
    let (file, is_new) = match open(false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (open(true)?, true),
        opened => (opened?, false),
    };
    // After a torn write the next record would start in the middle of one.
    let length = file.metadata()?.len();
    let torn = length % RECORD as u64;
    if torn > 0 {
        file.set_len(length - torn)?;
    }
    write_records(&file, records)?;
    // The name, too: what a loss of power takes away was not kept.
    if is_new { sync_folder(path.parent()) } else { Ok(()) }
}

fn write_anew(path: &Path, records: &[PinRecord]) -> io::Result<()> {
    // No service's own: names do not begin with a dot.
    let anew = path.with_file_name(format!(".{}", path.file_name().unwrap_or_default().display()));
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&anew)?;
    write_records(&file, records)?;
    fs::rename(&anew, path)?;
    sync_folder(path.parent())
}

/// When it returns, they are on the disk.
fn write_records(file: &File, records: &[PinRecord]) -> io::Result<()> {
    let now = since_epoch();
    let mut buffered = BufWriter::with_capacity(1 << 16, file);
    records.iter().try_for_each(|record| buffered.write_all(&record_bytes(record, now)))?;
    buffered.flush()?;
    file.sync_data()
}

fn record_bytes(record: &PinRecord, now: Duration) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    let expiry = u32::try_from((now + record.left).as_secs()).unwrap_or(u32::MAX);
    bytes[..8].copy_from_slice(&record.hash.to_be_bytes());
    bytes[8..12].copy_from_slice(&record.pin.endpoint.to_be_bytes());
    bytes[12..16].copy_from_slice(&record.pin.version.to_be_bytes());
    bytes[16..20].copy_from_slice(&expiry.to_be_bytes());
    bytes[20] = record.kind as u8;
    bytes[21] = u8::from(record.pin.entry == Entry::Secondary);
    let check = check(&bytes[..CHECKED]);
    bytes[CHECKED..].copy_from_slice(&check);
    bytes
}

fn read_record(bytes: &[u8], now: Duration) -> Option<PinRecord> {
    if check(&bytes[..CHECKED]) != bytes[CHECKED..] {
        return None;
    }
    let long = |from: usize| bytes[from..from + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let short = |from: usize| bytes[from..from + 4].iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte));
    Some(PinRecord {
        kind: *Handle::ALL.get(usize::from(bytes[20]))?,
        hash: long(0),
        pin: Pin {
            entry: if bytes[21] == 0 { Entry::Primary } else { Entry::Secondary },
            endpoint: short(8),
            version: short(12),
        },
        left: Duration::from_secs(u64::from(short(16))).checked_sub(now).filter(|left| !left.is_zero())?,
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
    use crate::live::Pins;

    fn fresh(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("dualgate-pins-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn record(n: u64) -> PinRecord {
        let pin = Pin { entry: Entry::Secondary, endpoint: n as u32 + 1, version: u32::MAX - n as u32 };
        PinRecord { kind: Handle::Task, hash: n, pin, left: Duration::from_secs(1_000) }
    }

    fn hashes(path: &Path) -> Vec<u64> {
        read(path).unwrap().records.iter().map(|record| record.hash).collect()
    }

    #[test]
    fn a_torn_or_altered_record_costs_itself_alone() {
        let path = fresh("torn");
        assert_eq!(hashes(&path), [] as [u64; 0]);
        write(&path, &PinBatch::More(vec![record(1), record(2)])).unwrap();
        let found = read(&path).unwrap().records;
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
        assert_eq!(read(&path).unwrap().length, 2, "the file is as long as it is");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_journals_of_two_services_are_two_files() {
        let folder = fresh("two");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for name in ["notes.new", "notes.tmp", "notes"] {
            write(&folder.join(name), &PinBatch::More(vec![record(1)])).unwrap();
        }
        write(&folder.join("notes"), &PinBatch::All(vec![record(2)])).unwrap();
        let found = ["notes.new", "notes.tmp", "notes"].map(|name| hashes(&folder.join(name)));
        assert_eq!(found, [[1], [1], [2]]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_journal_does_not_grow_from_restart_to_restart() {
        let path = fresh("restarts");
        let word = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for run in 0..20 {
            let pins = Pins::default();
            pins.restore(read(&path).unwrap(), Duration::ZERO);
            for n in 0..16_000 {
                pins.note(Handle::Cursor, word(run * 16_000 + n), record(1).pin, Duration::ZERO);
            }
            // They run out before the next start.
            let spent =
                |records: Vec<PinRecord>| records.into_iter().map(|one| PinRecord { left: Duration::ZERO, ..one }).collect();
            let batch = match pins.take_batch(Duration::ZERO).unwrap() {
                PinBatch::More(records) => PinBatch::More(spent(records)),
                PinBatch::All(records) => PinBatch::All(spent(records)),
            };
            write(&path, &batch).unwrap();
            let length = read(&path).unwrap().length;
            assert!(length <= 2 * 16_384, "run {run}: {length} records, none of them alive");
        }
        fs::remove_file(path).unwrap();
    }
}
