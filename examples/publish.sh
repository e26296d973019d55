#!/usr/bin/env bash
# The whole story on the Hub, by two people: an owner publishes a model with its fingerprint; a
# stranger, who has new data and not the old, measures the shift, retrains, and proposes what that
# cost as a pull request for the card; both pool their costs, and a forecast learns from the pool.
#
#   OWNER_TOKEN=hf_… STRANGER_TOKEN=hf_… examples/publish.sh OWNER/MODEL OWNER/COSTS [FOLDER]
#
# Needs `pip install 'resque[retrain]'`. It makes the repositories OWNER/MODEL and OWNER/COSTS.
set -euo pipefail
model=$1 costs=$2 work=${3:-$(mktemp -d)}
study=$(cd "$(dirname "$0")/.." && pwd)/benchmarks/results/digits/ledger.jsonl
: "${OWNER_TOKEN:?the token of who owns the model}" "${STRANGER_TOKEN:?the token of who does not}"

owner() { HF_HOME=$work/owner HF_TOKEN=$OWNER_TOKEN "$@"; }
stranger() { HF_HOME=$work/stranger HF_TOKEN=$STRANGER_TOKEN "$@"; }
say() { printf '\n== %s\n' "$*"; }
merge() {
    owner python - "$@" <<'PY'
import sys

from huggingface_hub import HfApi

repo, kind = sys.argv[1:]
waiting = [x.num for x in HfApi().get_repo_discussions(repo, repo_type=kind) if x.status == "open"]
for number in waiting:
    HfApi().merge_pull_request(repo, number, repo_type=kind)
print(f"merged {len(waiting)} pull request(s) of {repo}")
PY
}

mkdir -p "$work" && cd "$work"

say "the owner trains a model on digits, and publishes it with the fingerprint of these"
owner resque demo --output-dir demo >/dev/null
owner hf upload "$model" demo/model .
owner resque fingerprint --model "$model" --dataset "demo/digits#train" --push-to-hub "$model"

say "a stranger has other digits, noisy ones, and no others"
mv demo/digits theirs
noisy=(--corruption gaussian:0.3)
stranger resque estimate --model "$model" --shifted "theirs#train" "${noisy[@]}" --json >report.json

say "the stranger retrains, and keeps what that cost"
stranger resque retrain --model "$model" --dataset "theirs#train" "${noisy[@]}" \
    --target-accuracy 0.85 --epochs 3 --ledger mine.jsonl --output-dir retrained

say "the stranger proposes both for the card; the owner merges"
stranger resque card --report report.json --ledger mine.jsonl --repo-id "$model" --create-pr
merge "$model" model

say "the owner adds another shift to the card"
owner resque estimate --model "$model" --original "theirs#test" --corruption blur:1 --json >blur.json
owner resque card --report blur.json --repo-id "$model" --push-to-hub

say "both pool what retraining cost"
owner resque ledger push "$costs" --ledger "$study"
stranger resque ledger push "$costs" --ledger mine.jsonl --create-pr
merge "$costs" dataset
stranger resque ledger pull "$costs" --output pooled.jsonl

say "a forecast from the pool"
stranger resque forecast --ledger pooled.jsonl --model "$model" --original "theirs#train" \
    --corruption gaussian:0.2 --target-recovery 0.95 --epochs 3
