#!/usr/bin/env bash
# Retrains on NODES machines; start it on each, with its NODE_RANK (0, 1, …) and with MAIN_ADDRESS,
# where node 0 is reached. PROCESSES a machine: one a GPU by default, a number on CPUs (gloo).
# Needs resque[retrain] on all, and MODEL, DATA and OUT in a folder that all of them share.
set -euo pipefail

MODEL=${MODEL:-resque-demo/model}
DATA=${DATA:-resque-demo/digits}
OUT=${OUT:-resque-demo/multi_node}

exec torchrun \
  --nnodes "${NODES:-2}" \
  --node_rank "${NODE_RANK:?is not set: this machine is 0, 1, …}" \
  --master_addr "${MAIN_ADDRESS:?is not set: where node 0 is reached}" \
  --master_port "${MAIN_PORT:-29500}" \
  --nproc_per_node "${PROCESSES:-gpu}" \
  -m resque.retrain --model "$MODEL" --dataset "$DATA" --output-dir "$OUT" "$@"
