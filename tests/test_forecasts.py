"""Forecasts from ledgers of known laws: coverage, error, what is outside, and what it costs."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledgers import FAMILIES, make_entries, make_entry
from resque.errors import UsageError
from resque.forecast_evaluation import evaluate_forecasts
from resque.forecast_runs import FEATURES, Known, make_table, values
from resque.forecasters import make_forecaster
from resque.forecasts import price_forecast
from resque.ledger import FAILED, Ledger
from resque.predictors import PREDICTORS
from resque.records import Measured, Probe

LAWS = {
    "power": lambda index: 20 * index**1.5,
    "exponential": lambda index: 0.1 * math.exp(10 * index),
    "threshold": lambda index: 5 / (1 + math.exp(-(index - 0.2) / 0.03)),
    "nothing at first": lambda index: max(12 * (index - 0.12), 0.0),
}


def simulate(rng, law="power", families=5, levels=4, seeds=2, spread=0.2, limit=10.0, name="f"):
    """Entries of families that differ by a factor in cost and in index, and their true epochs."""
    entries, epochs = [], []
    for family in range(families):
        factor, shift = np.exp(rng.normal(0, 1.5 * spread)), rng.normal(0, 0.2)
        for level in range(1, levels + 1):
            for seed in range(seeds):
                index = min(0.4 * level / levels * math.exp(rng.normal(shift, 0.1)), 0.9)
                cost = float(LAWS[law](index) * factor * np.exp(rng.normal(0, spread)))
                noise = rng.normal(0, 0.05)
                entry = make_entry(
                    f"{name}{family}", float(level), seed, index, cost, limit=limit, noise=noise
                )
                entries.append(entry)
                epochs.append(cost)
    return entries, np.array(epochs)


def known_of(entry, **changes):
    return Known(dict(entry.predictors) | changes, "full", "recovery:0.95", 20)


def at(index, **changes):
    """What is known of a shift of this index, every predictor as the ledgers' law has it."""
    entry = make_entry("new", None, 0, index, 1.0)
    return known_of(entry, **changes)


FEW = FAMILIES[:4]
LEDGERS = {limit: Ledger(tuple(make_entries(FEW, 4, 2, 0.2, limit))) for limit in (10.0, 4.0)}


@pytest.fixture
def ledger():
    return LEDGERS[10.0]


@functools.cache
def learnt(labels=True, limit=10.0):
    """A forecaster; none changes by forecasting."""
    return make_forecaster(LEDGERS[limit], labels=labels)


@pytest.fixture
def forecaster():
    return learnt()


def held(forecaster, entries, epochs, limit=np.inf):
    """Whether the epochs of entries of new families, seen up to a limit, lie in their intervals."""
    forecasts = [forecaster.predict(known_of(entry)) for entry in entries]
    lows, highs = np.array([forecast.epochs.interval for forecast in forecasts]).T
    return (lows <= epochs) & (np.minimum(epochs, limit) <= highs)


@pytest.mark.parametrize(("law", "limit"), [("power", 10.0), ("exponential", 4.0)])
def test_intervals_hold_on_families_that_the_ledger_has_not(law, limit):
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        entries, _ = simulate(rng, law, families=4, limit=limit)
        forecaster = make_forecaster(Ledger(tuple(entries)), labels=seed % 2 == 0)
        found.append(held(forecaster, *simulate(rng, law, families=5, seeds=1, name="new")))
    # The coverage of a ledger of four families has a deviation of 0.14 (measured on 60).
    assert 0.8 <= np.mean(found) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("families", "limit"), [(3, 10.0), (6, 10.0), (6, 4.0), (10, 4.0)])
def test_intervals_hold_under_every_law(law, families, limit):
    """Beyond the ledger's limit, an interval holds where it reaches beyond it too."""
    found = []
    for seed in range(24):
        rng = np.random.default_rng([seed, families])
        entries, _ = simulate(rng, law, families, levels=5, limit=limit)
        forecaster = make_forecaster(Ledger(tuple(entries)), labels=seed % 2 == 0)
        others, epochs = simulate(rng, law, families=8, seeds=1, name="new")
        found.append(held(forecaster, others, epochs, limit))
    assert 0.83 <= np.mean(found) <= 0.98


def test_forecasts_err_by_less_than_half_of_what_the_naive_one_does(ledger):
    evaluation = evaluate_forecasts(ledger)
    for checked in (evaluation.labelled, evaluation.unlabelled):
        assert checked.runs == 32
        assert checked.error < 0.5 * checked.naive_error
        assert 0.8 <= checked.coverage.share <= 1
        assert sum(family.runs for family in checked.families) == 32
        assert sum(family.coverage.held for family in checked.families) == checked.coverage.held
    assert evaluation.labelled.features == ("resque_dist", "resque_scatter", "accuracy_gap")
    json.dumps(evaluation.to_dict(), allow_nan=False)


def test_the_naive_forecast_is_the_median_of_the_other_families():
    entries = LEDGERS[4.0].entries
    checked = evaluate_forecasts(LEDGERS[4.0]).labelled
    for family in checked.families:
        spent = [min(e.record.epochs_to_target or 4.0, 4.0) for e in entries]
        here = [e.cell.family == family.family for e in entries]
        others = np.median([x for x, own in zip(spent, here, strict=True) if not own])
        reached = [
            x
            for x, own, e in zip(spent, here, entries, strict=True)
            if own and e.record.epochs_to_target is not None
        ]
        # the median is taken of log(epochs + offset): of two middle ones, another mean
        expected = np.median(np.abs(np.array(reached) - others))
        assert family.naive_error == pytest.approx(expected, abs=0.05)


def test_a_ledger_without_unlabelled_predictors_is_evaluated_with_labels_alone(ledger):
    kept = ("resque_dist", "resque_scatter")
    entries = tuple(
        replace(e, predictors={k: e.predictors[k] for k in kept}) for e in ledger.entries
    )
    evaluation = evaluate_forecasts(Ledger(entries))
    assert evaluation.unlabelled is None
    assert evaluation.labelled.features == kept
    assert "without labels: fewer than half" in evaluation.notes[0]
    with pytest.raises(UsageError, match="A forecast needs at least 20 runs"):
        evaluate_forecasts(Ledger(entries[:10]))


@given(st.floats(0.0, 0.9), st.floats(0.0, 0.5), st.booleans())
@settings(max_examples=60)
def test_a_greater_index_is_never_forecast_to_be_cheaper(index, step, labels):
    forecaster = learnt(labels, 4.0)
    low, high = (forecaster.predict(at(x)).epochs.value for x in (index, index + step))
    assert high >= low - 1e-9


@given(st.floats(0.0, 0.9), st.sampled_from([True, False]))
@settings(max_examples=30)
def test_intervals_are_ordered_and_never_below_nothing(index, labels):
    found = learnt(labels, 4.0).predict(at(index))
    low, high = found.epochs.interval
    assert 0 <= low <= found.epochs.value <= high
    assert found.steps.interval == (20 * low, 20 * high)
    assert 0 < found.reached_probability < 1


def test_runs_without_their_target_raise_forecasts():
    rng = np.random.default_rng(3)
    entries, _ = simulate(rng, limit=3.0)
    as_if_reached = [
        replace(e, record=replace(e.record, reached=True, epochs_to_target=3.0))
        if e.record.reached is False
        else e
        for e in entries
    ]
    found = [
        make_forecaster(Ledger(tuple(x)), labels=True).predict(at(0.4))
        for x in (entries, as_if_reached)
    ]
    assert found[0].epochs.value > 1.2 * found[1].epochs.value
    assert found[0].epochs.value > 3.0
    assert found[0].reached_probability < found[1].reached_probability


def test_the_probability_of_the_target_is_the_share_that_reach_it():
    found, reached = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        entries, _ = simulate(rng, families=4, limit=4.0)
        forecaster = make_forecaster(Ledger(tuple(entries)), labels=True)
        others, epochs = simulate(rng, families=8, seeds=1, name="new")
        found += [forecaster.predict(known_of(entry)).reached_probability for entry in others]
        reached += (epochs <= 4.0).tolist()
    share = np.mean(reached)
    assert 0.6 < share < 0.9
    assert np.mean(found) == pytest.approx(share, abs=0.1)
    brier = np.mean((np.array(found) - reached) ** 2)
    assert brier < 0.75 * share * (1 - share)
    longer = forecaster.predict(at(0.35), limit=8.0)
    assert longer.reached_probability > forecaster.predict(at(0.35)).reached_probability


def test_runs_whose_target_was_met_before_training_count_as_nothing():
    rng = np.random.default_rng(0)
    entries, epochs = simulate(rng, "nothing at first")
    assert 0.1 < (epochs == 0).mean() < 0.6
    found = make_forecaster(Ledger(tuple(entries)), labels=True).predict(at(0.05))
    assert found.epochs.interval[0] == 0
    assert found.epochs.value < 0.2


def test_what_is_outside_of_the_ledger_is_named_and_widens_the_interval(forecaster):
    inside, little, far = (forecaster.predict(at(x)) for x in (0.3, 0.6, 0.9))
    assert inside.outside == ()
    assert inside.growth == 1
    assert [text.split(" is ")[0] for text in little.outside][:1] == ["resque_dist"]
    assert "resque_dist is 0.6, and 0.0" in little.outside[0]
    assert 1 < little.growth < far.growth

    def ratio(found):
        return (found.epochs.interval[1] + 0.25) / (found.epochs.value + 0.25)

    assert ratio(inside) < ratio(little) < ratio(far)
    sizes = forecaster.predict(at(0.3, n_train=6400.0))
    assert sizes.outside[0].startswith("n_train is 6,400, and 320 in the ledger")
    assert sizes.epochs.value == inside.epochs.value  # one size in the ledger: nothing to learn
    assert sizes.growth == pytest.approx(1 + math.log(20))
    assert math.isfinite(forecaster.predict(at(0.3, n_train=1e300)).epochs.interval[1])


def test_a_limit_that_no_run_had_is_named(forecaster):
    found = forecaster.predict(at(0.1), limit=50)
    assert found.outside == ("up to 50 epochs, and no run of the ledger could take more than 10",)
    with pytest.raises(UsageError, match="limit is 0; expected epochs above 0"):
        forecaster.predict(at(0.1), limit=0)


def test_sizes_of_data_may_decide_epochs():
    """Where steps to the target do not depend on the data's size, epochs fall with it."""
    entries = []
    for i, entry in enumerate(make_entries(FEW, levels=4, seeds=3, limit=1e9)):
        rows = (160, 640, 2560)[i % 3]
        epochs = entry.record.epochs_to_target * 320 / rows
        record = replace(entry.record, epochs_to_target=epochs, epochs_limit=1e9)
        predictors = dict(entry.predictors) | {"n_train": float(rows)}
        entries.append(replace(entry, record=record, predictors=predictors))
    checked = evaluate_forecasts(Ledger(tuple(entries))).labelled
    assert checked.error < 0.4 * checked.naive_error
    forecaster = make_forecaster(Ledger(tuple(entries)), labels=True)
    small, large = (forecaster.predict(at(0.3, n_train=n)).epochs.value for n in (160, 2560))
    assert small > 6 * large  # 16 times by the law, which is of log(epochs + offset) here


def test_strategies_have_costs_of_their_own():
    entries = list(make_entries(FEW, levels=4, seeds=1))
    for entry in make_entries(FEW, levels=4, seeds=1, seed=1):
        epochs = 3 * entry.record.epochs_to_target
        record = replace(entry.record, epochs_to_target=epochs, epochs_limit=40.0)
        cell = replace(entry.cell, strategy="head")
        entries.append(replace(entry, cell=cell, key=cell.key, record=record))
    forecaster = make_forecaster(Ledger(tuple(entries)), labels=True)
    full, head = (forecaster.predict(replace(at(0.3), strategy=x)) for x in ("full", "head"))
    assert head.epochs.value == pytest.approx(3 * full.epochs.value, rel=0.3)
    with pytest.raises(UsageError, match="strategy 'lora'; it has full, head"):
        forecaster.predict(replace(at(0.3), strategy="lora"))


def test_unlabelled_forecasts_need_no_labels(ledger):
    known = at(0.3)
    needing = {name for name, kind in PREDICTORS.items() if kind.needs_labels}
    blind = {k: v for k, v in known.predictors.items() if k not in needing | {"accuracy"}}
    assert set(FEATURES[False]) <= values(replace(known, predictors=blind)).keys()
    found = learnt(labels=False).predict(replace(known, predictors=blind))
    assert found.labels is False
    assert found.epochs == learnt(labels=False).predict(known).epochs
    with pytest.raises(UsageError, match="labels=False needs no labels"):
        learnt().predict(replace(known, predictors=blind))


def test_what_a_query_lacks_is_done_without_and_said(forecaster):
    known = at(0.3)
    fewer = {k: v for k, v in known.predictors.items() if k not in ("resque_scatter", "n_train")}
    found = forecaster.predict(replace(known, predictors=fewer, target=None))
    assert found.notes == (
        "target recovery:0.95, that of most runs of the ledger",
        "n_train is not known; 320 taken, the ledger's median",
        "classes is not known; 7 taken, the ledger's median",
        "without resque_scatter, not known",
    )
    assert "isotonic in resque_scatter" not in found.candidates
    assert found.epochs.value == pytest.approx(forecaster.predict(known).epochs.value, rel=0.3)


def test_what_is_derived_from_a_target():
    given = {"accuracy": 0.6, "original_accuracy": 0.8, "n_train": 100.0, "mmd": math.nan}
    found = values(Known(given, target="recovery:0.9"))
    assert found == {
        "n_train": pytest.approx(math.log(100)), "recovery": 0.9,
        "accuracy_gap": pytest.approx(0.12),
    }  # fmt: skip
    found = values(Known(given | {"leep": -2.0}, target="accuracy:0.6"))
    assert found["recovery"] == pytest.approx(0.75)
    assert found["accuracy_gap"] == pytest.approx(0)
    assert found["leep"] == 2.0  # a greater LEEP means a cheaper retraining
    blind = {"doc_drop": 0.1, "original_accuracy": 0.8}
    found = values(Known(blind, target="recovery:0.9"))
    assert found["accuracy_gap_estimated"] == pytest.approx(0.72 - 0.7)
    assert "accuracy_gap_estimated" not in values(Known({"doc_drop": 0.1}, target="accuracy:0.6"))
    assert "accuracy_gap" not in values(Known({"accuracy": 0.6}, target="recovery:0.9"))
    for text in ("0.9", "accuracy:", "accuracy:90", "recovery:nan", "loss:0.5"):
        with pytest.raises(UsageError, match="accuracy:A or recovery:R"):
            values(Known(given, target=text))


def test_equal_ledgers_give_equal_forecasts(ledger, forecaster):
    again = make_forecaster(ledger, labels=True).predict(at(0.3))
    first = forecaster.predict(at(0.3))
    assert again == first
    assert (again.draws == first.draws).all()


def probe(seconds, energy, half=0.0, blocks=8):
    def measured(x):
        return Measured(x, (x * (1 - half), x * (1 + half)))

    return Probe(5, 40, blocks, measured(seconds), measured(energy))


def test_a_price_is_epochs_times_rates(forecaster):
    epochs = forecaster.predict(at(0.3))
    found = price_forecast(epochs, probe(0.5, 1e-5), grid_intensity=400, price_per_hour=1.8)
    for cost, rate in (
        (found.seconds, 20 * 0.5),
        (found.energy_kwh, 20 * 1e-5),
        (found.co2eq_kg, 20 * 1e-5 * 0.4),
        (found.price, 20 * 0.5 * 1.8 / 3600),
    ):
        assert cost.value == pytest.approx(rate * epochs.epochs.value)
        assert cost.interval == pytest.approx([rate * x for x in epochs.epochs.interval])
    assert found.epochs == epochs.epochs
    assert price_forecast(epochs, probe(1, 1), grid_intensity=0).price is None


def test_uncertain_rates_widen_the_interval_by_their_distribution(forecaster):
    from scipy.stats import t

    epochs = replace(forecaster.predict(at(0.3)), draws=np.full(40_000, 2.0))
    found = price_forecast(epochs, probe(0.5, 1e-5, 0.2, blocks=5), grid_intensity=400)
    half = 0.2 * t.ppf(0.95, 4) / t.ppf(0.975, 4)  # 90 % of what 95 % of the rate's interval is
    expected = [2.0 * 20 * 0.5 * (1 + sign * half) for sign in (-1, 1)]
    assert found.seconds.interval == pytest.approx(expected, rel=0.01)
    wild = price_forecast(epochs, probe(0.5, 1e-5, 5.0), grid_intensity=400)
    assert wild.energy_kwh.interval[0] == 0


def test_a_price_needs_steps_and_rates_that_make_sense(forecaster):
    epochs = forecaster.predict(replace(at(0.3), steps_per_epoch=None))
    assert epochs.steps is None
    with pytest.raises(UsageError, match="steps of an epoch are not known"):
        price_forecast(epochs, probe(1, 1), grid_intensity=400)
    with pytest.raises(UsageError, match="grid_intensity is -1; expected a number from 0 up"):
        price_forecast(forecaster.predict(at(0.3)), probe(1, 1), grid_intensity=-1)


def test_a_forecast_is_plain_json_and_a_sentence(forecaster):
    found = price_forecast(
        forecaster.predict(at(0.3)), probe(0.5, 1e-5), grid_intensity=400, price_per_hour=1.0
    )
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for name in ("epochs", "steps", "energy_kwh", "co2eq_kg", "seconds", "price"):
        assert set(document[name]) == {"value", "interval"}
        assert len(document[name]["interval"]) == 2
    assert document["method"] == found.method
    assert (document["runs"], document["families"], document["labels"]) == (32, 4, True)
    assert document["coverage"]["share"] == found.coverage.share
    assert "draws" not in document
    counts = found.coverage
    low, high = (f"{x:.2g}" for x in found.epochs.interval)
    assert found.sentence().startswith(f"about {found.epochs.value:.2g} epochs ({low} to {high}), ")
    assert found.sentence().endswith(
        f"; from 32 runs of 4 families; {counts.held} of {counts.held + counts.missed} such "
        "forecasts held"
    )


def test_the_coverage_is_that_of_forecasts_without_the_family(ledger, forecaster):
    unseen, runs = forecaster.unseen, forecaster.table.runs
    inside = np.abs(runs.cost - unseen.predicted) <= unseen.width
    assert forecaster.predict(at(0.3)).coverage.held == inside.sum()
    assert evaluate_forecasts(ledger).labelled.coverage.held == inside.sum()


def test_runs_without_their_target_are_undecided_or_missed():
    found = learnt(limit=4.0).predict(at(0.3)).coverage
    bounds = sum(entry.record.reached is False for entry in LEDGERS[4.0].entries)
    assert 0 < found.undecided <= bounds
    assert found.held + found.missed + found.undecided == len(LEDGERS[4.0].entries)


@pytest.mark.parametrize("families", [("a",), ("a", "b")])
def test_too_few_families_are_refused(families):
    entries = make_entries(families, seeds=6)
    with pytest.raises(UsageError, match=f"of {len(families)} families.*20 runs of 3 families"):
        make_forecaster(Ledger(tuple(entries)), labels=True)


def test_too_few_runs_are_refused_with_what_the_others_are(ledger):
    failed = replace(ledger.entries[0], key="x", status=FAILED, record=None, error="no")
    record = replace(ledger.entries[1].record, target=None)
    aimless = replace(ledger.entries[1], key="y", record=record)
    entries = (*ledger.entries[::4], failed, aimless)
    with pytest.raises(UsageError, match="has 8 runs of 4 families") as caught:
        make_forecaster(Ledger(entries), labels=True)
    assert "(1 cells failed; 1 runs have no target or no evaluation)" in str(caught.value)


def test_numbers_that_cannot_be_spoil_nothing(ledger):
    odd = []
    for i, (where, change) in enumerate([
        ("record", {"epochs_to_target": -5.0}),
        ("record", {"epochs_to_target": math.inf}),
        ("record", {"epochs_limit": math.inf}),
        ("training", {"steps_per_epoch": 0}),
        ("training", {"eval_every": -5}),
        ("cell", {"target": "accuracy:80"}),
    ]):  # fmt: skip
        entry = make_entry("odd", 1.0, i, 0.2, 1.0)
        record, cell = entry.record, entry.cell
        if where == "training":
            record = replace(record, training=replace(record.training, **change))
        elif where == "record":
            record = replace(record, **change)
        else:
            cell = replace(cell, **change)
        odd.append(replace(entry, record=record, cell=cell, key=f"{i:020x}"))
    table = make_table(Ledger((*ledger.entries, *odd)), FEATURES[True])
    assert table.notes == ("6 runs have numbers that cannot be",)
    plain = make_table(ledger, FEATURES[True])
    assert np.array_equal(table.runs.cost, plain.runs.cost)
    assert (table.families, table.limit, table.offset) == (
        plain.families, plain.limit, plain.offset,
    )  # fmt: skip


def test_runs_that_tell_nothing_are_refused(ledger):
    out_of_reach = Ledger(tuple(make_entries(FEW, levels=4, seeds=2, limit=0.1)))
    with pytest.raises(UsageError, match="of which 0 reached their target"):
        make_forecaster(out_of_reach, labels=True)
    same = [replace(e, predictors=ledger.entries[0].predictors) for e in ledger.entries]
    with pytest.raises(UsageError, match="have the same resque_dist, resque_scatter, accuracy_gap"):
        make_forecaster(Ledger(tuple(same)), labels=True)
    record = ledger.entries[0].record
    same = [replace(e, record=record) for e in ledger.entries]
    with pytest.raises(UsageError, match=r"took [0-9.]+ epochs.*nothing to learn"):
        make_forecaster(Ledger(tuple(same)), labels=True)
    with pytest.raises(UsageError, match=r"level is 0\.99; expected a number from 0\.5 to 0\.95"):
        make_forecaster(ledger, labels=True, level=0.99)


def test_rare_features_are_not_used_and_runs_without_a_used_one_left_out(ledger):
    entries = [
        replace(e, predictors={k: v for k, v in e.predictors.items() if k != "resque_scatter"})
        if i % 4
        else replace(e, predictors=dict(e.predictors) | {"resque_scatter": 0.1 * (i % 3)})
        for i, e in enumerate(ledger.entries)
    ]
    entries[3] = replace(entries[3], predictors={"n_train": 320.0})
    table = make_table(Ledger(tuple(entries)), FEATURES[True])
    assert table.features == ("resque_dist", "accuracy_gap")
    assert table.notes == ("1 runs lack one of resque_dist, accuracy_gap",)
    assert len(table.runs.cost) == 31


def test_the_level_moves_the_interval(ledger, forecaster):
    narrow = make_forecaster(ledger, labels=True, level=0.6).predict(at(0.3))
    wide = forecaster.predict(at(0.3))
    assert wide.epochs.interval[0] < narrow.epochs.interval[0] <= narrow.epochs.value
    assert wide.epochs.interval[1] > narrow.epochs.interval[1] >= narrow.epochs.value
    assert narrow.epochs.value == wide.epochs.value
    assert narrow.coverage.held < wide.coverage.held
