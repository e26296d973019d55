"""`resque retrain --ledger`: a run of one's own becomes a line that forecasts learn from."""

from __future__ import annotations

import json

from resque import cli
from resque.ledger import read_ledger


def retrain(digits, out, *more):
    model, data = digits
    return cli.run(
        ["retrain", "--model", model, "--dataset", data, "--output-dir", str(out), *more,
         "--device", "cpu", "--epochs", "0.3", "--eval-every", "4", "--json"]
    )  # fmt: skip


def test_a_run_is_added_with_what_could_be_known_before_it(digits, tmp_path, capsys):
    ledger = tmp_path / "mine" / "ledger.jsonl"
    for seed in ("1", "2"):
        more = ("--corruption", "gaussian:0.3", "--target-recovery", "0.9", "--seed", seed)
        place = ledger if seed == "1" else ledger.parent
        assert retrain(digits, tmp_path / seed, *more, "--ledger", str(place)) == 0
        record = json.loads(capsys.readouterr().out)
    first, second = read_ledger([ledger]).entries
    assert first.key == first.cell.key != second.key
    assert second.record.to_dict() == record
    assert (second.cell.family, second.cell.level, second.cell.seed) == ("gaussian", 0.3, 2)
    assert second.cell.target == "recovery:0.9"
    assert second.cell.options == {"epochs": 0.3, "eval_every": 4}
    assert second.cell.original == second.cell.dataset == f"{digits[1]}#train"
    assert 0 < second.predictors["resque_dist"] < 1
    assert second.predictors["n_train"] == record["data"]["rows"]


def test_a_run_from_which_nothing_can_be_learnt_is_refused_before_it_begins(
    digits, tmp_path, capsys
):
    ledger = ("--ledger", str(tmp_path / "ledger.jsonl"))
    for more, words in (
        (("--corruption", "gaussian:0.3"), "--ledger needs a run that trains to a target"),
        (("--target-accuracy", "0.9"), "give --original"),
    ):
        assert retrain(digits, tmp_path / "out", *more, *ledger) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
