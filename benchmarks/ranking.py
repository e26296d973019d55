"""Does `resque.rank` find the model that retrains best? Candidates ranked, and all retrained.

Nine image models (three trained ones, the same half trained or cut, and random ones) × four data
sets: ranked by their first pass, then each retrained, whole and head alone. The folder given holds
`models/NAME` and `datasets/NAME` in the Hub's layout: see TRAINED and DATA.

    python benchmarks/ranking.py FOLDER [--output benchmarks/results/ranking] [--report-only]

Writes scores.json, ledger.jsonl (a line a retraining; a run that was ended goes on) and
report.json: for each score, and each strategy, the correlation over the candidates of a data set
with the final accuracy and with the work until the target, mean over the data sets, with an
interval from resampled candidates; and the regret of taking the score's first candidate.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
from machine import describe_run
from scipy.stats import spearmanr, weightedtau

from resque.files import append_line
from resque.rank_scores import SCORES

RESULTS = Path(__file__).parent / "results" / "ranking"
TRAINED = {
    "vit-mnist": "mnist",
    "resnet-fashion-mnist": "fashion_mnist",
    "resnet20-cifar10": "cifar10_jpeg",
}
KINDS = ("trained", "half", "random")
DATA = {"usps": {}, "mnist_m": {}, "fashion_mnist": {}, "cifar10_jpeg": {}}
RANKED_ROWS = 1000
RETRAIN = {"max_samples": 1000, "max_eval_samples": 400, "batch_size": 32, "seed": 0,
           "device": "cpu", "progress": False}  # fmt: skip
STRATEGIES = {
    "full": {"epochs": 4.0, "eval_every": 16},
    "head": {"epochs": 10.0, "eval_every": 32, "learning_rate": 0.01},
}
TARGET = 0.9  # of the best final accuracy that a candidate reaches so on the data set
RESAMPLES = 2000


def make_candidates(source, folder):
    """Write the candidates: each trained model, one half way to random weights, and random."""
    import torch
    import transformers

    for name in TRAINED:
        original = Path(source) / "models" / name
        config = transformers.AutoConfig.from_pretrained(original)
        kind = getattr(transformers, config.architectures[0])
        processor = transformers.AutoImageProcessor.from_pretrained(original)
        trained = kind.from_pretrained(original)
        torch.manual_seed(0)
        fresh = kind(config)
        for how, share in zip(KINDS, (1.0, 0.5, 0.0), strict=True):
            mixed = {
                key: share * value + (1 - share) * fresh.state_dict()[key]
                if value.is_floating_point() else value
                for key, value in trained.state_dict().items()
            }  # fmt: skip
            module = kind(config)
            module.load_state_dict(mixed)
            module.save_pretrained(folder / f"{name}-{how}")
            processor.save_pretrained(folder / f"{name}-{how}")


def candidates_of(data):
    """Return the candidates that were not trained on a data set."""
    return [f"{name}-{how}" for name, on in TRAINED.items() for how in KINDS
            if how == "random" or on != data]  # fmt: skip


def rank_all(source, folder, output):
    """Rank the candidates on the training rows of each data set."""
    import resque

    file = output / "scores.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    for data, options in DATA.items():
        if data in found:
            continue
        names = candidates_of(data)
        ranking = resque.rank(
            [str(folder / name) for name in names], f"{source}/datasets/{data}#train",
            max_samples=RANKED_ROWS, device="cpu", progress=False, cache=False, **options,
        )  # fmt: skip
        kept = ("error", "intervals", "parameters", "seconds", *SCORES)
        found[data] = {
            Path(x["model"]).name: {name: x.get(name) for name in kept}
            for x in ranking.to_dict()["candidates"]
        }
        file.write_text(json.dumps(found, indent=1) + "\n")


def retrain_all(source, folder, output):
    """Retrain what the ledger does not hold yet."""
    from resque.retrain import retrain

    ledger = output / "ledger.jsonl"
    known = {(x["data"], x["model"], x["strategy"]) for x in read_ledger(ledger)}
    cells = [(d, m, s) for s in STRATEGIES for d in DATA for m in candidates_of(d)]
    for data, model, strategy in cells:
        if (data, model, strategy) in known:
            continue
        with tempfile.TemporaryDirectory() as out:
            record = retrain(
                str(folder / model), f"{source}/datasets/{data}#train", out, strategy=strategy,
                eval_split="test", **RETRAIN, **STRATEGIES[strategy], **DATA[data],
            )  # fmt: skip
        line = {
            "data": data, "model": model, "strategy": strategy,
            "accuracy_before": record.accuracy_before, "accuracy_final": record.accuracy_final,
            "evaluations": [[x.step, x.eval_accuracy] for x in record.evaluations],
            "seconds_training": record.seconds_training, "energy_kwh": record.energy_kwh,
            "energy_is_measured": record.energy_is_measured, "flops": record.flops,
        }  # fmt: skip
        append_line(line, ledger)
        print(f"{data} {model} {strategy}: {record.accuracy_final:.3f}", flush=True)


def read_ledger(path):
    """Return the ledger's lines."""
    return [json.loads(x) for x in path.read_text().splitlines()] if path.is_file() else []


def steps_to(target, line):
    """Return steps until an accuracy, interpolated; infinite where it was not reached."""
    before = None
    for step, accuracy in line["evaluations"]:
        if accuracy >= target:
            if before is None:
                return 0.0
            share = (target - before[1]) / (accuracy - before[1])
            return before[0] + share * (step - before[0])
        before = step, accuracy
    return float("inf")


def outcomes(lines, data, strategy):
    """Return for each model of a data set: accuracy, and steps and kWh until the target."""
    chosen = {x["model"]: x for x in lines if (x["data"], x["strategy"]) == (data, strategy)}
    if len(chosen) < len(candidates_of(data)):
        return None
    best = max(x["accuracy_final"] for x in chosen.values())
    found = {}
    for name, line in chosen.items():
        steps, ran = steps_to(TARGET * best, line), line["evaluations"][-1][0]
        found[name] = {
            "accuracy": line["accuracy_final"],
            "steps": steps,
            "energy_kwh": line["energy_kwh"] * steps / ran,
        }
    return found


def correlations(score, outcome, sign):
    """Return Spearman's ρ and Kendall's weighted τ; greater is better for both arguments."""
    if np.ptp(score) == 0 or np.ptp(outcome) == 0:
        return np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, y = sign * np.asarray(score), np.asarray(outcome)
        return float(spearmanr(x, y)[0]), float(weightedtau(x, y, rank=None)[0])


def judge(scores, lines, name, strategy, what):
    """Return a score's mean correlations over the data sets, and their intervals."""
    sign = 1 if SCORES[name].greater_is_better else -1
    pairs = []
    for data in DATA:
        found = outcomes(lines, data, strategy)
        if found is None:
            continue
        models = [m for m in found if scores[data][m][name] is not None]
        x = [scores[data][m][name] for m in models]
        # Models that do not reach the target have the same, the last place.
        y = [found[m]["accuracy"] if what == "accuracy" else -min(found[m][what], 1e9)
             for m in models]  # fmt: skip
        pairs.append((np.array(x), np.array(y)))
    if not pairs:
        return None
    rng = np.random.default_rng(0)
    values = np.mean([correlations(x, y, sign) for x, y in pairs], axis=0)
    draws = []
    for _ in range(RESAMPLES):
        each = [correlations(x[i], y[i], sign) for x, y in pairs for i in [_some(len(x), rng)]]
        draws.append(np.mean([x for x in each if np.isfinite(x).all()] or [(0.0, 0.0)], axis=0))
    ends = np.quantile(draws, [0.025, 0.975], axis=0)
    return {
        coefficient: {"value": float(values[i]), "interval": [float(ends[0, i]), float(ends[1, i])]}
        for i, coefficient in enumerate(("spearman", "weighted_tau"))
    }


def _some(n, rng):
    """Return n candidates drawn with replacement."""
    return rng.integers(0, n, n)


def regret(scores, lines, name, strategy):
    """Return what taking a score's first candidate loses, mean over the data sets."""
    sign = 1 if SCORES[name].greater_is_better else -1
    rows = []
    for data in DATA:
        found = outcomes(lines, data, strategy)
        if found is None:
            continue
        accuracy = {m: x["accuracy"] for m, x in found.items()}
        energy = {m: x["energy_kwh"] for m, x in found.items()}
        known = {
            m: sign * scores[data][m][name] for m in found if scores[data][m][name] is not None
        }
        chosen = max(known, key=known.get)
        reached = [x for x in energy.values() if np.isfinite(x)]
        rows.append({
            "data": data, "chosen": chosen, "accuracy": max(accuracy.values()) - accuracy[chosen],
            "accuracy_of_a_random_choice": max(accuracy.values()) - np.mean([*accuracy.values()]),
            "reaches_the_target": bool(np.isfinite(energy[chosen])),
            "share_of_all_that_do": len(reached) / len(energy),
            "energy_kwh": energy[chosen] - min(reached) if np.isfinite(energy[chosen]) else None,
        })  # fmt: skip
    return rows


def report(output):
    """Write what the ledger tells so far."""
    scores = json.loads((output / "scores.json").read_text())
    lines = read_ledger(output / "ledger.jsonl")
    command = {"command": "python benchmarks/ranking.py FOLDER"}
    found = describe_run() | command | {"runs": len(lines), "target": TARGET,
                              "retraining": RETRAIN | STRATEGIES,
                              "rows_ranked": RANKED_ROWS}  # fmt: skip
    for strategy in STRATEGIES:
        found[strategy] = {
            name: {
                "accuracy": judge(scores, lines, name, strategy, "accuracy"),
                "steps": judge(scores, lines, name, strategy, "steps"),
                "energy_kwh": judge(scores, lines, name, strategy, "energy_kwh"),
                "regret": regret(scores, lines, name, strategy),
            }
            for name in SCORES
        }
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (output / "report.json").write_text(text + "\n")
    show(found)


def show(found):
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="mean over the data sets, [95 % interval over candidates]")
    columns = ("strategy", "score", "ρ accuracy", "τw accuracy", "ρ steps", "ρ energy",
               "regret, accuracy")  # fmt: skip
    for name in columns:
        table.add_column(name)
    for strategy in STRATEGIES:
        for name, x in found[strategy].items():
            if x["accuracy"] is None:
                continue
            cells = [x["accuracy"]["spearman"], x["accuracy"]["weighted_tau"],
                     x["steps"]["spearman"], x["energy_kwh"]["spearman"]]  # fmt: skip
            lost = np.mean([row["accuracy"] for row in x["regret"]])
            chance = np.mean([row["accuracy_of_a_random_choice"] for row in x["regret"]])
            table.add_row(
                strategy, name,
                *(f"{c['value']:.2f} [{c['interval'][0]:.2f}, {c['interval'][1]:.2f}]"
                  for c in cells),
                f"{lost:.3f} (random: {chance:.3f})",
            )  # fmt: skip
    Console(width=140).print(table)


def main():
    """Run what is not there yet, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--report-only", action="store_true")
    use = parser.parse_args()
    use.output.mkdir(parents=True, exist_ok=True)
    if not use.report_only:
        with tempfile.TemporaryDirectory() as made:
            make_candidates(use.folder, Path(made))
            rank_all(use.folder, Path(made), use.output)
            retrain_all(use.folder, Path(made), use.output)
    report(use.output)


if __name__ == "__main__":
    main()
