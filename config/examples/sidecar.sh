#!/bin/sh
# sidecar.sh FILE PERCENT: gives secondary so many per cent where the file is the authority (split.authority = "config"), as in
# config/sidecar.toml. Exit 3: the new file is not valid, and nothing was changed; any other: what dualgate said.
set -eu
sed -E "s/^primary = [0-9.]+/primary = $((100 - $2))/; s/^secondary = [0-9.]+/secondary = $2/" "$1" > "$1.new"
dualgate check "$1.new"
mv "$1.new" "$1"
dualgate config reload --wait --reason "sidecar.sh: $2 %"
test "$(dualgate split | cut -d ' ' -f 1)" = "$((100 - $2)):$2"
