#!/bin/sh
# 10, 50, 100 % by hand. Wants DUALGATE_ADMIN_URL and DUALGATE_TOKEN_FILE where they are not the defaults; HOLD is the time at each
# step. Exit 0: secondary has all clients; 8: it was rolled back; any other: what dualgate said, and the split stays as it is.
set -eu
dualgate health-check --entry secondary --wait --timeout "${PATIENCE:-60s}"
for share in 10 50 100; do
    dualgate split "$((100 - share)):$share" --wait --reason "rollout: $share %"
    sleep "${HOLD:-600}"
    dualgate health-check --entry secondary || { dualgate rollback --wait --reason "unhealthy at $share %"; exit 8; }
done
dualgate drain primary --wait --timeout "${DRAIN:-1h}" || echo "primary still has clients: it is not to be stopped yet" >&2
