"""Forecasts of new tasks: learnt from new tasks alone, for models that the ledger has not."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgers import FAMILIES, make_entries, make_entry, make_tasks
from resque.errors import UsageError
from resque.forecast_evaluation import evaluate_task_forecasts
from resque.forecast_runs import Known, is_new_task, values
from resque.forecast_sources import DEFAULT_TASK_LEDGER, Sources
from resque.forecasters import make_forecaster, make_task_forecaster
from resque.ledger import Ledger, read_ledger

TASKS = make_tasks()
SHIFTS = make_entries(FAMILIES[:4], 4, 2, 0.2)
SIZES = {"n_parameters": 1e5, "n_train": 320.0, "classes": 4.0}


def task(error, target=0.75, **changes):
    """What is known of a new task."""
    return Known({"knn_error": error} | SIZES | changes, "full", f"accuracy:{target:g}", 20)


@functools.cache
def learnt():
    return make_task_forecaster(Ledger(tuple(TASKS)))


def test_a_new_task_is_one_whose_classes_the_model_does_not_know():
    assert all(is_new_task(x.predictors) for x in TASKS)
    assert not any(is_new_task(x.predictors) for x in SHIFTS)
    assert not is_new_task({"resque_dist_predicted": 0.1})  # no labels


def test_tasks_are_learnt_from_tasks_and_shifts_from_shifts():
    mixed = Ledger(tuple(TASKS + SHIFTS))
    found = make_task_forecaster(mixed).predict(task(0.3))
    alone = learnt().predict(task(0.3))
    assert found.epochs == alone.epochs
    assert (found.kind, found.runs, found.families) == ("new tasks", 40, 4)
    assert found.notes == ("32 runs are no new tasks",)
    shift = make_entry("new", None, 0, 0.3, 1.0)
    known = Known(shift.predictors, "full", "recovery:0.95", 20)
    with_tasks, without = (
        make_forecaster(x, labels=True).predict(known) for x in (mixed, Ledger(tuple(SHIFTS)))
    )
    assert with_tasks.epochs == without.epochs
    assert with_tasks.notes[0] == "40 runs are no shifts"
    assert with_tasks.kind == "shifts"


def test_other_models_are_forecast_with_less_error_than_the_median_has():
    found = evaluate_task_forecasts(Ledger(tuple(TASKS)))
    assert found.features == ("knn_gap",)
    assert [x.family for x in found.families] == list("abcd")
    assert found.error < 0.5 * found.naive_error
    assert found.coverage.share >= 0.8
    forecast = learnt().predict(task(0.3))
    assert (forecast.error, forecast.naive_error) == (found.error, found.naive_error)
    sentence = forecast.sentence()
    assert "from 40 runs of 4 models on new tasks; " in sentence
    assert f"their median error was {found.error:.2g} epochs" in sentence
    assert "no better" not in sentence


def test_a_forecast_that_beats_no_median_says_so():
    rng = np.random.default_rng(0)
    blind = [
        replace(x, predictors=x.predictors | {"knn_error": float(rng.uniform(0, 0.6))})
        for x in TASKS
    ]
    found = make_task_forecaster(Ledger(tuple(blind))).predict(task(0.3))
    assert found.error >= found.naive_error
    assert "held; no better than the ledger's median: their median error was" in found.sentence()
    low, high = found.epochs.interval
    assert high > 4 * max(low, 0.1)


@given(st.floats(0, 0.6), st.floats(0, 0.3), st.floats(0.5, 0.95), st.floats(0, 0.05))
@settings(max_examples=40)
def test_a_farther_target_is_never_forecast_to_be_cheaper(error, worse, target, higher):
    near = learnt().predict(task(error, target)).epochs.value
    assert learnt().predict(task(error + worse, target + higher)).epochs.value >= near - 1e-9


def test_how_far_a_target_is():
    found = values(task(0.3, 0.8))
    assert found["knn_gap"] == pytest.approx(0.1)
    assert found["target_accuracy"] == 0.8
    assert "knn_gap" not in values(Known({"knn_error": 0.3}, target="recovery:0.9"))


def test_what_no_task_of_the_ledger_had_is_named_and_widens_the_interval():
    inside = learnt().predict(task(0.3))
    assert inside.outside == ()
    large = learnt().predict(task(0.3, n_parameters=1e7))
    assert large.outside[0].startswith("n_parameters is 10,000,000, and 100,000 in the ledger")
    assert large.epochs.value == inside.epochs.value  # it only tells how far the case is
    assert large.epochs.interval[1] > 2 * inside.epochs.interval[1]
    assert large.growth == pytest.approx(1 + np.log(100))
    # the same gap at another target
    other = learnt().predict(task(0.2, 0.85))
    assert other.outside == (
        "target_accuracy is 0.85, and 0.75 in the ledger: 1 spreads beyond",
        *other.outside[1:],
    )
    assert other.epochs.value == pytest.approx(inside.epochs.value)
    unknown = learnt().predict(Known({"knn_error": 0.3}, "full", "accuracy:0.75"))
    assert "classes is not known; 4 taken, the ledger's median" in unknown.notes
    with pytest.raises(UsageError, match="none of knn_gap is known"):
        learnt().predict(Known({"leep": -1.0}, "full", "accuracy:0.75"))


def test_a_ledger_of_too_few_tasks_is_refused_with_what_it_has():
    words = "has 0 runs of 0 models on new tasks.*32 runs are no new tasks.*runs of 3 models"
    with pytest.raises(UsageError, match=words):
        make_task_forecaster(Ledger(tuple(SHIFTS)))
    with pytest.raises(UsageError, match="has 20 runs of 2 models on new tasks"):
        make_task_forecaster(Ledger(tuple(make_tasks("ab"))))


def test_the_packages_own_ledger_of_tasks_forecasts_other_models():
    ledger = read_ledger([DEFAULT_TASK_LEDGER])
    assert not ledger.skipped
    assert all(is_new_task(x.predictors) for x in ledger.done)
    assert len(ledger.done) == len(ledger.entries) == 66
    assert DEFAULT_TASK_LEDGER.stat().st_size < 500_000
    found = evaluate_task_forecasts(ledger)
    assert found.error < 0.75 * found.naive_error
    assert found.coverage.share > 0.85


def test_sources_are_read_and_learnt_once_and_named(tmp_path, monkeypatch):
    from resque import forecast_sources
    from resque.forecast_runs import TASKS as KIND
    from resque.ledger import write_ledger

    file = tmp_path / "ledger.jsonl"
    write_ledger(TASKS, file)
    fits = []
    real = forecast_sources.make_task_forecaster
    monkeypatch.setattr(
        forecast_sources, "make_task_forecaster", lambda x: fits.append(1) or real(x)
    )
    sources = Sources((str(tmp_path),))
    assert sources.forecaster(KIND) is sources.forecaster(KIND)
    assert len(fits) == 1
    assert sources.names(KIND) == (str(tmp_path),)
    assert Sources().names(KIND) == ("the package's own of new tasks, 66 runs",)
    write_ledger(SHIFTS, file)
    with pytest.raises(UsageError, match="give more ledgers, or none for the package's own"):
        Sources((str(tmp_path),)).forecaster(KIND)
