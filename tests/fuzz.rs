//! The fuzz targets of `fuzz/`, on stable and bounded: the same inputs in every run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/src/lib.rs"]
#[allow(dead_code)]
mod targets;

use targets::{ASKING, HANDSHAKES, IDS, MESSAGES, SEEDS};

/// Dice that fall the same way every time (xorshift64*; Vigna, 2016).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    /// One byte, of those that matter more often than of all.
    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"{}[]\",:\\ \r\n\te0-1.u\xc3\xa9\xed\xff";
        if self.below(4) == 0 { self.below(256) as u8 } else { TELLING[self.below(TELLING.len())] }
    }

    /// A seed with a few things done to it, or noise.
    fn input(&mut self, seeds: &[&str]) -> Vec<u8> {
        if self.below(16) == 0 {
            let length = self.below(64);
            return (0..length).map(|_| self.byte()).collect();
        }
        let mut bytes = seeds[self.below(seeds.len())].as_bytes().to_vec();
        for _ in 0..self.below(4) {
            let (at, other) = (self.below(bytes.len()), self.below(bytes.len()));
            let (from, to) = (at.min(other), at.max(other).min(at.min(other) + 24));
            match self.below(7) {
                _ if bytes.is_empty() => bytes.push(self.byte()),
                0 => bytes[at] = self.byte(),
                1 => bytes.insert(at, self.byte()),
                2 => drop(bytes.drain(from..to)),
                3 => bytes.truncate(at),
                4 => {
                    let copied = bytes[from..to].to_vec();
                    bytes.splice(other..other, copied);
                }
                5 => bytes[at] ^= 1 << self.below(8),
                _ => {
                    let strange = seeds[self.below(seeds.len())].as_bytes();
                    let start = self.below(strange.len());
                    let end = (start + self.below(40)).min(strange.len());
                    bytes.splice(at..at, strange[start..end].iter().copied());
                }
            }
        }
        bytes
    }
}

fn run(target: fn(&[u8]), seeds: &[&str], times: usize) {
    seeds.iter().for_each(|seed| target(seed.as_bytes()));
    for at in 0..times {
        let input = Dice((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).input(seeds);
        target(&input);
    }
}

/// JSON texts, streams, a header, a file: where each kind is in the list.
const JSON: std::ops::Range<usize> = 0..12;
const STREAMS: std::ops::Range<usize> = 12..16;

#[test]
fn the_scanner_agrees_with_a_full_parser_on_any_body() {
    run(targets::json, &SEEDS[JSON], 2_000);
}

#[test]
fn the_scanner_agrees_with_a_line_reader_and_a_full_parser_on_any_stream() {
    run(targets::events, &SEEDS[STREAMS], 1_500);
}

#[test]
fn of_any_list_one_number_is_altered_and_its_tools_are_those_that_a_full_parser_finds() {
    run(targets::lists, &SEEDS[..STREAMS.end], 600);
}

#[test]
fn a_request_is_read_as_a_full_parser_reads_it() {
    run(targets::envelope, &SEEDS[JSON], 30_000);
}

#[test]
fn nothing_opens_but_what_was_sealed() {
    run(targets::seal, &SEEDS[JSON], 5_000);
}

#[test]
fn a_handshake_is_read_as_a_full_parser_reads_it_and_said_again_as_it_was_said() {
    run(targets::essentials, HANDSHAKES, 20_000);
    run(targets::essentials, &SEEDS[JSON], 5_000);
}

#[test]
fn an_id_says_its_epoch_and_nothing_else_is_taken_for_one() {
    run(targets::ids, IDS, 30_000);
}

#[test]
fn a_stream_of_a_later_epoch_is_the_same_but_for_its_ids() {
    run(targets::retag, ASKING, 1_500);
    run(targets::retag, &SEEDS[STREAMS], 500);
}

#[test]
fn any_file_is_a_configuration_or_is_refused_with_words() {
    run(targets::config, &SEEDS[17..], 400);
}

#[test]
fn what_is_taken_for_a_trace_is_one() {
    run(targets::trace, &SEEDS[16..17], 30_000);
}

#[test]
fn an_answer_is_read_the_same_in_every_cut_and_written_as_it_was_read() {
    run(targets::answer, MESSAGES, 6_000);
}

#[test]
fn a_request_is_taken_with_all_of_it_there_and_not_before() {
    run(targets::request, MESSAGES, 30_000);
}
