# The same commands that CI runs.

# style, lints, tests, docs, dependencies
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

# one of json, events, envelope, seal, config, trace, for a minute; needs cargo-fuzz and a nightly toolchain
fuzz target:
    cargo +nightly fuzz run {{target}} -- -max_total_time=60

demo:
    cargo run --release -- demo
