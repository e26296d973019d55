"""Retraining for real on scikit-learn's digits: the loop, its strategies, its record."""

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
from PIL import Image

import resque
from resque import cli, read_records, strategies
from resque.retrain import retrain
from test_representations import SMALL, build, text_table, tokenizer  # noqa: F401

SCHEMA = json.loads(resources.files("resque").joinpath("cost_record.schema.json").read_text())
QUICK = {
    "max_samples": 200,
    "max_eval_samples": 150,
    "progress": False,
    "device": "cpu",
    "grid_intensity": 400.0,
}


def run(digits, folder, **options):
    model, data = digits
    return retrain(model, data, folder, **{**QUICK, **options})


def test_the_command_leaves_a_record_and_a_model(digits, tmp_path, capsys):
    model, data = digits
    out = tmp_path / "out"
    code = cli.run([
        "retrain", "--model", model, "--dataset", data, "--corruption", "gaussian:0.4",
        "--target-recovery", "0.95", "--epochs", "4", "--batch-size", "16", "--country", "FRA",
        "--price-per-hour", "3.6", "--output-dir", str(out), "--json",
    ])  # fmt: skip
    text, notes = capsys.readouterr()
    assert code == 0, notes
    document = json.loads(text)
    assert document == json.loads((out / "records.jsonl").read_text())
    jsonschema.validate(document, SCHEMA)
    (record,) = read_records(out)
    assert record.to_dict() == document
    assert record.reached
    assert record.rule == "target"
    assert record.accuracy_before < record.target.accuracy <= record.accuracy_final
    assert record.target.accuracy == pytest.approx(0.95 * record.target.original_accuracy)
    assert 0 < record.epochs_to_target < 4
    before, after = record.evaluations[-2:]
    assert before.step <= record.steps_to_target <= after.step
    assert record.resolution_steps == after.step - before.step == record.training.eval_every
    assert record.country == "FRA"
    assert record.co2eq_kg == pytest.approx(
        record.energy_kwh * record.grid_intensity_g_per_kwh / 1000
    )
    parts = record.energy_parts_kwh
    assert record.energy_kwh == pytest.approx(parts.cpu + parts.gpu + parts.ram)
    assert record.energy_kwh == pytest.approx(sum(e.energy_kwh for e in record.epochs))
    assert record.seconds_training == pytest.approx(sum(e.seconds for e in record.epochs), abs=0.1)
    assert record.price == pytest.approx(record.seconds_training * 0.001)
    assert "estimated" in record.energy_method.ram
    assert "retrain resque" not in notes
    assert "first" not in notes
    assert "evaluation every" in notes
    assert transformers.AutoModelForImageClassification.from_pretrained(out / "model")
    assert transformers.AutoImageProcessor.from_pretrained(out / "model")


def test_steps_are_those_of_a_plain_loop(digits, tmp_path):
    """SGD with momentum, accumulation and clipping, written plainly over the same rows."""
    options = {"optimizer": "sgd", "learning_rate": 0.02, "batch_size": 8, "eval_every": 1}
    options |= {"gradient_accumulation": 2, "clip_norm": 0.5, "epochs": 1.0, "max_samples": 70}
    options |= {"schedule": "linear", "warmup_steps": 2}
    record = run(digits, tmp_path / "out", **options)
    model, data = digits
    torch.manual_seed(0)
    module = transformers.AutoModelForImageClassification.from_pretrained(model)
    processor = transformers.AutoImageProcessor.from_pretrained(model)
    rows = datasets.load_dataset(data, split="train")
    kept = np.sort(np.random.default_rng(0).choice(len(rows), 70, replace=False))
    order = np.random.default_rng(np.random.SeedSequence((0, 0))).permutation(70)[:64]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    factors = [0.0, 0.5, 1.0, 0.5]
    start = [p.detach().clone() for p in module.parameters()]
    norms = []
    module.train()
    for step, factor in enumerate(factors):
        losses = []
        for half in range(2):
            at = order[step * 16 + half * 8 :][:8]
            batch = rows.select(kept[at])
            inputs = processor([x.convert("RGB") for x in batch["image"]], return_tensors="pt")
            logits = module(**inputs).logits
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(batch["label"]))
            (loss / 2).backward()
            losses.append(loss.item())
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        norms.append(norm.item())
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * factor
        optimizer.step()
        optimizer.zero_grad()
        assert record.evaluations[step + 1].train_loss == pytest.approx(np.mean(losses), rel=1e-5)
    (epoch,) = record.epochs
    assert epoch.steps == 4
    assert epoch.grad_norm == pytest.approx(np.mean(norms), rel=1e-4)
    assert epoch.grad_norm_last == pytest.approx(norms[-1], rel=1e-4)
    assert max(norms) > 0.5  # so that clipping mattered
    changes = [(p - q).detach().double() for p, q in zip(module.parameters(), start, strict=True)]
    each = [x.norm().item() / x.numel() ** 0.5 for x in changes]
    assert epoch.param_change_from_start == pytest.approx(np.mean(each), rel=1e-4)
    assert epoch.param_change_from_start_sum == pytest.approx(np.sum(each), rel=1e-4)
    whole = sum(x.square().sum() for x in changes).sqrt().item()
    assert epoch.param_change_from_start_norm == pytest.approx(whole, rel=1e-4)
    saved = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out" / "model")
    for p, q in zip(saved.parameters(), module.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_a_constant_rate_warms_up_too(digits, tmp_path):
    options = {"epochs": 0.2, "warmup_steps": 4, "learning_rate": 0.01, "batch_size": 20}
    record = run(digits, tmp_path / "out", **options)
    (epoch,) = record.epochs
    assert epoch.steps == 2
    assert epoch.learning_rate == pytest.approx(0.01 * 2 / 4)


@pytest.mark.parametrize("strategy", ["full", "head", "lora", "scratch"])
def test_strategies_train_what_they_say(digits, tmp_path, strategy):
    model, data = digits
    record = run(
        digits, tmp_path, strategy=strategy, corruption="blur:2", epochs=1, learning_rate=3e-3
    )
    assert record.training.strategy == strategy
    assert (record.training.lora_rank == 8) == (strategy == "lora")
    part = record.model
    assert (part.parameters_trained == part.parameters) == (strategy in ("full", "scratch"))
    before, after = (
        transformers.AutoModelForImageClassification.from_pretrained(x).state_dict()
        for x in (model, tmp_path / "model")
    )
    assert before.keys() == after.keys()  # adapters are merged
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if strategy == "head":
        assert changed == {"classifier.1.weight", "classifier.1.bias"}
    else:
        assert any("encoder" in name and "convolution" in name for name in changed)
    rows = f"{data}#test"
    again = resque.fingerprint(
        str(tmp_path / "model"), rows, corruption="blur:2", max_samples=150, progress=False
    )
    assert again.header.counts.accuracy == pytest.approx(record.accuracy_final, abs=0.02)


def test_scratch_begins_at_chance_and_needs_longer(digits, tmp_path):
    options = {"corruption": "gaussian:0.3", "target_accuracy": 0.8, "epochs": 15, "batch_size": 16}
    full = run(digits, tmp_path / "full", max_samples=400, **options)
    scratch = run(digits, tmp_path / "scratch", max_samples=400, strategy="scratch", **options)
    assert scratch.accuracy_before < 0.3 < full.accuracy_before
    assert full.reached
    assert not scratch.reached or scratch.steps_to_target > 2 * full.steps_to_target


def test_a_target_that_is_met_already_costs_nothing(digits, tmp_path):
    record = run(digits, tmp_path, target_accuracy=0.5)
    assert (record.reached, record.epochs_to_target, record.steps_to_target) == (True, 0, 0)
    assert record.rule == "target"
    assert record.epochs == ()
    assert len(record.evaluations) == 1
    assert record.accuracy_before == record.accuracy_final
    assert (tmp_path / "model" / "config.json").is_file()


def test_a_target_that_is_missed_is_censored(digits, tmp_path):
    record = run(
        digits, tmp_path, corruption="gaussian:0.5", target_accuracy=1.0, epochs=1.5,
        learning_rate=1e-4, eval_every=4,
    )  # fmt: skip
    assert record.reached is False
    assert record.rule == "epochs"
    assert record.epochs_to_target is record.steps_to_target is record.resolution_steps is None
    assert record.evaluations[-1].epoch == pytest.approx(1.5)
    assert [e.steps for e in record.epochs] == [6, 3]
    highest = max(e.eval_accuracy for e in record.evaluations)
    assert record.accuracy_best == highest
    (first, *_) = [e.epoch for e in record.evaluations if e.eval_accuracy == highest]
    assert record.epoch_of_best == first


def test_patience_ends_a_run_near_its_target(digits, tmp_path):
    from resque.targets import Patience

    record = run(
        digits, tmp_path, corruption="gaussian:0.5", target_accuracy=1.0, epochs=9,
        learning_rate=1e-6, patience=(Patience(0.01, 0.1), Patience(1.0, 0.5)),
    )  # fmt: skip
    assert record.rule == "patience_2"
    assert record.reached is False
    assert record.patience == ("0.01:0.1", "1:0.5")
    assert record.evaluations[-1].epoch - record.epoch_of_best >= 0.5


def test_a_new_task_gets_a_new_head(digits, tmp_path):
    record = run(digits, tmp_path, label_column="ink", head="new", epochs=1, batch_size=16)
    assert record.model.new_head
    assert record.data.classes == 4
    assert any("new head for 4 classes" in note for note in record.notes)
    saved = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "model")
    assert saved.config.num_labels == 4
    kept = run(digits, tmp_path / "kept", label_column="odd", epochs=0.2)
    assert not kept.model.new_head


def test_the_original_data_may_have_the_same_label_column(digits, tmp_path):
    rows = datasets.load_dataset(digits[1]).rename_column("label", "digit")
    names = {"label_column": "digit", "input_columns": "image"}
    record = run(
        (digits[0], rows), tmp_path, original=rows["test"], epochs=0.1,
        target_accuracy=None, target_recovery=0.9, **names,
    )  # fmt: skip
    assert record.target.original_accuracy > 0.5
    with pytest.raises(ValueError, match="no column 'picture'"):
        run((digits[0], rows), tmp_path / "other", **(names | {"input_columns": "picture"}))


def test_a_run_that_diverges_keeps_its_record(digits, tmp_path):
    record = run(digits, tmp_path, optimizer="sgd", learning_rate=1e30, epochs=3, eval_every=4)
    assert record.rule == "diverged"
    assert 1 < record.diverged_at_step <= 4
    assert record.evaluations[-1].step == 4
    assert read_records(tmp_path) == [read_records(tmp_path)[0]]
    assert not (tmp_path / "model").exists()


def test_a_probe_gives_rates_and_keeps_no_model(digits, tmp_path):
    record = run(digits, tmp_path, measure="probe", probe_steps=16)
    assert record.rule == record.measure == "probe"
    for rate in (record.probe.seconds_per_step, record.probe.energy_kwh_per_step):
        low, high = rate.interval
        assert low <= rate.value <= high
        assert rate.value > 0
    assert record.probe.steps == 16
    assert record.reached is None
    assert not (tmp_path / "model").exists()
    jsonschema.validate(record.to_dict(), SCHEMA)


def test_texts_and_sounds(tmp_path, tokenizer):  # noqa: F811
    bert = build("BertForSequenceClassification", **SMALL, vocab_size=30)
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    options = {"epochs": 1, "batch_size": 4, "progress": False, "grid_intensity": 1.0}
    record = retrain(tmp_path / "bert", text_table(), tmp_path / "a", **options)
    assert record.training.learning_rate == 5e-5
    assert (record.data.rows, record.data.eval_rows) == (32, 8)
    sound = build(
        "Wav2Vec2ForSequenceClassification", **SMALL, conv_dim=(8, 8), conv_stride=(5, 2),
        conv_kernel=(10, 3), num_feat_extract_layers=2, feat_extract_norm="layer",
        classifier_proj_size=8, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        mask_time_length=2,
    )  # fmt: skip
    sound.save_pretrained(tmp_path / "sound")
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(
        tmp_path / "sound"
    )
    rng = np.random.default_rng(0)
    sounds = [rng.normal(size=n).astype(np.float32) for n in rng.integers(400, 900, 30)]
    table = datasets.Dataset.from_dict({"audio": sounds, "label": [i % 3 for i in range(30)]})
    record = retrain(tmp_path / "sound", table, tmp_path / "b", **options)
    assert record.epochs[-1].steps == 6
    base = transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=30))
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    record = retrain(tmp_path / "base", text_table(), tmp_path / "c", **options)
    assert record.model.new_head
    assert "no classifier head" in " ".join(record.notes)
    words = build("BertForTokenClassification", **SMALL, vocab_size=30)
    words.save_pretrained(tmp_path / "words")
    tokenizer.save_pretrained(tmp_path / "words")
    with pytest.raises(ValueError, match="classifies each word"):
        retrain(tmp_path / "words", text_table(), tmp_path / "d", **options)


def test_what_cannot_be_trained_on_is_named(digits, tmp_path, tokenizer):  # noqa: F811
    model, data = digits
    stream = datasets.load_dataset(data, split="train", streaming=True)
    with pytest.raises(ValueError, match="is a stream; retraining needs rows"):
        retrain(model, stream, tmp_path / "a", **QUICK)
    build("BertForSequenceClassification", **SMALL, vocab_size=30).save_pretrained(tmp_path / "b")
    tokenizer.save_pretrained(tmp_path / "b")
    pairs = text_table().rename_column("text", "sentence1")
    pairs = pairs.add_column("sentence2", ["a"] * 39 + [None])
    both = datasets.DatasetDict(train=pairs.select(range(39)), test=pairs)
    with pytest.raises(ValueError, match=r"row 39 of .* cannot be read: the text is None"):
        retrain(tmp_path / "b", both, tmp_path / "c", batch_size=4, progress=False)


def test_a_head_within_the_base_model_is_trained_alone():
    class WrappedForImageClassification(torch.nn.Module):  # as transformers wraps timm's models
        base_model_prefix = "timm_model"
        config = transformers.PretrainedConfig(num_labels=3)

        def __init__(self):
            super().__init__()
            self.timm_model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3))

    trained = strategies.prepare(WrappedForImageClassification(), "head", 8)
    assert [n for n, p in trained.named_parameters() if p.requires_grad] == [
        "timm_model.1.weight",
        "timm_model.1.bias",
    ]
    adapted = strategies.prepare(WrappedForImageClassification(), "lora", 2)
    names = [n for n, p in adapted.named_parameters() if p.requires_grad]
    assert {name.split("timm_model.")[1].partition(".")[0] for name in names} == {"0", "1"}
    assert not any("1.lora" in name for name in names)


def test_evaluation_rows_are_never_training_rows(digits, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("resque"), "propagate", True)
    model, data = digits
    rows = datasets.load_dataset(data, split="train")
    record = retrain(model, rows.select(range(120)), tmp_path / "a", **(QUICK | {"epochs": 0.5}))
    assert (record.data.rows, record.data.eval_rows) == (96, 24)
    assert "stratified 20 %" in record.notes[0]
    for split in ("train[50:150]", "train[:1]"):
        with pytest.raises(ValueError, match="are training rows"):
            retrain(model, f"{data}#train[:100]", tmp_path / "b", eval_split=split, **QUICK)
    double = datasets.DatasetDict(train=rows, test=rows.select(range(10)))
    with caplog.at_level("WARNING", "resque"):
        retrain(model, double, tmp_path / "c", epochs=0.1, progress=False, grid_intensity=1.0)
    assert "10 of 10 evaluation rows have the same content" in caplog.text


def test_precision_compilation_and_trackers_pass_through(digits, tmp_path):
    record = run(
        digits, tmp_path, precision="bf16", report_to="tensorboard", epochs=0.5,
        gradient_accumulation=2, param_change_device="model",
    )  # fmt: skip
    assert record.training.precision == "bf16"
    assert record.training.effective_batch_size == 64
    assert list(tmp_path.rglob("events.out.tfevents*"))
    assert run(digits, tmp_path / "again", epochs=0.2).training.precision == "no"


def test_automatic_batch_size_leaves_steps_and_the_weights_alone(digits, tmp_path):
    record = run(digits, tmp_path, batch_size="auto", epochs=0.1)
    assert record.training.batch_size == 8  # 200 rows, at least 16 steps
    assert record.evaluations[0].eval_accuracy > 0.9


WRONG = [
    (["--target-accuracy", "1.1"], 2, "at most 1"),
    (["--target-accuracy", "0.9", "--target-recovery", "0.9"], 2, "not both"),
    (["--target-recovery", "0.9"], 2, "--original"),
    (["--patience", "3"], 2, "DIFFERENCE:EPOCHS"),
    (["--patience", "0.1:3"], 2, "--target-accuracy"),
    (["--strategy", "nope"], 2, "full, head, lora, scratch"),
    (["--epochs", "0"], 2, "above 0"),
    (["--learning-rate", "-1"], 2, "above 0"),
    (["--batch-size", "0"], 2, "1 or more"),
    (["--batch-size", "5000"], 2, "smaller --batch-size"),
    (["--schedule", "nope"], 2, "no schedule"),
    (["--eval-split", "nope"], 1, "has no split 'nope'; it has"),
    (["--label-column", "nope"], 1, "'ink'"),
    (["--label-column", "ink", "--head", "both"], 2, "auto, keep, new"),
    (["--country", "ATLANTIS"], 2, "three letters"),
    (["--grid-intensity", "-3"], 2, "0"),
    (["--report-to", "trackio"], 2, "pip install trackio"),
    (["--corruption", "fog:1"], 2, "gaussian"),
    (["--device", "abacus"], 2, "auto or cpu"),
    (["--gradient-checkpointing"], 2, "gradient checkpointing"),
    (["--output-dir", "/proc/x"], 1, "cannot write"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG)
def test_wrong_commands_say_what_to_do(digits, tmp_path, capsys, arguments, code, words):
    model, data = digits
    out = tmp_path / "out"
    command = ["retrain", "--model", model, "--dataset", data, "--output-dir", str(out)]
    assert cli.run([*command, *arguments]) == code
    text, err = capsys.readouterr()
    assert not text
    assert words in err
    assert "Traceback" not in err
    assert not (out / "records.jsonl").exists()


def bad_tables():
    image = Image.new("RGB", (8, 8))
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))

    def table(labels):
        rows = {"image": [image] * len(labels), "label": labels}
        return datasets.Dataset.from_dict(rows, features=features)

    return [
        (table([0, 1, 11, 12] * 10), "labels outside the head: 11, 12; the model has 10"),
        (table([3] * 40), "all 32 training rows|at least two"),
        (table([0, 1]), "too few to keep some apart"),
        (table([-1] * 8), "has a label"),
    ]


@pytest.mark.parametrize(("table", "words"), bad_tables())
def test_data_that_cannot_be_trained_on(digits, tmp_path, table, words):
    with pytest.raises(ValueError, match=words):
        retrain(digits[0], table, tmp_path, **QUICK)
    assert not (tmp_path / "records.jsonl").exists()


def test_an_unreadable_image_is_named(digits, tmp_path):
    rows = datasets.load_dataset(digits[1], split="train[:40]")
    raw = [dict(row) for row in rows.cast_column("image", datasets.Image(decode=False))]
    raw[7]["image"] = {"bytes": b"torn", "path": None}
    table = datasets.Dataset.from_list(raw).cast_column("image", datasets.Image())
    both = datasets.DatasetDict(train=table, test=rows)
    with pytest.raises(ValueError, match="row 7 "):
        retrain(digits[0], both, tmp_path, **QUICK, batch_size=8)


def test_a_folder_holds_one_run(digits, tmp_path, capsys):
    run(digits, tmp_path, epochs=0.2)
    with pytest.raises(ValueError, match=r"a finished run: --overwrite"):
        run(digits, tmp_path, epochs=0.2)
    again = run(digits, tmp_path, epochs=0.2, resume=True)
    assert [again] == read_records(tmp_path)  # nothing is done twice
    with pytest.raises(ValueError, match=r"epochs: 0.2 then, 0.4 now; seed: 0 then, 3 now"):
        run(digits, tmp_path, epochs=0.4, seed=3, resume=True)
    run(digits, tmp_path, epochs=0.4, overwrite=True)
    assert len(read_records(tmp_path)) == 2


def test_a_full_disk_at_a_checkpoint_loses_nothing(digits, tmp_path, monkeypatch):
    import errno

    from resque import run_folder

    options = {"epochs": 1, "checkpoint_every": 2}
    real, calls = run_folder.seal, []

    def full(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(run_folder, "seal", full)
    with pytest.raises(ValueError, match=r"step 4: No space left .*step-00000002 is kept"):
        run(digits, tmp_path / "a", **options)
    assert [p.name for p in (tmp_path / "a" / "checkpoints").iterdir()] == ["step-00000002"]
    beat = json.loads((tmp_path / "a" / "attempts" / "000-node0.json").read_text())
    assert (beat["status"], beat["step"]) == ("failed", 4)  # the lost steps are on record
    again = run(digits, tmp_path / "a", resume=True, **options)
    assert again.resumes == 1
    assert again.wasted.seconds > 0
    whole = run(digits, tmp_path / "b", **options)
    files = [(tmp_path / x / "model" / "model.safetensors").read_bytes() for x in "ab"]
    assert files[0] == files[1]
    assert again.evaluations == whole.evaluations


def test_a_resume_takes_the_scaler_of_the_loss_along(digits, tmp_path, monkeypatch):
    """A real scaler on the CPU, where fp16 brings none: a loss of 2 overflows, and skips a step."""
    import errno
    import sys

    import torch

    from resque import run_folder

    module, scales = sys.modules["resque.retrain"], []
    make, seal, calls = module.make_accelerator, run_folder.seal, []

    def scaled(*args):
        accelerator, note = make(*args)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=9)
        scales.append(accelerator.scaler)
        return accelerator, note

    def full(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return seal(*args)

    monkeypatch.setattr(module, "make_accelerator", scaled)
    options = {"epochs": 1, "checkpoint_every": 4, "batch_size": 8, "strategy": "scratch"}
    options |= {"schedule": "cosine", "optimizer": "sgd", "learning_rate": 1e-3}
    whole = run(digits, tmp_path / "b", **options)
    monkeypatch.setattr(run_folder, "seal", full)
    with pytest.raises(ValueError, match="step-00000004 is kept"):
        run(digits, tmp_path / "a", **options)
    again = run(digits, tmp_path / "a", resume=True, **options)
    files = [(tmp_path / x / "model" / "model.safetensors").read_bytes() for x in "ab"]
    assert files[0] == files[1]
    assert scales[0].state_dict() == scales[2].state_dict()
    skipped = [sum(x.steps - x.grad_norm_steps for x in r.epochs) for r in (whole, again)]
    assert skipped[0] == skipped[1] > 0


def test_data_that_changed_is_not_resumed_on(digits, tmp_path, monkeypatch):
    from resque import run_folder

    def full(*args):
        raise OSError("no space")

    model, data = digits
    rows = datasets.load_dataset(data)
    options = QUICK | {"max_samples": None, "checkpoint_every": 2, "epochs": 1}
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "seal", full)
        with pytest.raises(ValueError, match="no earlier one"):
            retrain(model, rows, tmp_path, **options)
    changed = datasets.DatasetDict(train=rows["train"].select(range(300)), test=rows["test"])
    with pytest.raises(ValueError, match="training data: '<DatasetDict>#train"):
        retrain(model, changed, tmp_path, resume=True, **options)
