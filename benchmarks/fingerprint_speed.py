"""What `resque.fingerprint` costs beside the bare forward pass over the same batches, and memory.

Writes benchmarks/results/fingerprint_speed.json. One thread, batches of 32, 64-pixel images, a
ResNet of 4.9M parameters; the three ways are interleaved and the ratio is that of the medians.

    python benchmarks/fingerprint_speed.py [--rounds 9] [--samples 512]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe_run

RESULT = Path(__file__).parent / "results" / "fingerprint_speed.json"
BATCH = 32


def build(n):
    """Return the model, its data as a map of ready tensors, and bare batches of the same."""
    import datasets
    import numpy as np
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        num_labels=10,
    )
    model = ResNetForImageClassification(config).eval()
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(n, 3, 64, 64)).astype(np.float32)
    labels = rng.integers(0, 10, n)
    features = datasets.Features(
        pixel_values=datasets.Array3D((3, 64, 64), "float32"), label=datasets.Value("int64")
    )
    table = datasets.Dataset.from_dict(
        {"pixel_values": pixels, "label": labels.tolist()}, features=features
    )
    batches = [torch.from_numpy(pixels[i : i + BATCH]) for i in range(0, n, BATCH)]
    return model, table, batches


def speed(rounds, n):
    """Return seconds of each way, a list a round."""
    import torch

    import resque
    from resque.layers import choose_layers
    from resque.measurement import load_model, match_classes, open_for
    from resque.options import make_options
    from resque.representations import sum_representations

    model, table, batches = build(n)
    parameters = sum(p.numel() for p in model.parameters())
    options = make_options({"progress": False, "batch_size": BATCH, "workers": 0})
    loaded = load_model(model, options)
    data = open_for(loaded, table, options)
    classes = match_classes(data, loaded, None)

    def bare():
        began = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                model(pixel_values=batch)
        return time.perf_counter() - began

    def ours(layers):
        chosen = choose_layers(loaded, layers)
        part = sum_representations(loaded, data, chosen, classes, settings=options.settings)
        return part.times.total - part.times.waiting, part.times.waiting

    ways = {"bare": [], "automatic": [], "all": [], "waiting": []}
    bare(), ours(None), ours("all")
    for _ in range(rounds):
        ways["bare"].append(bare())
        seconds, waiting = ours(None)
        ways["automatic"].append(seconds)
        ways["waiting"].append(waiting)
        ways["all"].append(ours("all")[0])
    assert resque.fingerprint(model, table, progress=False).header.counts.samples == n
    medians = {name: statistics.median(values) for name, values in ways.items()}
    return {
        "parameters": parameters,
        "samples": n,
        "rounds": rounds,
        "seconds": ways,
        "medians": medians,
        "ratio_automatic": medians["automatic"] / medians["bare"],
        "ratio_all": medians["all"] / medians["bare"],
    }


MEMORY = """
import sys
import datasets, numpy as np, torch
import resque
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
def rows():
    rng = np.random.default_rng(0)
    for i in range(int(sys.argv[1])):
        yield {"inputs": rng.normal(size=64).astype(np.float32), "label": i % 10}
from machine import peak_memory
table = datasets.Dataset.from_generator(rows)
resque.fingerprint(model, table.select(range(64)), "all", progress=False, workers=0)
before, peak = peak_memory(
    lambda: resque.fingerprint(model, table, "all", progress=False, workers=0)
)
print(before / 1e6, (peak - before) / 1e6)
"""


def memory(samples):
    """Return resident memory (MB) before and grown by the pass, each n in its own process."""
    found = {}
    for n in samples:
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(n)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
        before, growth = map(float, done.stdout.split())
        found[str(n)] = {"before_mb": round(before, 1), "grown_by_mb": round(growth, 1)}
    return found


def main():
    """Run both and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=int, default=512)
    arguments = parser.parse_args()
    found = describe_run() | {"speed": speed(arguments.rounds, arguments.samples)}
    found["memory"] = memory([1_000, 10_000, 100_000])
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found["speed"].items() if k != "seconds"}, indent=1))
    print(json.dumps(found["memory"], indent=1))


if __name__ == "__main__":
    main()
