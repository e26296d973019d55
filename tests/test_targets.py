"""When a run stops and where it met its target: the official rules, and the line between."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resque.errors import UsageError
from resque.targets import Patience, best, crossing, parse_patience, stopping_rule

GOLD = Path(os.environ.get("RESQUE_DATA", "nowhere")) / "gold" / "stopping_rule.json"
FLAGS = {"PASS.txt": "target", "PASS_1.txt": "patience_1", "PASS_2.txt": "patience_2", None: None}


def stop(accuracies, target, patience):
    """Feed growing histories; return the epochs run and the rule that ended them."""
    history = []
    for epoch, accuracy in enumerate(accuracies, start=1):
        history.append((epoch, accuracy))
        if rule := stopping_rule(history, target, patience):
            return epoch, rule
    return len(history), None


@pytest.mark.parametrize(
    ("accuracies", "first", "second", "expected"),
    [
        ([0.3, 0.8, 0.93], (0.01, 4), (0.02, 9), (3, "target")),
        ([0.9], (0, 0), (0, 0), (1, "target")),  # just met
        ([0.4, 0.887, 0.87, 0.8, 0.7, 0.6], (0.02, 2), (0.05, 6), (4, "patience_1")),
        ([0.86] * 9, (0.01, 2), (0.05, 4), (5, "patience_2")),  # too far for the first
        ([0.5] * 6, (0.01, 2), (0.05, 4), (6, None)),  # too far for both
        ([0.5, 0.6, 0.892, 0.895], (0.01, 0), (0.05, 9), (3, "patience_1")),  # no wait
        ([0.89, 0.4, 0.4, 0.4, 0.95], (0.02, 3), (0.05, 9), (4, "patience_1")),
        ([0.89, 0.4, 0.4, 0.4, 0.95], (0.02, 4), (0.05, 9), (5, "target")),  # the target is first
        ([0.88] * 4, (0.05, 2), (0.03, 2), (3, "patience_1")),  # both: the first
        ([0.85, 0.88, 0.88, 0.88], (0.03, 2), (0.5, 9), (4, "patience_1")),  # ties: the earliest
        ([0.88, 0.87, 0.881, 0.87, 0.87], (0.03, 2), (0.5, 9), (5, "patience_1")),  # a new best
    ],
)
def test_the_rules_stop_where_the_official_ones_do(accuracies, first, second, expected):
    assert stop(accuracies, 0.9, [Patience(*first), Patience(*second)]) == expected


@pytest.mark.skipif(not GOLD.is_file(), reason="the official numbers are not here")
@pytest.mark.slow
@pytest.mark.parametrize("case", json.loads(GOLD.read_text()) if GOLD.is_file() else [])
def test_official_stops(case):
    rules = [Patience(case[key]["acc_diff"], case[key]["epochs"]) for key in ("cutoff1", "cutoff2")]
    epochs, rule = stop(case["test_acc"], case["target"], rules)
    assert (epochs, rule) == (case["ref_epochs"], FLAGS[case["ref_flag_file"]])
    run = list(enumerate(case["test_acc"][:epochs], start=1))
    assert best(run) == (case["ref_peak_epoch"], case["ref_peak"])


def test_without_a_target_or_patience_nothing_else_ends_a_run():
    assert stop([0.1, 1.0], None, [Patience(1, 0)]) == (2, None)
    assert stop([0.899] * 50, 0.9, []) == (50, None)


def test_patience_counts_epochs_and_not_evaluations():
    rule = [Patience(0.1, 0.5)]
    assert stopping_rule([(0.0, 0.85), (0.25, 0.8)], 0.9, rule) is None
    assert stopping_rule([(0.0, 0.85), (0.25, 0.8), (0.5, 0.8)], 0.9, rule) == "patience_1"


accuracies = st.floats(0, 1)


@given(st.lists(accuracies, min_size=1), accuracies)
def test_best_is_the_first_of_the_highest(values, target):
    history = list(enumerate(values))
    epoch, accuracy = best(history)
    assert accuracy == max(values)
    assert epoch == values.index(accuracy)
    assert (stopping_rule(history, target) == "target") == (values[-1] >= target)


@st.composite
def rises(draw):
    """Two evaluations between which the accuracy rises from under a target to it or past it."""
    low, target, high = sorted(draw(st.tuples(accuracies, accuracies, accuracies)))
    start, length = draw(st.floats(0, 100)), draw(st.floats(0.01, 100))
    return (start, low), (start + length, high), target


@given(rises().filter(lambda rise: rise[0][1] < rise[2]))
def test_a_crossing_lies_between_its_ends(rise):
    (start, low), (stop_, high), _ = rise
    assert start <= crossing(*rise) <= stop_ * (1 + 1e-12)
    assert crossing((start, low), (stop_, high), low) == start
    assert crossing((start, low), (stop_, high), high) == pytest.approx(stop_, rel=1e-12)


@given(st.floats(0, 1), st.floats(0, 100), st.floats(0.01, 100), st.floats(-3, 3))
def test_a_crossing_is_linear(share, start, length, shift):
    before, after = (start, 0.2), (start + length, 0.8)
    target = 0.2 + share * 0.6
    at = crossing(before, after, target)
    assert at == pytest.approx(start + share * length, rel=1e-9)
    moved = crossing((start + shift, 0.2), (start + length + shift, 0.8), target)
    assert moved - shift == pytest.approx(at, abs=1e-9)
    assert crossing((0, 0.2), (7 * length, 0.8), target) == pytest.approx(
        7 * crossing((0, 0.2), (length, 0.8), target), rel=1e-9
    )


@given(st.floats(0, 1).map(lambda x: round(x, 4)), st.floats(0, 1000).map(lambda x: round(x, 1)))
def test_patience_reads_what_it_writes(difference, epochs):
    patience = Patience(difference, epochs)
    assert parse_patience(str(patience)) == patience


@pytest.mark.parametrize("text", ["", "0.02", ":", "0.02:", ":3", "a:b", "0.02:3:4", "0,02:3"])
def test_what_is_no_patience_is_told_the_form(text):
    with pytest.raises(UsageError, match=r"DIFFERENCE:EPOCHS, as in 0\.02:3"):
        parse_patience(text)


@pytest.mark.parametrize("text", ["-0.1:3", "1.1:3", "nan:3", "0.1:-1", "0.1:inf", "0.1:nan"])
def test_patience_out_of_range_is_named(text):
    with pytest.raises(UsageError, match=f"patience {text} is out of range"):
        parse_patience(text)
