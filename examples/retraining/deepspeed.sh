#!/usr/bin/env bash
# Retrains with DeepSpeed ZeRO 2: gradients and optimizer are sharded over the GPUs that
# deepspeed.yaml counts. Needs resque[retrain], deepspeed, two or more GPUs, and MODEL and DATA:
# by default what `resque demo` left behind. Options of `resque retrain` may follow.
set -euo pipefail

MODEL=${MODEL:-resque-demo/model}
DATA=${DATA:-resque-demo/digits}
OUT=${OUT:-resque-demo/deepspeed}

here=$(dirname "${BASH_SOURCE[0]}")
exec accelerate launch --config_file "$here/deepspeed.yaml" -m resque.retrain \
  --model "$MODEL" --dataset "$DATA" --output-dir "$OUT" "$@"
