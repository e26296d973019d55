#!/usr/bin/env bash
# Retrains with two processes of one machine: on two GPUs, or on the CPU (gloo) where there are
# fewer than two. Needs resque[retrain], and MODEL and DATA: by default what `resque demo` left
# behind. Options of `resque retrain` may follow.
set -euo pipefail

MODEL=${MODEL:-resque-demo/model}
DATA=${DATA:-resque-demo/digits}
OUT=${OUT:-resque-demo/two_processes}

if [[ $(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU') -lt 2 ]]; then
  export ACCELERATE_USE_CPU=true
fi
exec torchrun --standalone --nproc_per_node 2 -m resque.retrain \
  --model "$MODEL" --dataset "$DATA" --output-dir "$OUT" "$@"
