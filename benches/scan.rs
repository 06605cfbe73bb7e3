//! What reading an answer for its outcome costs: nanoseconds and bytes allocated an answer, as it comes
//! off the wire, beside a full parser that is given the whole of it at once.
//!
//! `cargo bench --bench scan`

#![allow(clippy::unwrap_used)]

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use dualgate::mcp::scan::{Body, Events};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Bytes that one read brings at most: large answers come in many.
const READ: usize = 16 << 10;

const JSON: [&str; 4] = ["small_300B", "result_4KiB", "result_64KiB", "batch_of_8"];

fn result(id: u32, length: usize) -> Value {
    let empty =
        json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": "" }], "isError": false } });
    let mut answer = empty.clone();
    let text = "The quick brown fox; \"quoted\".\n".chars().cycle();
    let spare = length.saturating_sub(empty.to_string().len());
    // Escapes make it longer in JSON than it is.
    answer["result"]["content"][0]["text"] = text.take(spare * 32 / 35).collect::<String>().into();
    answer
}

fn body(name: &str) -> String {
    match name {
        "small_300B" => result(1, 300).to_string(),
        "result_4KiB" => result(1, 4 << 10).to_string(),
        "result_64KiB" => result(1, 64 << 10).to_string(),
        _ => Value::from((0..8).map(|id| result(id, 300)).collect::<Vec<_>>()).to_string(),
    }
}

/// Progress twice, then the answer.
fn stream() -> String {
    let progress =
        json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": 1, "progress": 0.5 } });
    let event = |data: &Value| format!("event: message\ndata: {data}\n\n");
    [event(&progress), event(&progress), event(&result(1, 300))].concat()
}

#[divan::bench(args = JSON)]
fn json_scanned(bencher: Bencher<'_, '_>, name: &str) {
    let body = body(name);
    bencher.counter(BytesCount::of_str(&body)).bench_local(|| {
        let mut scanner = Box::<Body>::default();
        let mut answers = 0;
        for bytes in black_box(body.as_bytes()).chunks(READ) {
            scanner.feed(bytes, &mut |message| answers += usize::from(message.is_answer()));
        }
        (answers, scanner.end())
    });
}

#[divan::bench(args = JSON)]
fn json_parsed_whole(bencher: Bencher<'_, '_>, name: &str) {
    let body = body(name);
    bencher.counter(BytesCount::of_str(&body)).bench_local(|| serde_json::from_str::<Value>(black_box(&body)).unwrap());
}

#[divan::bench]
fn three_events_scanned(bencher: Bencher<'_, '_>) {
    let stream = stream();
    bencher.counter(BytesCount::of_str(&stream)).bench_local(|| {
        let mut scanner = Box::<Events>::default();
        let mut answers = 0;
        for event in black_box(stream.as_str()).split_inclusive("\n\n") {
            scanner.feed(event.as_bytes(), &mut |message| answers += usize::from(message.is_answer()));
        }
        (answers, scanner.end())
    });
}
