#!/usr/bin/env bash
# Retrains a transformer with weights, gradients and optimizer in shards (FSDP2); fsdp2.yaml names
# its layer and counts the GPUs. Needs resque[retrain], two or more GPUs, DATA (by default what
# `resque demo` left behind) and MODEL: a ViT from the Hub, since accelerate 1.15 shards no ResNet,
# such as the demo's. Options of `resque retrain` may follow.
set -euo pipefail

MODEL=${MODEL:-google/vit-base-patch16-224-in21k}
DATA=${DATA:-resque-demo/digits}
OUT=${OUT:-resque-demo/fsdp2}

here=$(dirname "${BASH_SOURCE[0]}")
exec accelerate launch --config_file "$here/fsdp2.yaml" -m resque.retrain \
  --model "$MODEL" --dataset "$DATA" --output-dir "$OUT" "$@"
