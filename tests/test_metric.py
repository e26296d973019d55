"""The metric through `evaluate`: it answers what the package answers, and copies nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch

import resque

FOLDER = Path(__file__).parents[1] / "metrics" / "resque"


@pytest.fixture
def dist():
    return evaluate.load(str(FOLDER))


@pytest.fixture
def task():
    return evaluate.load(str(FOLDER), "task")


def arrays(seed=0, n=120, m=90, shape=(7,)):
    rng = np.random.default_rng(seed)
    y, w = np.arange(n) % 3, np.arange(m) % 3
    means = rng.normal(size=(3, *shape))
    return means[y] + rng.normal(size=(n, *shape)), y, means[w] + rng.normal(size=(m, *shape)), w


@pytest.mark.parametrize("kind", ["numpy", "torch", "list"])
def test_it_answers_what_the_package_answers(dist, task, kind):
    convert = {"numpy": np.asarray, "torch": torch.tensor, "list": lambda x: x.tolist()}[kind]
    x, y, z, w = arrays()
    found = dist.compute(
        predictions=convert(z),
        references=convert(w),
        original_predictions=convert(x),
        original_references=convert(y),
    )
    expected = resque.resque_dist(x, y, z, w)
    assert found["resque_dist"] == expected.value
    assert tuple(found["interval"]) == expected.interval
    assert found["noise_floor"] == expected.noise_floor
    answer = task.compute(predictions=convert(x), references=convert(y))
    assert answer["resque_task"] == resque.resque_task(x, y).value


def test_batches_add_up(dist):
    x, y, z, w = arrays(shape=(4, 2, 3))
    for rows in np.array_split(np.arange(len(x)), 7):
        dist.add_batch(original_predictions=x[rows], original_references=y[rows])
    for rows in np.array_split(np.arange(len(z)), 4):
        dist.add_batch(predictions=z[rows], references=w[rows])
    assert dist.compute()["resque_dist"] == resque.resque_dist(x, y, z, w).value
    with pytest.raises(ValueError, match="predictions"):
        dist.compute()  # emptied by the compute before


def test_samples_one_by_one(task):
    x, y, _, _ = arrays()
    for vector, label in zip(x, y, strict=True):
        task.add(prediction=vector, reference=label)
    assert task.compute()["resque_task"] == resque.resque_task(x, y).value


def test_it_runs_the_model(dist, task, digits):
    model, data = digits
    options = {"device": "cpu", "progress": False}
    found = dist.compute(
        model_id=model, original=f"{data}#test[:200]", shifted=f"{data}#test[200:400]", **options
    )
    report = resque.estimate(model, f"{data}#test[:200]", f"{data}#test[200:400]", **options)
    assert found["resque_dist"] == report.score.value
    found = task.compute(model_id=model, task=f"{data}#test[:200]", label_column="odd", **options)
    assert 0 <= found["resque_task"] <= 1.5


def test_beside_accuracy(tmp_path):
    (tmp_path / "hits").mkdir()
    (tmp_path / "hits" / "hits.py").write_text(ACCURACY)
    x, y, _, _ = arrays()
    metric = evaluate.load(str(FOLDER), "task", predictions_name="hidden_states")
    both = evaluate.combine([evaluate.load(str(tmp_path / "hits")), metric])
    both.add_batch(predictions=y, references=y, hidden_states=x)
    found = both.compute()
    assert found["hits"] == 1.0
    assert found["resque_task"] == resque.resque_task(x, y).value


# evaluate's own accuracy lives on the Hub; this one is declared as it is.
ACCURACY = """
import datasets
import evaluate

class Hits(evaluate.Metric):
    def _info(self):
        features = {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="", features=datasets.Features(features)
        )

    def _compute(self, predictions, references):
        hits = [p == r for p, r in zip(predictions, references)]
        return {"hits": sum(hits) / len(hits)}
"""


def test_its_card_is_right(dist, task):
    assert dist.name == "resque"
    for metric in (dist, task):
        assert "2412.15511" in metric.citation
        assert "hidden states" in metric.inputs_description
        features = metric.features if isinstance(metric.features, list) else [metric.features]
        assert all(set(f) >= {"predictions", "references"} for f in features)


@pytest.mark.parametrize("given", [{}, {"predictions": [[1.0]]}, {"model_id": "m"}])
def test_missing_inputs_are_named(dist, given):
    with pytest.raises((ValueError, TypeError), match=r"reference|original|predictions"):
        dist.compute(**given)


def test_installed_it_loads_by_its_name_from_any_folder(tmp_path):
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_EVALUATE_OFFLINE": "1"}
    command = "from resque.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", command, "metric", "install"],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    code = (
        "import evaluate, numpy as np\n"
        "metric = evaluate.load('resque', 'task')\n"
        "print(metric.compute(predictions=np.eye(4)[[0, 0, 1, 1]], references=[0, 0, 1, 1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert "'resque_task': 0.0" in done.stdout, done.stderr
