"""The record of a real Trainer run, by one line."""

from __future__ import annotations

import json
import logging
from importlib import resources

import datasets
import jsonschema
import numpy as np
import pytest
import torch
import transformers
import yaml

from hub_server import inside, serve
from resque import CostCallback, read_records
from resque.card import facts_on, split_card
from resque.trainer_card import tell_on_card
from test_records import make as make_record


@pytest.fixture
def make_trainer(digits, tmp_path):
    def make(callback, **options):
        model, data = digits
        torch.manual_seed(0)
        module = transformers.AutoModelForImageClassification.from_pretrained(model)
        processor = transformers.AutoImageProcessor.from_pretrained(model)
        rows = datasets.load_dataset(data)

        def collate(batch):
            images = [row["image"].convert("RGB") for row in batch]
            labels = torch.tensor([9 - row["label"] for row in batch])  # a task to learn anew
            return {**processor(images, return_tensors="pt"), "labels": labels}

        options = {
            "eval_strategy": "steps",
            "eval_steps": 3,
            "logging_steps": 1,
            "save_strategy": "no",
            "num_train_epochs": 2,
            **options,
        }
        arguments = transformers.TrainingArguments(
            str(tmp_path / "trainer"), per_device_train_batch_size=16,
            learning_rate=3e-3, remove_unused_columns=False, report_to="none", use_cpu=True,
            disable_tqdm=True, **options,
        )  # fmt: skip
        return transformers.Trainer(
            module,
            arguments,
            train_dataset=rows["train"].select(range(120)),
            eval_dataset=rows["test"].select(range(60)),
            data_collator=collate,
            compute_metrics=lambda p: {
                "accuracy": float((np.argmax(p.predictions, 1) == p.label_ids).mean())
            },
            callbacks=[callback],
        )

    return make


def test_a_record_by_one_line(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/ann/train.py", "--hub_token", "hf_abcdefgh12"])
    callback = CostCallback(country="FRA", price_per_hour=2.0)
    trainer = make_trainer(callback, eval_on_start=True, max_grad_norm=0.5)
    start = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    (record,) = read_records(tmp_path / "trainer")
    assert record == callback.record
    schema = resources.files("resque").joinpath("cost_record.schema.json").read_text()
    jsonschema.validate(record.to_dict(), json.loads(schema))
    assert (record.measure, record.rule, record.reached) == ("trainer", "epochs", None)
    assert (record.data.rows, record.data.eval_rows) == (120, 60)
    assert record.training.strategy == "full"
    assert record.training.effective_batch_size == 16
    assert [e.step for e in record.evaluations][:6] == [0, 3, 6, 9, 12, 15]
    assert [e.steps for e in record.epochs] == [8, 8]
    assert [e.epoch for e in record.epochs] == [1.0, 2.0]
    logs = trainer.state.log_history
    norms = [x["grad_norm"] for x in logs if "grad_norm" in x]
    assert record.epochs[0].grad_norm == pytest.approx(np.mean(norms[:8]))
    assert record.epochs[1].grad_norm_last == pytest.approx(norms[-1])
    assert max(norms) > 0.5  # before clipping
    accuracies = [x["eval_accuracy"] for x in logs if "eval_accuracy" in x]
    assert [e.eval_accuracy for e in record.evaluations] == accuracies
    assert record.accuracy_before == accuracies[0]
    changes = [
        (p - q).norm().item() / p.numel() ** 0.5
        for p, q in zip(trainer.model.parameters(), start, strict=True)
    ]
    last = record.epochs[-1]
    assert last.param_change_from_start == pytest.approx(np.mean(changes), rel=1e-4)
    assert last.param_change_from_previous < last.param_change_from_start
    assert record.seconds_training == pytest.approx(sum(e.seconds for e in record.epochs), abs=0.2)
    runtimes = sum(x["eval_runtime"] for x in logs if "eval_runtime" in x)
    assert record.seconds_evaluation == pytest.approx(runtimes, rel=0.3, abs=0.2)
    assert record.command == "train.py --hub_token <token>"
    assert record.energy_kwh > 0
    assert record.price == pytest.approx(record.seconds_training * 2 / 3600)


def test_a_target_stops_trainer(make_trainer, tmp_path):
    callback = CostCallback(tmp_path / "costs", target_accuracy=0.3, grid_intensity=100.0)
    trainer = make_trainer(callback, eval_steps=1, num_train_epochs=6)
    trainer.train()
    (record,) = read_records(tmp_path / "costs")
    assert record.reached
    assert record.rule == "target"
    before, after = record.evaluations[-2:]
    assert before.eval_accuracy < 0.3 <= after.eval_accuracy
    assert before.step <= record.steps_to_target <= after.step
    assert trainer.state.global_step == after.step < 48
    assert sum(e.steps for e in record.epochs) == after.step


def test_checkpoints_and_evaluations_are_kept_apart(make_trainer):
    callback = CostCallback(grid_intensity=1.0)
    trainer = make_trainer(
        callback, eval_strategy="epoch", logging_steps=4, save_strategy="steps", save_steps=3
    )
    trainer.train()
    record = callback.record
    assert [e.step for e in record.evaluations] == [8, 16]
    assert [e.eval_accuracy for e in record.epochs] == [e.eval_accuracy for e in record.evaluations]
    assert [e.grad_norm_steps for e in record.epochs] == [2, 2]
    assert record.seconds_evaluation > 0
    trainer.evaluate()  # after training: not this record's
    assert len(callback.record.evaluations) == 2
    trainer.train()
    assert callback.record.run_id != record.run_id


def test_what_ends_a_training_by_steps(make_trainer):
    """Trainer's `max_steps` takes the place of its epochs, also where another callback stops it."""

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= 10

    callback = CostCallback(grid_intensity=1.0)
    make_trainer(callback, eval_strategy="no", num_train_epochs=1, max_steps=4).train()
    assert (callback.record.rule, callback.record.epochs_limit) == ("epochs", 0.5)
    trainer = make_trainer(callback, eval_strategy="no", num_train_epochs=1, max_steps=20)
    trainer.add_callback(Stop())
    trainer.train()
    assert (callback.record.rule, callback.record.epochs_limit) == ("trainer", 2.5)


def test_changes_are_those_of_the_last_step_where_the_best_weights_come_back(make_trainer):
    changes = []
    for best in (False, True):
        callback = CostCallback(grid_intensity=1.0)
        make_trainer(
            callback, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=best,
            metric_for_best_model="loss", greater_is_better=True,  # the first epoch's weights
        ).train()  # fmt: skip
        changes.append([e.param_change_from_start for e in callback.record.epochs])
    assert changes[0] == changes[1]
    assert changes[0][1] > changes[0][0]


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_of_several_evaluation_sets_is_the_target_s(make_trainer, name):
    callback = CostCallback(grid_intensity=1.0, metric=f"eval_{name}_accuracy", target_accuracy=0.3)
    trainer = make_trainer(callback, eval_steps=1, num_train_epochs=6)
    rows = trainer.eval_dataset
    trainer.eval_dataset = {"a": rows, "b": rows.select(range(30))}
    trainer.train()
    record, logs = callback.record, trainer.state.log_history
    assert (record.rule, record.reached, record.resolution_steps) == ("target", True, 1)
    for key in ("accuracy", "loss"):
        expected = [x[f"eval_{name}_{key}"] for x in logs if f"eval_{name}_{key}" in x]
        assert [getattr(e, f"eval_{key}") for e in record.evaluations] == expected
    runtimes = sum(x.get(f"eval_{k}_runtime", 0.0) for x in logs for k in "ab")
    assert record.seconds_evaluation == pytest.approx(runtimes, rel=0.3, abs=0.2)


def test_a_stream_has_no_length(make_trainer):
    callback = CostCallback(grid_intensity=1.0)
    trainer = make_trainer(callback, eval_strategy="no", max_steps=3)
    trainer.train_dataset = trainer.train_dataset.to_iterable_dataset()
    trainer.train()
    record = callback.record
    assert (record.rule, record.epochs_limit, record.epochs[-1].epoch) == ("epochs", 1.0, 1.0)
    assert (record.data.rows, record.training.steps_per_epoch) == (0, 3)


def test_wrong_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="at most 1"):
        CostCallback(target_accuracy=80)
    with pytest.raises(ValueError, match="three letters"):
        CostCallback(country="Atlantis")


def test_the_pushed_card_tells_the_cost(make_trainer, tmp_path):
    hub_id = "org/fine-tuned"
    with serve() as server, inside(server, tmp_path / "home"):
        callback = CostCallback(country="FRA")
        trainer = make_trainer(
            callback, max_steps=4, hub_model_id=hub_id, hub_token="hf_secret", logging_steps=4
        )
        trainer.create_model_card()
        plain = (tmp_path / "trainer" / "README.md").read_text()
        callback.complete_card(trainer)
        trainer.train()
        trainer.push_to_hub()
        card = server.files(f"models/{hub_id}")["README.md"].decode()
    (fact,) = facts_on(card)
    assert fact.value == pytest.approx(0.5)
    assert "## Shifts, and what retraining costs" in card
    assert plain.partition("\n# ")[2].splitlines()[0] in card
    front = yaml.safe_load(split_card(card).yaml)
    said = front["co2_eq_emissions"]
    assert said["emissions"] == pytest.approx(1000 * callback.record.co2eq_kg, rel=1e-5)
    assert said["geographical_location"] == "FRA"
    assert "generated_from_trainer" in front["tags"]
    assert "resque" in front["tags"]
    assert str(tmp_path) not in card


def test_a_card_that_cannot_be_edited_stays(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("resque"), "propagate", True)
    (tmp_path / "README.md").write_text("---\na: [\n---\n")
    tell_on_card(tmp_path / "README.md", make_record())
    assert (tmp_path / "README.md").read_text() == "---\na: [\n---\n"
    assert "the model card does not tell the cost: its front matter is no YAML" in caplog.text
