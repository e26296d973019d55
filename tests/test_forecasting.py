"""`forecast` on a real model, with a ledger of a known law, by function and by command."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import datasets
import pytest

from ledgers import make_entries
from resque import cli, forecast
from resque.forecast_sources import Sources
from resque.forecasting import NOTHING, Rates
from resque.ledger import append_entry, read_ledger


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    file = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    for entry in make_entries(seeds=2):
        for strategy in ("full", "head"):
            cell = replace(entry.cell, strategy=strategy)
            append_entry(replace(entry, cell=cell, key=cell.key), file)
    return str(file)


OPTIONS = {"device": "cpu", "batch_size": 32}


def test_harder_shifts_cost_more_and_doing_nothing_is_free(digits, ledger):
    model, data = digits
    answer = forecast(
        model, f"{data}#train[:200]", corruptions=["gaussian:0.1", "gaussian:0.4"],
        target="recovery:0.95", ledgers=[ledger], rates=Rates(0.02, 20.0), grid_intensity=100.0,
        price_per_hour=3.6, **OPTIONS,
    )  # fmt: skip
    nothing, retrained = ([x for x in answer.candidates if (x.strategy == NOTHING) == kind]
                          for kind in (True, False))  # fmt: skip
    assert answer.candidates[: len(nothing)] == tuple(nothing)
    assert {x.reached_probability for x in nothing} == {0.0, 1.0}
    weak, strong = (x.forecast for x in retrained)
    assert "0.1" in retrained[0].shifted
    assert weak.epochs.value < strong.epochs.value
    low, high = strong.epochs.interval
    assert 0 <= low <= strong.epochs.value <= high
    steps = strong.epochs.value * strong.steps_per_epoch
    assert strong.steps_per_epoch == 200 // 32
    assert strong.seconds.value == pytest.approx(0.02 * steps)
    assert strong.energy_kwh.value == pytest.approx(0.02 * steps * 20 / 3.6e6)
    assert strong.co2eq_kg.value == pytest.approx(strong.energy_kwh.value * 0.1)
    assert strong.price.value == pytest.approx(strong.seconds.value * 3.6 / 3600)


@pytest.mark.parametrize(
    ("split", "accumulation", "steps"),
    [
        ("", 1, 898 // 31),  # the training split; the test split has 899 rows
        ("#test[:200]", 1, 160 // 31),  # a fifth is kept apart for evaluation
        ("#train[:200]", 2, 200 // 62),
    ],
)
def test_given_rates_are_of_the_rows_trained_on(digits, ledger, split, accumulation, steps):
    model, data = digits
    answer = forecast(
        model, f"{data}{split}", corruptions="gaussian:0.4", ledgers=[ledger], max_samples=50,
        rates=Rates(0.02, 20.0), device="cpu", batch_size=31, gradient_accumulation=accumulation,
    )  # fmt: skip
    found = next(x.forecast for x in answer.candidates if x.forecast)
    assert found.steps_per_epoch == steps


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batchsize": 64}, "unknown option 'batchsize'; near it: batch_size"),
        ({"batch_size": 0}, "expected at least 1"),
        ({"strategy": "head"}, "unknown option 'strategy'; take strategies"),
        ({"ledgers": "none/of/mine"}, "ledger none/of/mine: No such file"),
    ],
)
def test_wrong_options_are_told_where_rates_are_given(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        forecast("m", "d", corruptions="gaussian:0.4", rates=Rates(0.02, 20.0), **options)


def test_a_batch_size_that_is_not_known_needs_the_probe(digits, ledger):
    model, data = digits
    with pytest.raises(ValueError, match="a probe finds the batch size; give a number"):
        forecast(
            model, f"{data}#train[:60]", corruptions="gaussian:0.4", ledgers=ledger,
            rates=Rates(0.02, 20.0), device="cpu", batch_size="auto",
        )  # fmt: skip


def test_sources_keep_what_was_learnt_for_the_next_call(digits, ledger, monkeypatch):
    model, data = digits
    given = (model, f"{data}#train[:100]")
    more = {"corruptions": ["gaussian:0.4"], "rates": Rates(0.02, 20.0), **OPTIONS}
    sources = Sources((ledger,))
    first = forecast(*given, ledgers=sources, **more)
    monkeypatch.setattr("resque.forecast_sources.make_forecaster", None)  # none is made any more
    assert forecast(*given, ledgers=sources, **more).to_dict() == first.to_dict()


def test_data_without_labels_is_forecast_without_them(digits, ledger, tmp_path):
    model, data = digits
    rows = datasets.load_dataset(data, split="test[:120]").select_columns(["image"])
    rows.to_parquet(tmp_path / "unlabelled.parquet")
    answer = forecast(
        model, f"{data}#train[:200]", str(tmp_path / "unlabelled.parquet"), ledgers=[ledger],
        rates=Rates(0.02, 20.0), grid_intensity=100.0, **OPTIONS,
    )  # fmt: skip
    (nothing, retrained) = answer.candidates
    assert nothing.accuracy is None
    assert nothing.reached_probability is None
    assert retrained.forecast.labels is False


def test_a_new_task_is_forecast_from_new_tasks(digits, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("resque"), "propagate", True)
    model, data = digits
    rows = datasets.load_dataset(data, split="test[:200]").select_columns(["image", "odd"])
    classes = datasets.ClassLabel(names=["even", "uneven"])
    rows.cast_column("odd", classes).to_parquet(tmp_path / "task.parquet")
    answer = forecast(
        model, f"{data}#train[:200]", str(tmp_path / "task.parquet"), target="accuracy:0.8",
        rates=Rates(0.02, 20.0), grid_intensity=100.0, label_column="odd",
        strategies=["head", "full"], **OPTIONS,
    )  # fmt: skip
    assert [x.strategy for x in answer.candidates] == [NOTHING, "full"]
    assert "strategy head: no run of the ledger of new tasks has it" in caplog.text
    found = answer.to_dict()
    assert found["kind"] == "new tasks"
    assert found["ledgers"] == ["the package's own of new tasks, 66 runs"]
    assert "66 runs of 3 models on new tasks" in found["sentence"]


def test_a_probe_gives_the_rates(digits, ledger):
    model, data = digits
    answer = forecast(
        model, f"{data}#train[:200]", corruptions="gaussian:0.4", strategies=["head", "full"],
        ledgers=[ledger], grid_intensity=100.0, **OPTIONS,
    )  # fmt: skip
    assert "a probe of" in answer.rates
    assert {x.strategy for x in answer.candidates} == {NOTHING, "head", "full"}
    assert all(x.forecast.seconds.value > 0 for x in answer.candidates if x.forecast)
    with pytest.raises(ValueError, match="no run of the ledger has the strategy 'lora'"):
        forecast(model, f"{data}#train[:200]", corruptions="gaussian:0.4", strategies="lora",
                 ledgers=[ledger], rates=Rates(1, 1), **OPTIONS)  # fmt: skip


def test_the_command_leaves_the_contracts_keys(digits, ledger, tmp_path, capsys):
    model, data = digits
    command = ["forecast", "--ledger", ledger, "--model", model, "--original",
               f"{data}#train[:200]", "--corruption", "gaussian:0.4", "--no-probe",
               "--seconds-per-step", "0.02", "--watts", "20", "--grid-intensity", "100",
               "--output-dir", str(tmp_path)]  # fmt: skip
    assert cli.run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "forecast.json").read_text()) == found
    for name in ("epochs", "energy_kwh", "co2eq_kg"):
        low, high = found[name]["interval"]
        assert 0 <= low <= found[name]["value"] <= high
    assert len(found["candidates"]) == 2
    assert cli.run(command) == 0
    out = capsys.readouterr().out
    assert "such forecasts held" in " ".join(out.split())
    assert NOTHING in out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--target-accuracy", "0.9", "--target-recovery", "0.9"], "not both"),
        (["--target-recovery", "0"], "target 'recovery:0' is not"),
        (["--watts", "3"], "go with --no-probe"),
        (["--no-probe"], "needs --seconds-per-step and --watts"),
        (["--no-probe", "--seconds-per-step", "1", "--watts", "-1"], "from 0 up"),
        (["--no-probe", "--seconds-per-step", "nan", "--watts", "3"], "from 0 up"),
    ],
)
def test_wrong_flags_say_what_to_do(flags, words, capsys):
    command = ["forecast", "--model", "m", "--original", "d", "--corruption", "gaussian:0.1"]
    assert cli.run([*command, *flags]) == 2
    assert words in capsys.readouterr().err


def test_the_packages_own_ledger_is_whole():
    from resque.forecast_sources import DEFAULT_LEDGER

    found = read_ledger([DEFAULT_LEDGER])
    assert not found.skipped
    assert len(found.done) == len(found.entries) >= 100
