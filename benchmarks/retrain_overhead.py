"""What the meters of `resque retrain` cost beside the same loop without them.

Writes benchmarks/results/retrain_overhead.json. One thread, batches of 32, 64-pixel images, a
ResNet of 4.9M parameters; an epoch of each loop in turn, and the ratio is that of the medians.
Ours counts losses and gradient norms, books time and energy, and measures the change of the
parameters once an epoch; evaluations and checkpoints are not part of either.

    python benchmarks/retrain_overhead.py [--rounds 9] [--samples 256]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from fingerprint_speed import build
from machine import describe_run

RESULT = Path(__file__).parent / "results" / "retrain_overhead.json"


def make_run(samples, folder):
    """Return a run that is ready, as `resque.retrain` makes it."""
    import datasets

    from resque import run_folder
    from resque.costs import CostMeter
    from resque.energy import Grid
    from resque.preparation import make_accelerator, prepare
    from resque.recording import Rates
    from resque.retrain_options import make_retrain_options
    from resque.training_loop import Run

    model, table, _ = build(samples)
    use = make_retrain_options({"progress": False, "device": "cpu", "optimizer": "sgd"})
    accelerator, _ = make_accelerator(use, folder)
    both = datasets.DatasetDict(train=table, test=table.select(range(32)))
    setup = prepare(accelerator, model, both, use, None)
    attempt = run_folder.begin(folder, {}, False, False)
    meter = CostMeter()
    rates = Rates(Grid(475.0, None, "benchmark"), meter.energy.method, None)
    return setup, Run(setup, attempt, folder, meter, rates, "", "")


def speed(rounds, samples):
    """Return seconds of an epoch of each loop, a list a round."""
    import torch

    from resque.progress import EpochSums, Tally
    from resque.records import Evaluation

    with tempfile.TemporaryDirectory() as name:
        setup, run = make_run(samples, Path(name))
        run.tally = Tally(setup.accelerator.device, [0.0] * 6)
        run.progress.evaluations = [Evaluation(0, 0.0, None, 0.0, 0.0)]

        def bare():
            setup.sampler.start(0)
            setup.module.train()
            began = time.perf_counter()
            for batch in setup.train_loader:
                with setup.accelerator.accumulate(setup.module):
                    logits = setup.module(**batch["inputs"]).logits.float()
                    loss = torch.nn.functional.cross_entropy(logits, batch["targets"])
                    setup.accelerator.backward(loss)
                    setup.optimizer.step()
                    setup.scheduler.step()
                    setup.optimizer.zero_grad()
            return time.perf_counter() - began

        def ours():
            run.progress.step = 0
            run.progress.in_epoch = EpochSums()
            began = time.perf_counter()
            for _ in run._epoch_steps(0):
                pass
            run._read_tally()
            run._close_epoch()
            return time.perf_counter() - began

        bare(), ours()
        found = {"bare": [], "ours": []}
        with run.guard:
            for _ in range(rounds):
                found["bare"].append(bare())
                found["ours"].append(ours())
        run.meter.stop()
    medians = {way: statistics.median(seconds) for way, seconds in found.items()}
    return {
        "steps_per_epoch": setup.steps_per_epoch,
        "parameters": setup.n_parameters,
        "seconds": found,
        "medians": medians,
        "ratio": medians["ours"] / medians["bare"],
    }


def main():
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--samples", type=int, default=256)
    use = parser.parse_args()
    found = describe_run() | speed(use.rounds, use.samples)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "seconds"}, indent=1))


if __name__ == "__main__":
    main()
