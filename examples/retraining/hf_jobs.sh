#!/usr/bin/env bash
# Retrains on a rented GPU of Hugging Face Jobs; OUT becomes a folder of BUCKET (ORG/NAME, from
# `hf buckets create NAME`). Needs `hf auth login` and an account with Jobs; MODEL and DATA are ids
# or folders, which are uploaded: by default what `resque demo` left behind. PACKAGE is what pip
# installs beside your token, so name it: resque[retrain] @ git+https://… at a commit, or a wheel.
set -euo pipefail

MODEL=${MODEL:-resque-demo/model}
DATA=${DATA:-resque-demo/digits}
OUT=${OUT:-resque-demo/hf_jobs}

volumes=(--volume "hf://buckets/${BUCKET:?is not set: ORG/NAME of a bucket for the results}:/results")
if [[ -d $MODEL ]]; then
  volumes+=(--volume "$MODEL:/model")
  MODEL=/model
fi
if [[ -d $DATA ]]; then
  volumes+=(--volume "$DATA:/data")
  DATA=/data
fi

# A mounted bucket has no file locks: the run writes to the job's own disk and is copied at its end.
# shellcheck disable=SC2016
exec hf jobs run \
  --flavor "${FLAVOR:-a10g-small}" \
  --timeout "${TIMEOUT:-2h}" \
  --secrets HF_TOKEN \
  --env PIP_BREAK_SYSTEM_PACKAGES=1 \
  "${volumes[@]}" \
  -- "${IMAGE:-pytorch/pytorch:latest}" bash -c '
    set -eu
    package=$1 model=$2 data=$3 out=/results/$4
    shift 4
    pip install --quiet "$package"
    code=0
    resque retrain --model "$model" --dataset "$data" --output-dir run "$@" || code=$?
    mkdir -p "$out"
    cp -r run/. "$out"
    exit "$code"
  ' bash "${PACKAGE:?is not set: what pip installs, as resque[retrain] @ git+https://…}" "$MODEL" "$DATA" "$OUT" "$@"
