//! Reading the audit, also while it is written by another process.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::anchor;
use super::{AuditFile, aside, files};
use crate::live::chain::{Anchor, Checker, Damage, Report};

/// At most so much of a file's end is read.
const MOST_READ: u64 = 1 << 20;

/// Looks at the files again, where they were put aside in the middle of a look.
const MOST_LOOKS: usize = 10;

/// All files that there are, oldest first, each open: they keep their lines though they are put aside meanwhile.
fn open_all(root: &Path) -> io::Result<Vec<(String, File)>> {
    let path = AuditFile::path(root);
    let look = || -> io::Result<Vec<(String, File, u64)>> {
        let mut found = Vec::new();
        for (path, _) in files(&path) {
            match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => {
                    let file = file?;
                    let inode = file.metadata()?.ino();
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    found.push((name, file, inode));
                }
            }
        }
        Ok(found)
    };
    let inodes = |found: &[(String, File, u64)]| found.iter().map(|(_, _, inode)| *inode).collect::<Vec<_>>();
    let mut found = look()?;
    for _ in 0..MOST_LOOKS {
        let again = look()?;
        if inodes(&found) == inodes(&again) {
            break;
        }
        found = again;
    }
    Ok(found.into_iter().map(|(name, file, _)| (name, file)).collect())
}

/// Reads all there is and says whether it is whole. Nothing, where there is no audit.
pub(in crate::live::directory) fn verify(root: &Path) -> io::Result<Option<Report>> {
    let (found, files) = look(root)?;
    if found.is_none() && files.is_empty() {
        return Ok(None);
    }
    let gone = || Damage { file: anchor::NAME.to_owned(), line: 0, what: "the file is gone".to_owned() };
    let mut checker = Checker::new(found.unwrap_or_else(|| Err(gone())));
    let count = files.len();
    for (at, (name, file)) in files.into_iter().enumerate() {
        checker.file(&name);
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let is_whole = line.pop_if(|last| *last == b'\n').is_some();
            if !is_whole && at + 1 == count {
                checker.rest(&line);
            } else if !checker.line(&line) {
                return Ok(Some(checker.end(0)));
            }
            line.clear();
        }
    }
    let by_now = anchor::read(root)?.and_then(Result::ok).map_or(0, |anchor| anchor.last.seq);
    Ok(Some(checker.end(by_now)))
}

type Found = Option<Result<Anchor, Damage>>;

/// The anchor and the files as they belong together, though a dualgate may be writing them: the anchor first, since the
/// lines may grow meanwhile and not be fewer; and once more, since the oldest may be dropped in between.
fn look(root: &Path) -> io::Result<(Found, Vec<(String, File)>)> {
    let dropped = |found: &Found| found.as_ref().map(|found| found.as_ref().map(|anchor| anchor.dropped.seq).ok());
    let mut looks = 1;
    loop {
        let found = anchor::read(root)?;
        let files = open_all(root)?;
        let before = dropped(&found);
        // One that cannot be read may just be written over.
        let is_settled = before != Some(None) && before == dropped(&anchor::read(root)?);
        if is_settled || looks == MOST_LOOKS {
            return Ok((found, files));
        }
        looks += 1;
    }
}

/// The last lines, oldest first; of the file before, too, where this one has just begun.
pub(in crate::live::directory) fn tail(root: &Path, most: usize) -> io::Result<Vec<String>> {
    let path = AuditFile::path(root);
    let mut lines = last_lines(&path)?;
    if lines.len() < most {
        match last_lines(&aside(&path, 1)) {
            Ok(earlier) => lines = [earlier, lines].concat(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lines.split_off(lines.len().saturating_sub(most)))
}

fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_READ)))?;
    let mut bytes = Vec::new();
    file.take(MOST_READ).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may be half a line, when the file is longer than what is read.
    Ok(text.lines().skip(usize::from(length > MOST_READ)).map(str::to_owned).collect())
}

/// The lines after the one of this number, oldest first, and what stands between them.
pub(in crate::live::directory) fn after(root: &Path, seq: u64, most: usize) -> io::Result<Vec<String>> {
    let (mut found, mut bytes, mut has_begun) = (Vec::new(), 0, false);
    for (_, file) in open_all(root)? {
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        while found.len() < most && bytes < MOST_READ && lines.read_until(b'\n', &mut line)? > 0 {
            has_begun = has_begun || number_of(&line).is_some_and(|number| number > seq);
            if has_begun {
                bytes += line.len() as u64;
                found.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            }
            line.clear();
        }
    }
    Ok(found)
}

/// The number of a line, without reading the rest of it.
pub(super) fn number_of(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}
