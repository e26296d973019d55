#!/usr/bin/env bash
# Retrains with one process a GPU on one machine; how many, says multi_gpu.yaml.
# Needs resque[retrain], two or more GPUs, and MODEL and DATA: by default what `resque demo` left
# behind. Options of `resque retrain` may follow.
set -euo pipefail

MODEL=${MODEL:-resque-demo/model}
DATA=${DATA:-resque-demo/digits}
OUT=${OUT:-resque-demo/multi_gpu}

here=$(dirname "${BASH_SOURCE[0]}")
exec accelerate launch --config_file "$here/multi_gpu.yaml" -m resque.retrain \
  --model "$MODEL" --dataset "$DATA" --output-dir "$OUT" "$@"
