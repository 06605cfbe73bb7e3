# layout.awk START ALL: in what order the linker should lay functions out, one name a line, for `sort -k1,1n -k2,2n -k3 | cut -f3`.
#
# START and ALL are profiles as `llvm-profdata merge --text` writes them, of a start alone and of everything. What a start runs comes first,
# rarest first, then what only traffic runs, most frequent first: a process that has only been started maps few pages of the binary (the
# system maps 64 KiB around each page that is touched), and what runs most often lies together, where the two meet.
#
# A function's record: its name (`unit;name` where the name is not global), comments, counters, perhaps what values were seen, an empty line.

/^# Func Hash:/ { name = before }
/^#/ || /^$/ { if (counting && most > 0) seen(name, most); counting = 0 }
/^# Counter Values:/ { counting = 1; most = 0; next }
counting && $1 + 0 > most { most = $1 + 0 }
{ before = $0 }

function seen(name, most) {
    sub(/^[^;]*;/, "", name)
    if (FILENAME == ARGV[1]) start[name] = most; else traffic[name] = most
}

END {
    for (name in start) printf "1\t%.0f\t%s\n", start[name], name
    for (name in traffic) if (!(name in start)) printf "2\t%.0f\t%s\n", -traffic[name], name
}
