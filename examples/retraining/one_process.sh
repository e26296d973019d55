#!/usr/bin/env bash
# Retrains a model in one process, on the GPU where there is one, and records what that costs.
# Needs resque[retrain], and MODEL and DATA: by default what `resque demo` left behind.
# Options of `resque retrain` may follow, as `--corruption gaussian:0.3 --target-recovery 0.9`.
set -euo pipefail

MODEL=${MODEL:-resque-demo/model}
DATA=${DATA:-resque-demo/digits}
OUT=${OUT:-resque-demo/one_process}

exec resque retrain --model "$MODEL" --dataset "$DATA" --output-dir "$OUT" "$@"
