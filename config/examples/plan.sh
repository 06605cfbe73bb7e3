#!/bin/sh
# plan.sh [PLAN]: a rollout by a plan of the configuration, waited for. 0: done; 8: taken back, and stderr says why; any other: what
# dualgate said, and a rollout that has begun goes on.
exec dualgate rollout start --plan "${1:-default}" --wait --reason "${REASON:-plan.sh}"
