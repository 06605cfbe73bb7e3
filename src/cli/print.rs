//! Data to stdout, talk to stderr, and neither ever panics: a reader may leave at any time.

use std::io::{self, ErrorKind, Write};

use super::failure::{Exit, Failure, plain_io};

/// Whether somebody still reads stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    There,
    /// `| head` has seen enough. No error: a command that has nothing more to do than print is done.
    Gone,
}

/// Writes data. What cannot be written for another reason than a closed pipe is an error, so that
/// a full disk does not pass for success.
pub(super) fn put(text: &str) -> Result<Audience, Failure> {
    put_to(&mut io::stdout().lock(), text)
}

/// The same, byte by byte: what was made here, and by nobody else.
pub(super) fn put_bytes(bytes: &[u8]) -> Result<Audience, Failure> {
    put_bytes_to(&mut io::stdout().lock(), bytes)
}

fn put_to(out: &mut impl Write, text: &str) -> Result<Audience, Failure> {
    put_bytes_to(out, harmless(text).as_bytes())
}

fn put_bytes_to(out: &mut impl Write, bytes: &[u8]) -> Result<Audience, Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Audience::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Audience::Gone),
        Err(error) => Err(Failure::new(Exit::Unexpected, format!("cannot write to stdout: {}", plain_io(&error)))),
    }
}

/// Writes one line of talk. Whether anybody listens does not matter.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless(line));
}

/// Names, reasons and what servers say of themselves were written by others: their control
/// characters do not reach a terminal.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A column of a table.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Numbers stand to the right.
    pub(super) right: bool,
}

pub(super) const fn left(title: &'static str) -> Column {
    Column { title, right: false }
}

pub(super) const fn right(title: &'static str) -> Column {
    Column { title, right: true }
}

/// An aligned table, each line indented by two and ending in a line feed.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&titles).chain(rows).collect();
    let widest = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(widest).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line
            .iter()
            .zip(columns)
            .zip(&widths)
            .map(|((cell, column), width)| if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        out.push_str(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_an_end_and_a_full_disk_an_error() {
        assert_eq!(put_to(&mut Vec::new(), "x"), Ok(Audience::There));
        assert_eq!(put_to(&mut Fails(ErrorKind::BrokenPipe), "x"), Ok(Audience::Gone));
        assert_eq!(put_to(&mut Fails(ErrorKind::StorageFull), "x").unwrap_err().exit, Exit::Unexpected);
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let mut out = Vec::new();
        put_to(&mut out, "a\u{1b}[2Jb → c\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a\\u{1b}[2Jb → c\n");
    }
}
