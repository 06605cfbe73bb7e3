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

demo:
    cargo run --release -- demo
