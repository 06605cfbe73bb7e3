#!/bin/sh
# 10, 50, 100 % by hand, each watched for HOLD (like 10m): 8 where it was taken back, any other code is what dualgate said.
for share in 10 50 100; do
    dualgate split "$((100 - share)):$share" --wait --reason "by hand: $share %" || exit
    dualgate monitor --entry secondary --duration "${HOLD:-10m}" ${ALLOW_UNSURE:+--allow-unsure} || { dualgate rollback --wait --reason "not well at $share %"; exit 8; }
done
