"""Corruptions by name: level 0, seed and index, severities, wrong names, and the passes."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import transformers
from PIL import Image

import resque
from resque import shifts
from resque.retrain import retrain
from resque.shifts import (
    KINDS,
    Corruption,
    check_fits,
    modality_of,
    parse_corruption,
    severities_of,
)
from test_representations import TEXT_MODELS, VISION, build, image_table, text_table, totals
from test_representations import tokenizer as tokenizer  # a fixture

WITHOUT_NOISE = {
    "blur", "defocus_blur", "contrast", "brightness", "jpeg", "pixelate", "gain", "low_pass"
}  # fmt: skip


def sample_of(modality):
    rng = np.random.default_rng(0)
    if modality == "image":
        return Image.fromarray(rng.integers(0, 256, (19, 17, 3), dtype=np.uint8))
    if modality == "audio":
        return rng.normal(0, 0.1, 400).astype(np.float32)
    return "The quick brown fox jumps over the lazy dog, and then it sleeps for a while."


def same(a, b):
    return a == b if isinstance(a, str) else np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("name", KINDS)
def test_level_0_changes_nothing_and_seed_and_index_matter(name):
    sample = sample_of(modality_of(name))
    assert Corruption(name, 0)(sample, 3) is sample
    level = severities_of(name)[4]
    noise = Corruption(name, level, seed=1)
    first = noise(sample, 3)
    assert same(first, noise(sample, 3))
    assert not same(first, sample)
    others = [noise(sample, i) for i in range(4, 12)]
    others += [Corruption(name, level, seed)(sample, 3) for seed in range(2, 8)]
    assert all(same(first, other) for other in others) == (name in WITHOUT_NOISE)


@pytest.mark.parametrize("name", KINDS)
def test_severities_are_levels_that_rise_and_are_documented(name):
    severities = severities_of(name)
    assert len(severities) == 5
    assert list(severities) == sorted(set(severities))
    found = [parse_corruption(f"{name}:severity={n}", seed=4) for n in range(1, 6)]
    assert found == [Corruption(name, level, 4) for level in severities]
    for noise in found:
        assert parse_corruption(str(noise), 4) == noise
        assert noise.modality == modality_of(name)
    (row,) = (x for x in shifts.__doc__.splitlines() if x.startswith(f"| {name} "))
    assert tuple(float(x) for x in row.split("|")[3].split(",")) == severities


def test_the_command_line_names_them_all():
    from resque.cli import options

    words = options.Corruption.__metadata__[0].help
    assert all(f" {name}" in words for name in KINDS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fog:1", "for image data: gaussian, .*for text data: letters_replaced, .*for audio data"),
        ("fog:severity=1", "unknown corruption 'fog'"),
        ("gausian:1", r"did you mean gaussian\b"),
        ("gaussian", "gaussian:0.18 or gaussian:severity=3; the level is the standard deviation"),
        ("gaussian:x", "NAME:LEVEL"),
        ("gaussian:nan", "NAME:LEVEL"),
        ("gaussian:strength=3", "NAME:severity=N"),
        ("gaussian:severity=6", "'6'; expected 1 to 5"),
        ("gaussian:severity=", "expected 1 to 5"),
        ("gaussian:-1", r"from 0 up \(standard deviation on"),
        ("gaussian:inf", "from 0 up"),
        ("salt_pepper:1.5", r"from 0 to 1 \(probability of a pixel\)"),
        ("brightness:-1.5", "from -1 to 1"),
        ("letters_dropped:2", r"from 0 to 1 \(share of the letters\)"),
        ("gain:61", r"from -60 to 60 \(dB\)"),
    ],
)
def test_bad_corruptions_are_named(text, words):
    with pytest.raises(resque.errors.UsageError, match=words):
        parse_corruption(text)


def test_text_and_corruption_are_one():
    assert str(parse_corruption("blur:1.5")) == "blur:1.5"
    assert str(Corruption("blur", 0.123456789)) == "blur:0.123456789"


def test_a_corruption_of_other_data_is_refused(tokenizer):
    check_fits(None, "text")
    check_fits(Corruption("gain", 1), "audio")
    for modality, fit in (("text", "letters_replaced, .*words_dropped$"), ("tensor", "none$")):
        words = f"gaussian:0.1 is for image data; the data is {modality}.*: {fit}"
        with pytest.raises(resque.errors.UsageError, match=words):
            check_fits(Corruption("gaussian", 0.1), modality)
    model = build("ViTForImageClassification", **VISION)
    with pytest.raises(ValueError, match="for text data; the data is image"):
        resque.fingerprint(model, image_table(4), corruption="words_dropped:0.1", progress=False)


def bert():
    kind = "BertForSequenceClassification"
    return build(kind, **TEXT_MODELS[kind])


def test_texts_are_corrupted_the_same_streamed_or_not(tokenizer, tmp_path):
    table, noise = text_table(), parse_corruption("words_dropped:0.4", seed=2)
    table.to_parquet(tmp_path / "train.parquet")
    use = {
        "layers": [-1],
        "pooling": "mean",
        "processor": tokenizer,
        "progress": False,
        "batch_size": 7,
    }
    with_noise = {"corruption": "words_dropped:0.4", "seed": 2, **use}
    source = f"{tmp_path}#train"
    streamed = resque.fingerprint(bert(), source, streaming=True, **with_noise)
    whole = resque.fingerprint(bert(), source, **with_noise)
    texts = [noise(text, i) for i, text in enumerate(table["text"])]
    by_hand = datasets.Dataset.from_dict({"text": texts, "label": table["label"]})
    expected = totals(resque.fingerprint(bert(), by_hand, **use))[2]
    clean = totals(resque.fingerprint(bert(), table, **use))[2]
    for fp in (streamed, whole):
        assert fp.header.corruption == "words_dropped:0.4"
        assert totals(fp)[2] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert np.abs(totals(fp)[2] - clean).max() > 0.1


def test_both_texts_of_a_pair_are_corrupted(tokenizer):
    table, noise = text_table(), Corruption("words_dropped", 0.4)
    pairs = list(zip(table["text"], table["text"][::-1], strict=True))

    def representations(rows, **corruption):
        columns = {"a": [a for a, _ in rows], "b": [b for _, b in rows], "label": table["label"]}
        found = resque.fingerprint(
            bert(), datasets.Dataset.from_dict(columns), [-1], input_columns=["a", "b"],
            processor=tokenizer, pooling="mean", progress=False, **corruption,
        )  # fmt: skip
        return totals(found)[2]

    noisy = [noise(pair, i) for i, pair in enumerate(pairs)]
    expected = representations(noisy)
    assert representations(pairs, corruption="words_dropped:0.4") == pytest.approx(
        expected, rel=1e-5, abs=1e-5
    )
    second_alone = [(a, b) for (a, _), (_, b) in zip(pairs, noisy, strict=True)]
    assert np.abs(representations(second_alone) - expected).max() > 0.1


def test_an_estimate_on_texts(tokenizer):
    use = {"layers": [-1], "pooling": "mean", "processor": tokenizer, "progress": False}
    kept = resque.estimate(bert(), text_table(), corruption="words_dropped:0", **use)
    gone = resque.estimate(bert(), text_table(), corruption="words_dropped:severity=5", **use)
    assert kept.score.value == pytest.approx(0, abs=1e-6)
    assert gone.score.value > 10 * kept.score.value + 1e-3
    assert gone.sides[1].corruption == "words_dropped:0.4"


def test_retraining_on_corrupted_texts(tokenizer, tmp_path):
    bert().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    use = {"epochs": 1, "batch_size": 8, "progress": False, "grid_intensity": 1.0, "seed": 5}
    out = [tmp_path / "noisy", tmp_path / "clean"]
    noisy = retrain(
        tmp_path / "model", text_table(), out[0], corruption="letters_replaced:severity=3", **use
    )
    clean = retrain(tmp_path / "model", text_table(), out[1], **use)
    assert (noisy.data.corruption, noisy.data.corruption_seed) == ("letters_replaced:0.1", 5)
    assert clean.data.corruption is None
    assert noisy.data.fingerprint == clean.data.fingerprint  # of the rows, before the corruption
    assert noisy.evaluations[-1].train_loss != clean.evaluations[-1].train_loss
    with pytest.raises(ValueError, match=r"gaussian:0.1 is for image data; the data is text"):
        retrain(tmp_path / "model", text_table(), tmp_path / "no", corruption="gaussian:0.1", **use)


def test_sound_is_corrupted_at_the_models_rate(monkeypatch):
    seen = []
    module = build(
        "Wav2Vec2ForSequenceClassification", hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8), conv_stride=(5, 2),
        conv_kernel=(10, 3), num_feat_extract_layers=2, feat_extract_norm="layer",
        classifier_proj_size=8, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    forward = module.forward

    def spy(input_values, **rest):
        seen.extend(np.asarray(input_values))
        return forward(input_values=input_values, **rest)

    monkeypatch.setattr(module, "forward", spy)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    wave = (0.9 * np.sin(np.arange(800) / 5)).astype(np.float32)
    table = datasets.Dataset.from_dict({"audio": [wave] * 2, "label": [0, 1]})
    resque.fingerprint(module, table, corruption="gain:6", processor=extractor, progress=False)
    expected = np.clip(wave * 10 ** (6 / 20), -1, 1)
    assert len(seen) == 2
    for samples in seen:
        assert samples == pytest.approx(expected, abs=1e-6)
