"""The whole way, from a trained model and data on disk to a report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import resque
from resque import cli


def options(**changes):
    return {"progress": False, "device": "cpu"} | changes


@pytest.fixture(scope="module")
def images(digits):
    return datasets.load_dataset(digits[1], split="test")


@torch.inference_mode()
def by_hand(model_folder, images):
    """Representations and logits by transformers alone, one image at a time."""
    model = transformers.AutoModelForImageClassification.from_pretrained(model_folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(model_folder)
    rows = []
    for image in images:
        x = processor(image.convert("RGB"), return_tensors="pt")["pixel_values"]
        hidden = model.resnet(x).last_hidden_state
        rows.append(hidden.double().mean((2, 3))[0])
    vectors = torch.stack(rows)
    return vectors.numpy(), model.classifier(vectors[..., None, None].float()).numpy()


def test_a_shift_by_hand(digits, images):
    model, data = digits
    noise = resque.shifts.parse_corruption("gaussian:0.3")
    a, b = images.select(range(100)), images.select(range(100, 200))
    noisy = [noise(x.convert("RGB"), i) for i, x in enumerate(b["image"], start=100)]
    (x, _), (z, logits) = by_hand(model, a["image"]), by_hand(model, noisy)
    expected = resque.resque_dist(x, a["label"], z, b["label"])
    report = resque.estimate(
        model, f"{data}#test[:100]", f"{data}#test[100:200]", corruption="gaussian:0.3", **options()
    )
    assert report.score.value == pytest.approx(expected.value, abs=1e-5)
    accuracy = float((logits.argmax(1) == np.array(b["label"])).mean())
    assert report.sides[1].counts.accuracy == pytest.approx(accuracy)
    assert report.layer == "classifier.1.input"
    assert [side.labels for side in report.sides] == ["data", "data"]


def test_no_shift_on_other_samples_stays_at_the_noise_floor(digits):
    model, data = digits
    report = resque.estimate(model, f"{data}#test[:50%]", f"{data}#test[50%:]", **options())
    score = report.score
    assert score.value == pytest.approx(score.noise_floor, rel=0.25)
    assert score.interval[0] == 0
    assert score.p_value > 0.05


def test_level_0_of_the_same_samples_is_0(digits):
    model, data = digits
    report = resque.estimate(model, f"{data}#test[:90]", corruption="blur:0", **options())
    assert report.score.value == 0
    assert report.score.settings["paired"]


def test_the_index_rises_with_the_level(digits):
    model, data = digits
    values = [
        resque.estimate(
            model, f"{data}#test[:300]", corruption=f"gaussian:{level}", **options()
        ).score.value
        for level in (0.1, 0.2, 0.4)
    ]
    assert values == sorted(values)


def test_the_same_from_objects_and_from_a_fingerprint(digits, images, tmp_path):
    model, data = digits
    a, b = images.select(range(300)), images.select(range(300, 600))
    named = resque.estimate(model, f"{data}#test[:300]", f"{data}#test[300:600]", **options())
    loaded = transformers.AutoModelForImageClassification.from_pretrained(model)
    assert resque.estimate(loaded, a, b, **options()).score.value == pytest.approx(
        named.score.value, abs=1e-9
    )
    fp = resque.fingerprint(model, f"{data}#test[:300]", **options())
    fp.save_pretrained(tmp_path)
    for original in (fp, tmp_path, str(tmp_path)):
        report = resque.estimate(model, original, f"{data}#test[300:600]", **options())
        assert report.score.to_dict() == named.score.to_dict()
    assert "fingerprint" in report.sides[0].dataset
    assert report.sides[0].counts.accuracy == named.sides[0].counts.accuracy


def test_the_fingerprint_beside_the_weights_is_found(digits, tmp_path):
    import shutil

    model, data = digits
    copy = tmp_path / "published"
    shutil.copytree(model, copy)
    with pytest.raises(ValueError, match="no fingerprint beside the model"):
        resque.estimate(copy, shifted=f"{data}#test[:100]", **options())
    resque.fingerprint(model, f"{data}#train", labels="predicted", **options()).save_pretrained(
        copy
    )
    report = resque.estimate(str(copy), shifted=f"{data}#test[:100]", **options())
    assert report.sides[1].labels == "predicted"  # as the fingerprint's


def test_another_models_fingerprint_is_refused(digits):
    model, data = digits
    fp = resque.fingerprint(model, f"{data}#test[:100]", **options())
    other = transformers.AutoModelForImageClassification.from_pretrained(model)
    torch.nn.init.normal_(other.classifier[1].weight)
    with pytest.raises(ValueError, match="different model weights"):
        resque.estimate(other, fp, f"{data}#test[:100]", **options())


def test_shards_and_merging_give_the_whole(digits):
    model, data = digits
    whole = resque.fingerprint(model, f"{data}#test[:200]", **options())
    parts = [
        resque.fingerprint(model, f"{data}#test[:200]", shard=f"{i}/3", **options())
        for i in (1, 2, 3)
    ]
    total = parts[2] + parts[0] + parts[1]
    labels, layer = sorted(whole.class_counts), whole.header.layers[0]
    (n, sums), (m, other) = (fp.sums[layer].select(labels) for fp in (whole, total))
    assert (n == m).all()
    assert sums == pytest.approx(other, rel=1e-5, abs=1e-6)  # float32 batches of other shapes
    assert total.header.counts.samples == 200


def test_without_labels_predictions_stand_in(digits, images):
    model = digits[0]
    unlabelled = images.select_columns("image").select(range(450, 899))
    original = images.select(range(450))
    report = resque.estimate(model, original, unlabelled, **options())
    assert [side.labels for side in report.sides] == ["predicted", "predicted"]
    assert report.sides[0].counts.accuracy is not None
    assert report.sides[1].counts.accuracy is None
    assert "no labels" in " ".join(report.notes)
    assert report.score.p_value > 0.01


def test_never_predicted_classes_are_left_out_by_name(digits, images):
    model = digits[0]
    keep = [i for i, label in enumerate(images["label"]) if label < 4]
    few = images.select(keep[:200]).select_columns("image")
    with pytest.warns(UserWarning, match="left out|fewer than"):
        report = resque.estimate(model, images, few, labels="predicted", **options())
    assert report.score.left_out
    assert set(report.score.left_out) <= set("456789")
    assert np.isfinite(report.score.value)


def test_a_task(digits, images):
    model, data = digits
    x, _ = by_hand(model, images.select(range(300))["image"])
    expected = resque.resque_task(x.astype(np.float32), images.select(range(300))["odd"])
    report = resque.estimate(model, task=f"{data}#test[:300]", label_column="odd", **options())
    assert report.score.value == pytest.approx(expected.value, abs=0.02)
    plus = resque.estimate(
        model, task=f"{data}#test[:300]", label_column="odd", init="k-means++", seed=3, **options()
    )
    assert plus.score.settings["n_init"] == 10
    assert plus.to_dict()["resque_task"]["seed"] == 3
    flat = resque.estimate(
        model,
        task=f"{data}#test[:300]",
        label_column="odd",
        layers=["resnet.encoder.stages.1"],
        embedding="flattened",
        **options(),
    )
    assert flat.results[0].dimension > report.results[0].dimension


def test_a_layer_is_read_once_however_often_it_is_named(digits):
    model, data = digits
    names = resque.fingerprint(
        model, f"{data}#test[:20]", layers=[-1, "all", "resnet.encoder.stages.1"], **options()
    ).header.layers
    assert len(names) == len(set(names))
    assert names[0] == "resnet.encoder.stages.1"


def test_the_command_does_it_again(digits, capsys):
    model, data = digits
    report = resque.estimate(
        model,
        f"{data}#test[:200]",
        f"{data}#test[200:]",
        corruption="blur:1",
        layers=[-1],
        max_samples=150,
        seed=2,
        batch_size=16,
        **options(),
    )
    words = shlex.split(report.command)
    assert words[:2] == ["resque", "estimate"]
    assert cli.run([*words[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["resque_dist"] == report.to_dict()["resque_dist"]


def test_the_report_is_readable_and_plain_json(digits, tmp_path):
    model, data = digits
    report = resque.estimate(model, f"{data}#test[:200]", corruption="gaussian:0.1", **options())
    text = str(report)
    for words in ("RESQUE_dist", "noise floor", "accuracy", "again: resque estimate", "chosen"):
        assert words in text
    document = json.loads(report.to_json(tmp_path / "deep" / "report.json"))
    assert json.loads((tmp_path / "deep" / "report.json").read_text()) == document
    assert set(document["resque_dist"]) >= {"value", "interval", "noise_floor", "per_class"}
    assert document["original"]["accuracy"] == report.sides[0].counts.accuracy
    assert document["seconds"]["waiting"] <= document["seconds"]["total"]
    report.plot().savefig(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size[0] > 300


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"original": "d"}, ValueError, "original= and shifted="),
        ({"task": "d", "shifted": "d"}, ValueError, "either task="),
        ({"original": "d", "shifted": "d", "batchsize": 3}, TypeError, "batch_size"),
        ({"original": "d", "shifted": "d", "labels": "x"}, ValueError, "auto, data, predicted"),
        ({"original": "d", "shifted": "d", "groups": 1}, ValueError, "at least 2"),
        ({"original": "d", "shifted": "d", "dtype": "int8"}, ValueError, "float32"),
        ({"original": "d", "corruption": "fog:1"}, ValueError, "gaussian"),
        ({"task": "d", "layers": "all"}, ValueError, "one layer"),
        ({"original": "d", "shifted": "d", "layers": []}, ValueError, "layers is empty"),
        ({"original": "d", "shifted": "d", "batch_size": 0}, ValueError, "batch_size"),
    ],
)
def test_bad_calls(digits, given, error, words):
    model, data = digits
    given = {k: f"{data}#test[:50]" if v == "d" else v for k, v in given.items()}
    with pytest.raises(error, match=words):
        resque.estimate(model, **options(**given))


def test_bad_models(digits, tmp_path):
    model, data = digits
    empty, pickled, headless = tmp_path / "empty", tmp_path / "pickled", tmp_path / "headless"
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    for folder in (empty, pickled, headless):
        folder.mkdir()
        config = (Path(model) / "config.json").read_text()
        (folder / "config.json").write_text(config)
    torch.save({}, pickled / "pytorch_model.bin")
    loaded = transformers.AutoModelForImageClassification.from_pretrained(model)
    loaded.resnet.save_pretrained(headless)
    (headless / "config.json").write_text((Path(model) / "config.json").read_text())
    remote = tmp_path / "remote"
    remote.mkdir()
    (remote / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}})
    )
    (remote / "code.py").write_text("raise SystemExit('ran')")
    for source, words in (
        (tmp_path / "nope", "no model folder"),
        (tmp_path, "no config.json"),
        (adapter, "a peft adapter without its model"),
        (empty, "holds no weights"),
        (pickled, "pickled weights.*save_pretrained"),
        (headless, "lacks weights.*classifier"),
        (remote, "--trust-remote-code"),
        (3, "expected an id"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            resque.fingerprint(source, f"{data}#test[:50]", **options())


def test_the_pooling_of_the_fingerprint_is_taken(digits, images):
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        num_labels=10,
    )
    model = transformers.ViTForImageClassification(config).eval()
    rows = images.select(range(60))
    fp = resque.fingerprint(model, rows, [-1], pooling="mean", **options())
    with pytest.warns(UserWarning, match="fewer than"):
        report = resque.estimate(model, fp, rows, **options())
    assert report.layer.endswith(".1")
    assert report.results[0].pooling == "mean"
    assert report.score.value < 1e-6


def test_the_command_names_the_fingerprint(digits, tmp_path):
    model, data = digits
    resque.fingerprint(model, f"{data}#train", **options()).save_pretrained(tmp_path)
    report = resque.estimate(model, tmp_path, f"{data}#test", **options())
    assert f"--original {tmp_path}" in report.command
