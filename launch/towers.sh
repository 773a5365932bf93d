#!/usr/bin/env bash
# Makes the towers that ship with the package again: about an hour on two cores.
# Usage: bash launch/towers.sh [RUNS [OUT]]      RUNS: folder of the runs; OUT: where the towers go
# Safe to run again: each step goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/environment.sh
make_environment ""
RUNS=${1:-runs/towers}
OUT=${2:-m3it_jax/towers/mini}
m3it mini "$RUNS/data" --edition full
m3it train configs/mini/vit.py --run-dir "$RUNS/vit" --data.path="$RUNS/data"
m3it train configs/mini/qformer.py --run-dir "$RUNS/qformer" --data.path="$RUNS/data" --init_from.vit="$RUNS/vit"
m3it train configs/mini/decoder.py --run-dir "$RUNS/decoder" --data.path="$RUNS/data"
m3it train configs/mini/qformer_captions.py --run-dir "$RUNS/qformer_captions" --data.path="$RUNS/data" \
  --init_from.vit="$RUNS/vit" --init_from.qformer="$RUNS/qformer" --init_from.decoder="$RUNS/decoder"
m3it towers --vit "$RUNS/vit" --qformer "$RUNS/qformer_captions" --decoder "$RUNS/decoder" --out "$OUT"
