"""`rank` where a label is a number, or a class for each word of a text."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
import transformers
from scipy.stats import multivariate_normal

from resque import rank
from resque.moments import Moments
from resque.rank_pass import observe
from resque.transfer_scores import h_score, knn_accuracy, knn_means, logme, logme_of_moments
from resque.words import average_words, join_words, words_of_tokens
from test_representations import WORDS, build, text_table, tokenizer  # noqa: F401

OPTIONS = {"device": "cpu", "progress": False, "cache": False}
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32, "vocab_size": 30}  # fmt: skip


@pytest.fixture(scope="module")
def model(tokenizer, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("bert") / "bert"
    build("BertModel", **SIZES).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def plain_evidence(x, y):
    """The greatest log density of y ~ N(0, I/β + XXᵀ/α) over a fine grid, per row."""
    u, s, _ = np.linalg.svd(x, full_matrices=True)
    spread = np.zeros(len(y))
    spread[: len(s)] = s**2
    projected, n = (u.T @ y) ** 2, len(y)

    def density(log_ratio):
        variances = 1 + spread / np.exp(log_ratio)
        scale = np.mean(projected / variances)  # 1/β at its best
        return -(n * np.log(2 * np.pi * scale) + np.log(variances).sum() + n) / 2 / n

    best = max(np.linspace(-20, 20, 400_01), key=density)
    cov = np.eye(n) + x @ x.T / np.exp(best)
    scale = y @ np.linalg.solve(cov, y) / n
    assert density(best) == pytest.approx(
        multivariate_normal(np.zeros(n), scale * cov).logpdf(y) / n, rel=1e-6
    )
    return density(best)


def test_logme_of_numbers_is_the_greatest_evidence():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)) + 3
    y = x @ rng.normal(size=4) + rng.normal(size=50)
    found = Moments()
    for rows in np.array_split(np.arange(50), 7):
        found.add(x[rows], ["number"] * len(rows), rows, y[rows])
    assert logme_of_moments(found) == pytest.approx(plain_evidence(x, y), abs=1e-6)
    part = Moments()
    part.add(x[:10], ["number"] * 10, np.arange(10), y[:10])
    rest = Moments()
    rest.add(x[10:], ["number"] * 40, np.arange(10, 50), y[10:])
    assert logme_of_moments(found - part) == pytest.approx(logme_of_moments(rest), abs=1e-9)
    assert logme_of_moments(part + rest) == pytest.approx(logme_of_moments(found), abs=1e-9)


def test_numbers_as_targets(model):
    rows = text_table(60)
    words = [len(text.split()) for text in rows["text"]]
    rows = rows.remove_columns("label").add_column("label", [x + 0.25 for x in words])
    found = rank(model, rows, **OPTIONS).candidates[0]
    assert found.error is None
    assert set(found.scores) == {"logme", "knn"}
    assert rank(model, rows, **OPTIONS).sort_by == "logme"
    assert found.scores["knn"].value > 0.5
    low, high = found.scores["knn"].interval
    assert low < found.scores["knn"].value < high
    wrong = rank(model, rows, sort_by="hscore", **OPTIONS).candidates[0]
    assert "hscore is of classes, and the targets are numbers: logme, knn" in wrong.error
    rows = rows.map(lambda row, i: {"label": None if i < 5 else row["label"]}, with_indices=True)
    assert rank(model, rows, **OPTIONS).candidates[0].observation.samples == 55


def test_neighbours_of_numbers():
    x = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.01, 1.0]])
    assert list(knn_means(x, np.array([1.0, 2.0, 3.0, 4.0]), k=1)) == [2.0, 1.0, 4.0, 3.0]


def tagged(n=40, seed=0):
    rng = np.random.default_rng(seed)
    words = [[*rng.choice(WORDS, length)] for length in rng.integers(1, 9, n)]
    tags = [[WORDS.index(word) % 3 for word in text] for text in words]
    features = datasets.Features(
        id=datasets.Value("string"),
        tokens=datasets.List(datasets.Value("string")),
        ner_tags=datasets.List(datasets.ClassLabel(names=["O", "PER", "LOC"])),
    )
    table = {"id": [str(i) for i in range(n)], "tokens": words, "ner_tags": tags}
    return datasets.Dataset.from_dict(table, features=features)


def test_words_of_a_text(model, tokenizer):  # noqa: F811
    from resque.layers import choose_layers
    from resque.measurement import load_model, open_for
    from resque.options import make_options

    rows = tagged()
    found = rank(model, rows, layers="all", **OPTIONS).candidates[0]
    assert found.error is None
    bert = transformers.AutoModel.from_pretrained(model).eval()
    vectors, labels = [], []
    for row in rows:
        tokens = tokenizer(" ".join(row["tokens"]), return_tensors="pt")
        with torch.inference_mode():
            state = bert(**tokens).last_hidden_state[0, 1:-1].numpy()
        assert len(state) == len(row["tokens"])  # here, a word is a token
        vectors.append(state)
        labels += row["ner_tags"]
    x = np.concatenate(vectors)
    assert found.observation.samples == len(x)
    assert found.scores["knn"].value == pytest.approx(knn_accuracy(x, labels), abs=1e-3)
    assert found.scores["hscore"].value == pytest.approx(h_score(x, labels), rel=1e-4)
    assert found.scores["logme"].value == pytest.approx(logme(x, labels), abs=1e-4)
    use = make_options(OPTIONS_OF_PASS)
    loaded = load_model(model, use)
    data = open_for(loaded, rows, use, any_target=True)
    assert data.columns.target == "words"
    from dataclasses import replace

    from resque.labels import ClassMap

    layers = [replace(x, pooling="none") for x in choose_layers(loaded)]
    classes = ClassMap("none", {}, (), data.columns.label_names)
    seen = observe(loaded, data, layers, classes)
    assert seen.kept.labels == [["O", "PER", "LOC"][i] for i in labels]
    assert seen.kept.vectors["last_hidden_state"] == pytest.approx(x, abs=1e-5)


OPTIONS_OF_PASS = {"labels": "data", "device": "cpu", "progress": False, "batch_size": 8}


def test_labels_of_words_that_do_not_count_and_rows_that_do_not_fit(model):
    rows = tagged(30).cast_column("ner_tags", datasets.List(datasets.Value("int64")))
    count = sum(map(len, rows["ner_tags"]))
    ignored = rows.map(lambda row: {"ner_tags": [-100, *row["ner_tags"][1:]]})
    found = rank(model, ignored, **OPTIONS).candidates[0]
    assert found.observation.samples == count - 30
    long = next(i for i, tags in enumerate(rows["ner_tags"]) if len(tags) == 4)
    torn = rows.map(lambda row, i: {"ner_tags": row["ner_tags"][: 3 if i == long else None]},
                    with_indices=True)  # fmt: skip
    error = rank(model, torn, **OPTIONS).candidates[0].error
    assert f"row {long} " in error
    assert "there are 4 words and 3 labels" in error


def test_a_models_head_for_words_gives_its_input(tokenizer, tmp_path):  # noqa: F811
    build("BertForTokenClassification", **SIZES).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = rank(str(tmp_path), tagged(), **OPTIONS).candidates[0]
    assert found.error is None
    assert found.layer.name == "classifier.input"
    assert found.layer.dimension == 16


def test_tokens_are_matched_with_words():
    text = join_words(["New York", "", "a"])
    assert text == "NewYork _ a"
    assert words_of_tokens(text, [(0, 0), (0, 3), (3, 7), (7, 9), (9, 11), (0, 0)]) == [
        -1, 0, 0, 1, 2, -1,
    ]  # fmt: skip
    x = torch.arange(12.0).reshape(2, 3, 2)
    right, pairs = average_words(x, [[0, 0, 1], [0]], pads_left=False)
    assert right.tolist() == [[1, 2], [4, 5], [6, 7]]
    assert pairs == [(0, 0), (0, 1), (1, 0)]
    left, _ = average_words(x, [[0, 0, 1], [0]], pads_left=True)
    assert left.tolist() == [[1, 2], [4, 5], [10, 11]]
    with pytest.raises(ValueError, match="a vector for each token"):
        average_words(x[:, 0], [[0], [0]], pads_left=False)
