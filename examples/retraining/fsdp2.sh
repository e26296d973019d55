#!/usr/bin/env bash
# Retrains a model too large for one GPU: FSDP2 shards weights, gradients and optimizer.
# Edit fsdp2.yaml for the number of GPUs.
# Needs resque[retrain], two or more GPUs, and MODEL and DATA: by default what `resque demo` left
# behind. Options of `resque retrain` may follow.
set -euo pipefail

MODEL=${MODEL:-resque-demo/model}
DATA=${DATA:-resque-demo/digits}
OUT=${OUT:-resque-demo/fsdp2}

here=$(dirname "${BASH_SOURCE[0]}")
exec accelerate launch --config_file "$here/fsdp2.yaml" -m resque.retrain \
  --model "$MODEL" --dataset "$DATA" --output-dir "$OUT" "$@"
