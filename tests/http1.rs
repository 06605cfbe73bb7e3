//! Our reading of answers against hyper's client, and of plain requests against its server, byte for byte. Of answers: the same verdict, the same fields, the same body,
//! the same end, and the same word on whether the connection goes on. Where ours is stricter, it is so for a reason
//! that is in one table, and only where the bytes are what that reason says.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "http1/corpus.rs"]
mod corpus;
#[path = "http1/ours.rs"]
mod ours;
#[path = "http1/requests.rs"]
mod requests;
#[path = "http1/theirs.rs"]
mod theirs;

use http::Method;
use proptest::prelude::*;

use corpus::{ATTACKS, REAL};

/// What a reader makes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    /// In the order in which names come first, names in lower case.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Where the answer says; and whether the connection carries another request.
    Said { goes_on: bool },
    /// With the connection.
    Close,
    /// In the middle.
    Cut,
}

/// What is read, or why there is no answer; and why a body was cut, where it is not for the connection's end.
struct Ours {
    seen: Result<Seen, String>,
    fault: Option<String>,
}

/// Whether what hyper saw, and the bytes, are as a reason says.
type Holds = fn(&Seen, &[u8]) -> bool;

/// Reasons for which ours refuses what hyper lets pass, and what of the bytes must be so.
const STRICTER: &[(&str, Holds)] = &[
    // RFC 9112, 6.3 (3) lets a proxy refuse it, and 11.2 says why it should: who reads the other one smuggles.
    ("a length beside a transfer coding", |seen, _| has(seen, "content-length") && has(seen, "transfer-encoding")),
    // hyper reads to the close what is coded otherwise; of `chunked, chunked` it takes the outer one off. Nobody behind us
    // asked for a coding (`TE` goes), so none but chunked is to come (RFC 9112, 6.1 and 7.4).
    ("a transfer coding that is not chunked alone", |seen, _| {
        let codings = all(seen, "transfer-encoding");
        codings.len() > 1 || codings.iter().any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
    }),
    // hyper looks at lengths only where they frame: not with HEAD, 204, 304 or chunks. What is no number, or two, is not
    // passed on either (RFC 9110, 8.6).
    ("the content length is no number", |seen, _| has(seen, "content-length") && is_framed_otherwise(seen)),
    ("two content lengths that differ", |seen, _| has(seen, "content-length") && is_framed_otherwise(seen)),
    // HEAD alone: with a body hyper refuses it, too (RFC 9112, 6.1).
    ("a transfer coding in HTTP/1.0", |seen, _| has(seen, "transfer-encoding") && seen.body.is_empty()),
    ("more than 16 informational answers", |_, bytes| bytes.windows(8).filter(|part| *part == b"HTTP/1.1").count() > 17),
    // A line's end is CR LF; hyper has httparse read trailers, which takes LF alone (RFC 9112, 2.2 allows and does not ask it).
    ("a trailer is no field", |_, bytes| bytes.windows(2).any(|pair| pair[0] != b'\r' && pair[1] == b'\n')),
];

fn all<'a>(seen: &'a Seen, name: &str) -> Vec<&'a [u8]> {
    seen.fields.iter().filter(|field| field.0 == name).map(|field| &field.1[..]).collect()
}

fn has(seen: &Seen, name: &str) -> bool {
    !all(seen, name).is_empty()
}

fn is_framed_otherwise(seen: &Seen) -> bool {
    has(seen, "transfer-encoding") || seen.body.is_empty()
}

/// Lengths that are said more than once are passed on once.
fn with_one_length(mut seen: Seen) -> Seen {
    let lengths = all(&seen, "content-length");
    if lengths.len() > 1 || lengths.iter().any(|length| length.contains(&b',')) {
        let first = lengths[0].split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        let first: u64 = std::str::from_utf8(first).unwrap().parse().unwrap();
        seen.fields.retain(|field| field.0 != "content-length");
        seen.fields.push(("content-length".to_owned(), first.to_string().into_bytes()));
    }
    seen
}

/// Pieces of so many bytes each, over and over.
fn pieces<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*size).clamp(1, rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

/// Compares both; true where ours is stricter.
fn compare(bytes: &[u8], asked: &Method, sizes: &[usize]) -> bool {
    let pieces = pieces(bytes, sizes);
    let (theirs, ours) = (theirs::read(&pieces, asked), ours::read(&pieces, asked));
    let shown = || {
        format!(
            "{asked} {sizes:?} {:?}\ntheirs {theirs:?}\nours {:?} {:?}",
            bytes.escape_ascii().to_string(),
            ours.seen,
            ours.fault
        )
    };
    let stricter = |reason: &str, seen: &Seen| {
        STRICTER.iter().any(|(stricter, holds)| *stricter == reason && holds(seen, bytes))
            || (is_at_a_bound(reason) && bytes.len() > 16_000)
    };
    match (&theirs, &ours.seen) {
        (Err(_), Err(_)) => false,
        (Ok(theirs), Ok(ours)) if *ours == with_one_length(theirs.clone()) => false,
        (Ok(theirs), Ok(ours)) if closes_in_doubt(theirs, ours) => true,
        (Ok(theirs), Err(reason)) => {
            assert!(stricter(reason, theirs), "{}", shown());
            true
        }
        (Ok(theirs), Ok(seen)) => {
            // Cut earlier, and for a reason.
            let reason = ours.fault.as_deref().unwrap_or_else(|| panic!("{}", shown()));
            assert!(stricter(reason, theirs), "{}", shown());
            assert!(theirs.body.starts_with(&seen.body) && seen.end == End::Cut, "{}", shown());
            true
        }
        (Err(_), Ok(_)) => panic!("{}", shown()),
    }
}

/// hyper does not look for `close` in a list with bytes above 0x7F; ours sees it, and takes the connection for closed (RFC 9112, 9.6).
fn closes_in_doubt(theirs: &Seen, ours: &Seen) -> bool {
    let is_in_doubt = all(ours, "connection")
        .iter()
        .any(|list| !list.is_ascii() && list.to_ascii_lowercase().windows(5).any(|word| word == b"close"));
    let kept = Seen { end: End::Said { goes_on: true }, ..ours.clone() };
    is_in_doubt && ours.end == (End::Said { goes_on: false }) && kept == with_one_length(theirs.clone())
}

/// Bounds that both have, at other places: hyper counts the line's end, and the trailers against the head's bound.
fn is_at_a_bound(reason: &str) -> bool {
    ["more than 16 KiB of chunk extensions", "more than 16 KiB of trailers", "the head is longer than 64 KiB"].contains(&reason)
}

const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::HEAD];

const CUTS: &[&[usize]] = &[&[usize::MAX], &[1], &[2], &[7], &[16, 1, 3], &[64]];

#[test]
fn real_answers_are_read_as_hyper_reads_them_in_every_cut() {
    for answer in REAL {
        for asked in &METHODS {
            for sizes in CUTS {
                assert!(!compare(answer, asked, sizes), "nothing real is refused: {:?}", answer.escape_ascii().to_string());
            }
            for at in 0..answer.len() {
                compare(answer, asked, &[at, usize::MAX]);
                compare(&answer[..at], asked, &[usize::MAX]);
            }
        }
    }
}

#[test]
fn attacks_are_read_as_hyper_reads_them_or_refused_for_a_reason() {
    for attack in ATTACKS {
        for asked in &METHODS {
            for sizes in CUTS {
                compare(attack, asked, sizes);
            }
            for at in 0..attack.len() {
                compare(attack, asked, &[at, usize::MAX]);
            }
        }
    }
}

#[test]
fn what_is_long_is_read_or_refused_as_by_hyper() {
    let extension = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;{}\r\na\r\n0\r\n\r\n", "x".repeat(length))
    };
    let trailer =
        |length: usize| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: {}\r\n\r\n", "x".repeat(length));
    let size =
        |length: usize| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}1\r\na\r\n0\r\n\r\n", "0".repeat(length));
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\na: {}\r\n\r\nx", "x".repeat(length));
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}content-length: 1\r\n\r\nx", "a: b\r\n".repeat(count));
    let long = [
        extension(1_000),
        extension(16_000),
        extension(17_000),
        extension(200_000),
        trailer(1_000),
        trailer(16_000),
        trailer(17_000),
        trailer(200_000),
        size(15),
        size(1_000),
        size(100_000),
        head(1_000),
        head(65_000),
        head(66_000),
        head(300_000),
        fields(98),
        fields(99),
        fields(100),
        fields(101),
        fields(5_000),
        "HTTP/1.1 103 Early\r\nlink: x\r\n\r\n".repeat(15) + &head(10),
        "HTTP/1.1 103 Early\r\nlink: x\r\n\r\n".repeat(17) + &head(10),
        "\r\n".repeat(1000) + &head(10),
    ];
    for answer in &long {
        for sizes in [&[usize::MAX][..], &[1400], &[65_536], &[5, 8192]] {
            compare(answer.as_bytes(), &Method::GET, sizes);
        }
    }
}

/// Something done to the bytes of an answer.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, u8),
    Delete(usize, usize),
    Copy(usize, usize, usize),
    Graft(usize, usize, usize, usize),
    Truncate(usize),
    Word(usize, usize),
}

const TELLING: &[u8] = b"\r\n\t :;,0123456789aAfFxX\"\0\x7f\x80\xffHT/.+-";

const WORDS: &[&str] = &[
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\n",
    "content-length:0\r\n",
    "Connection: close\r\n",
    "connection: keep-alive\r\n",
    "\r\n\r\n",
    "0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0",
    "1\r\n",
    "chunked",
    ", ",
    "gzip",
    "\r\n ",
    "5, 5",
    "\n",
    "204",
    "304",
    "100",
];

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![3 => (0..TELLING.len()).prop_map(|at| TELLING[at]), 1 => any::<u8>()];
    prop_oneof![
        (any::<usize>(), byte.clone()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<usize>(), byte).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (any::<usize>(), 1usize..24).prop_map(|(at, length)| Change::Delete(at, length)),
        (any::<usize>(), 1usize..40, any::<usize>()).prop_map(|(from, length, to)| Change::Copy(from, length, to)),
        (any::<usize>(), any::<usize>(), 1usize..60, any::<usize>())
            .prop_map(|(from, start, length, to)| Change::Graft(from, start, length, to)),
        any::<usize>().prop_map(Change::Truncate),
        (any::<usize>(), any::<usize>()).prop_map(|(word, at)| Change::Word(word, at)),
    ]
}

fn changed(seeds: &[&[u8]], which: usize, changes: &[Change]) -> Vec<u8> {
    let seed = |at: usize| seeds[at % seeds.len()];
    let mut bytes = seed(which).to_vec();
    for change in changes {
        let length = bytes.len().max(1);
        let part = |bytes: &[u8], from: usize, count: usize| {
            let from = from % bytes.len().max(1);
            bytes[from.min(bytes.len())..bytes.len().min(from + count)].to_vec()
        };
        let put = |bytes: &mut Vec<u8>, at: usize, what: Vec<u8>| {
            // Between lines more often than within one.
            let at = at % length;
            let at = if at.is_multiple_of(3) {
                at
            } else {
                bytes[..at.min(bytes.len())].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
            };
            drop(bytes.splice(at..at, what));
        };
        match *change {
            Change::Truncate(at) => bytes.truncate(at % (length + 1)),
            Change::Insert(at, byte) => bytes.insert(at % (bytes.len() + 1), byte),
            _ if bytes.is_empty() => {}
            Change::Set(at, byte) => bytes[at % length] = byte,
            Change::Flip(at, bit) => bytes[at % length] ^= 1 << bit,
            Change::Delete(at, count) => drop(bytes.drain(at % length..(at % length + count).min(length))),
            Change::Copy(from, count, to) => {
                let copied = part(&bytes, from, count);
                put(&mut bytes, to, copied);
            }
            Change::Graft(from, start, count, to) => put(&mut bytes, to, part(seed(from), start, count)),
            Change::Word(word, at) => put(&mut bytes, at, WORDS[word % WORDS.len()].as_bytes().to_vec()),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn altered_answers_are_read_as_hyper_reads_them_or_refused_for_a_reason(
        answer: usize,
        changes in prop::collection::vec(change(), 1..6),
        sizes in prop::collection::vec(prop_oneof![Just(usize::MAX), 1usize..40], 1..4),
        asked in 0..METHODS.len(),
    ) {
        compare(&changed(&[REAL, ATTACKS].concat(), answer, &changes), &METHODS[asked], &sizes);
    }
    #[test]
    fn what_is_taken_of_requests_is_what_hyper_reads(request: usize, changes in prop::collection::vec(change(), 0..6)) {
        requests::compare(&changed(requests::SEEDS, request, &changes));
    }
}

#[test]
fn plain_requests_are_taken_whole_and_nothing_else_is() {
    let taken: Vec<_> = requests::SEEDS.iter().map(|seed| requests::compare(seed)).collect();
    assert_eq!(taken, [2, 2, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]);
    for seed in requests::SEEDS {
        for at in 0..seed.len() {
            requests::compare(&seed[..at]);
        }
    }
}
