"""Turn the committed studies into the one file that the tab "Does it hold?" reads.

    python spaces_demo/build_studies.py

It writes assets/studies.json: a row for each retraining of benchmarks/results/STUDY/ledger.jsonl,
and the correlations and differences over all families of STUDY/tables/*.csv, as the reports made
them. Nothing is computed but units; numbers keep six digits, as in the tables.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from resque.correlations import Difference
from resque.files import write_whole
from resque.ledger import Cell, Entry, read_ledger
from resque.outcomes import MEASURES, outcome
from resque.predictors import PREDICTORS
from resque.records import CostRecord
from resque.shifts import KINDS
from resque.study_analysis import Comparison
from resque.study_words import verdict

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
ASSET = HERE / "assets" / "studies.json"

STUDIES = {
    "fashion": ("Fashion-MNIST", "a ResNet (177k parameters) under eight kinds of shift"),
    "digits": ("Digits", "a small ResNet of scikit-learn's digits under five kinds of shift"),
    "mnist-domains": (
        "MNIST and its domains",
        "a ViT (211k parameters) under corruptions, and on the digits of USPS and MNIST-M",
    ),
    "paper-small": ("CIFAR-10", "a ResNet-20 under the paper's kinds of noise, cut down"),
    "text": ("Texts", "two MiniLMs (news, sentiment) under typos, other domains and new tasks"),
    "tasks": ("New tasks", "three small models of images, 13 new tasks each"),
}

# Measures as they are shown: the ledger's name, words, unit, what to multiply the ledger's with.
COSTS = {
    "epochs": ("epochs", "Epochs to the target", "epochs", 1),
    "steps": ("steps", "Optimizer steps to the target", "steps", 1),
    "grad_norm": ("grad_norm", "Gradient norm, mean of the first epoch", "", 1),
    "param_change": ("param_change", "Parameter change, mean ‖Δ‖₂/√n", "", 1),
    "seconds": ("seconds", "Time of training", "s", 1),
    "energy_wh": ("energy_kwh", "Energy of training", "Wh", 1000),
    "co2eq_g": ("co2eq_kg", "Carbon of training", "g CO2eq", 1000),
}

NAMES = {
    "resque_dist": "RESQUE_dist",
    "resque_dist_debiased": "RESQUE_dist, bias taken out",
    "resque_dist_layers": "RESQUE_dist, mean of layers",
    "resque_dist_predicted": "RESQUE_dist, predicted labels",
    "resque_dist_soft": "RESQUE_dist, class probabilities",
    "resque_scatter": "RESQUE with scatter",
    "resque_scatter_aligned": "RESQUE with scatter, aligned",
    "resque_task": "RESQUE_task",
    "arm": "ARM",
    "accuracy_drop": "Accuracy drop",
    "loss_increase": "Loss increase",
    "entropy_increase": "Entropy increase",
    "confidence_drop": "Confidence drop",
    "atc_drop": "Accuracy drop foreseen by ATC",
    "doc_drop": "Accuracy drop foreseen by DoC",
    "frechet": "Fréchet distance",
    "mmd": "MMD",
    "cka": "1 − CKA",
    "energy_distance": "Energy distance",
    "logme": "LogME",
    "hscore": "H-score",
    "leep": "LEEP",
    "knn_error": "Error of nearest neighbours",
    "gradient_norm": "Gradient norm of one batch",
    "n_parameters": "Parameters",
    "n_train": "Rows trained on",
}
WHATS = {"resque_dist_debiased": "RESQUE_dist, its sampling bias taken out"}
FACTS = (
    "run", "study", "model", "original", "data", "shift", "family", "level", "seed", "strategy",
    "target", "reached", "accuracy_before", "accuracy_best", "energy",
)  # fmt: skip


def main() -> None:
    """Write the asset."""
    write_whole(ASSET, lambda file: file.write_text(compose(RESULTS), encoding="utf-8"))


def compose(results: Path) -> str:
    """Return the asset's text, a line for each run.

    Args:
        results: the folder that holds a folder of each study.
    """
    entries = {study: read_ledger([results / study]).done for study in STUDIES}
    runs = [row for study in STUDIES for row in _runs(entries[study], study)]
    families = dict.fromkeys(str(row["family"]) for row in runs)
    head = {
        "measures": {m: _measure(m) for m in COSTS},
        "predictors": {p: _predictor(p) for p in PREDICTORS},
        "families": {name: _level_unit(name) for name in families},
        "studies": {x: _study(results / x, x, entries[x], runs) for x in STUDIES},
        "columns": list(runs[0]),
    }
    lines = ",\n".join(_json(list(row.values())) for row in runs)
    return f'{_json(head)[:-1]},"runs":[\n{lines}\n]}}\n'


def _json(found: Any) -> str:
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _measure(name: str) -> dict[str, Any]:
    own, label, unit, _ = COSTS[name]
    return {"name": label, "unit": unit, "bound_only": MEASURES[own].bound_only}


def _predictor(name: str) -> dict[str, Any]:
    kind = PREDICTORS[name]
    return {
        "name": NAMES[name],
        "what": WHATS.get(name, kind.what),
        "needs_labels": kind.needs_labels,
        "is_resque": kind.is_resque,
        "sign": kind.sign,
    }


def _level_unit(family: str) -> str:
    if family == "class_prior":
        return "strength, 0 to 1"
    return KINDS[family].level if family in KINDS else ""


def _runs(entries: Iterable[Entry], study: str) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(entries, start=1):
        if entry.record is not None:
            yield _run(f"{study} {number}", study, entry, entry.record)


def _run(name: str, study: str, entry: Entry, record: CostRecord) -> dict[str, Any]:
    cell = entry.cell
    facts = (
        name, study, _place(cell.model), _place(cell.original), _place(cell.dataset), _shift(cell),
        cell.family, cell.level, cell.seed, cell.strategy, cell.target, bool(record.reached),
        _digits(record.accuracy_before), _digits(record.accuracy_best),
        "measured" if record.energy_is_measured else "estimated",
    )  # fmt: skip
    return {
        **dict(zip(FACTS, facts, strict=True)),
        **{m: _cost(record, m) for m in COSTS},
        **{p: _digits(entry.predictors.get(p)) for p in PREDICTORS},
    }


def _place(name: str) -> str:
    """Return a model's or data set's name without the study's own folders."""
    return name.removeprefix("models/").removeprefix("datasets/")


def _shift(cell: Cell) -> str:
    """Return what is new about the data, in words."""
    if cell.corruption:
        return f"{cell.family} {cell.level:g}"
    if cell.class_prior:
        return f"class_prior {cell.class_prior:g}"
    data = _place(cell.dataset).partition("#")[0]
    return f"{data}: {cell.family}" if data != cell.family else data


def _cost(record: CostRecord, measure: str) -> float | None:
    own, _, _, factor = COSTS[measure]
    found = outcome(record, own)
    return None if found is None else _digits(found.value * factor)


def _digits(x: float | None) -> float | None:
    return None if x is None else float(f"{x:.6g}")


def _study(
    folder: Path, study: str, entries: Iterable[Entry], runs: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    title, about = STUDIES[study]
    correlations = _table(folder, "correlations")
    differences = [row for row in _table(folder, "differences") if row["rival"]]
    labelled = [row["resque"] for row in differences if PREDICTORS[row["resque"]].needs_labels]
    return {
        "title": title,
        "about": about,
        "ours": labelled[0],
        "families": sorted({row["family"] for row in runs if row["study"] == study}),
        "energy": _energy(entries),
        "correlations": _by_measure(correlations, lambda row: {row["predictor"]: _rho(row)}),
        "differences": _by_measure(
            [row for row in differences if row["resque"] in (labelled[0], "resque_dist_predicted")],
            lambda row: {f"{row['resque']} {row['rival']}": _difference(row)},
        ),
    }


def _energy(entries: Iterable[Entry]) -> str:
    """Return how most of a study's runs know their energy."""
    methods = (entry.record.energy_method for entry in entries if entry.record)
    found = Counter(f"CPU {x.cpu}; GPU {x.gpu}; RAM {x.ram}" for x in methods)
    return found.most_common(1)[0][0]


def _table(folder: Path, name: str) -> list[dict[str, str]]:
    """Return the rows of a table that are over all families."""
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["scope"] == "all"]


def _by_measure(rows: Iterable[dict[str, str]], item: Any) -> dict[str, dict[str, Any]]:
    shown = {own: name for name, (own, *_) in COSTS.items()}
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(shown[row["measure"]], {}).update(item(row))
    return found


def _rho(row: dict[str, str]) -> dict[str, Any]:
    return {
        "runs": int(row["runs"]),
        "censored": int(row["censored"]),
        "shifts": int(row["shifts"]),
        "rho": _number(row["spearman"]),
        "low": _number(row["spearman_low"]),
        "high": _number(row["spearman_high"]),
        "undefined": row["undefined"],
    }


def _difference(row: dict[str, str]) -> dict[str, Any]:
    value, low, high = (_number(row[f"difference{end}"]) for end in ("", "_low", "_high"))
    interval = None if low is None or high is None else (low, high)
    p, runs, shifts = _number(row["p"]), int(row["runs"]), int(row["shifts"])
    found = Difference(float(row["difference"]), interval, p, runs, shifts)
    tested = Comparison(row["resque"], row["rival"], found, _number(row["p_holm"]))
    return {"value": value, "low": low, "high": high, "runs": runs, "verdict": verdict(tested)}


def _number(text: str) -> float | None:
    return float(text) if text else None


if __name__ == "__main__":
    main()
