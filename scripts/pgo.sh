#!/usr/bin/env bash
# The optimised release binary, as target/pgo/dualgate: built once with counters in it, trained by the load of
# benches/forward, and built again with what the counters say. Everything lands in target/pgo (CARGO_TARGET_DIR is honoured).
#
# Needs llvm-profdata of rustc's LLVM: `rustup component add llvm-tools`, or a package like llvm-22; LLVM_PROFDATA names another.
# Without it the binary is built without a profile, and the last line says so; PGO=require fails instead.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
home=$target/pgo
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

step() { printf '\n== %s\n' "$1" >&2; }

# An older llvm-profdata does not read what a newer rustc writes.
fits() { "$1" --version 2>/dev/null | grep -q "LLVM version $llvm\."; }

profdata() {
    local tool
    for tool in "${LLVM_PROFDATA:-}" "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" "llvm-profdata-$llvm" \
        "/usr/lib/llvm-$llvm/bin/llvm-profdata" llvm-profdata; do
        if [ -n "$tool" ] && command -v "$tool" >/dev/null && fits "$tool"; then
            echo "$tool"
            return
        fi
    done
}

# PACK=1: half a megabyte of relocations in 20 KiB, which every start goes through. Loaders before glibc 2.36 refuse such a binary,
# wherever it was built.
packed() { [ "${PACK:-}" != 1 ] || echo "-Clink-arg=-Wl,-z,pack-relative-relocs"; }

# The last link can lay functions out in an order of ours where the linker is lld, as it is rustc's on x86-64 Linux.
takes_an_order() {
    : >"$home/layout"
    local linker
    linker=CARGO_TARGET_$(echo "$host" | tr 'a-z-' 'A-Z_')_LINKER
    echo 'fn main() {}' | rustc ${!linker:+"-Clinker=${!linker}"} "-Clink-arg=-Wl,--symbol-ordering-file=$home/layout" -o "$home/empty" - 2>/dev/null
}

# With --target the flags are not those of build scripts and macros, which nobody wants counted.
build() { cargo build --release --locked --bin dualgate --target "$host" --target-dir "$1"; }

finish() {
    cp "$1/$host/release/dualgate" "$home/dualgate"
    step "$home/dualgate: $2"
}

mkdir -p "$home"
tool=$(profdata)
if [ -z "$tool" ]; then
    echo "no llvm-profdata of LLVM $llvm: rustup component add llvm-tools, or apt-get install llvm-$llvm" >&2
    [ "${PGO:-}" != require ] || exit 1
    build "$home/final"
    finish "$home/final" "without a profile"
    exit
fi

step "a build that counts"
# In the very profile of the last build, slow as its linking is: a crate's symbols have a hash of the profile in their names, and
# counts of another name are counts of nothing.
rm -rf "$home/raw"
RUSTFLAGS="-Cprofile-generate=$home/raw" build "$home/counting"

step "training"
BENCH_DUALGATE=$home/counting/$host/release/dualgate cargo bench --locked --profile dev --bench forward -- train
"$tool" merge -o "$home/merged.profdata" "$home/raw"

layout=()
if takes_an_order; then
    step "a start, for the layout"
    rm -rf "$home/start"
    LLVM_PROFILE_FILE=$home/start/%p.profraw BENCH_DUALGATE=$home/counting/$host/release/dualgate \
        cargo bench --locked --profile dev --bench forward -- start
    "$tool" merge --text -o "$home/start.txt" "$home/start"
    "$tool" merge --text -o "$home/merged.txt" "$home/merged.profdata"
    awk -f scripts/layout.awk "$home/start.txt" "$home/merged.txt" | LC_ALL=C sort -k1,1n -k2,2n -k3 | cut -f3 >"$home/layout"
    [ -s "$home/layout" ] || { echo "the profiles name no functions" >&2; exit 1; }
    # Not every function that was counted is one of its own in the last build.
    layout=("-Clink-arg=-Wl,--symbol-ordering-file=$home/layout" -Clink-arg=-Wl,--no-warn-symbol-ordering)
fi

step "the build that knows"
# cargo does not see that a profile of the same name has changed.
rm -rf "$home/final"
RUSTFLAGS="-Cprofile-use=$home/merged.profdata $(packed) ${layout[*]-}" build "$home/final"
finish "$home/final" "with a profile"
