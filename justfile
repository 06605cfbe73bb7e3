# The same commands that CI runs.

# style, lints, tests, docs, dependencies; the bounds on cost are `just cost`
check: style lint test doc deny

style:
    cargo fmt --check

lint:
    cargo clippy --all-targets --locked -- -D warnings

test:
    cargo test --locked

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

deny:
    cargo deny check bans licenses sources

bench:
    cargo bench

# the binary that is shipped, trained and built anew: target/pgo/dualgate
release:
    scripts/pgo.sh

# instructions, system calls and memory against tests/cost/bounds.json; needs valgrind and strace. BLESS=1 writes the bounds anew
cost:
    cargo build --locked --profile guard --bin dualgate
    tests/cost/cost.py "${CARGO_TARGET_DIR:-target}/guard/dualgate"

# one of json, events, envelope, seal, essentials, ids, retag, config, trace, answer, request, for a minute; needs cargo-fuzz and a nightly toolchain
fuzz target:
    cargo +nightly fuzz run {{target}} -- -max_total_time=60

demo:
    cargo run --release -- demo
