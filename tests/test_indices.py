"""The indices against the definition written plainly, by properties, and on odd inputs."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from resque import resque_dist, resque_task
from resque.clustering import adjusted_rand
from resque.indices import ARRAY_GROUPS, resque_dist_of_sums
from resque.sums import ClassSums, group_of

GOLD = Path(os.environ.get("RESQUE_DATA", "nowhere")) / "gold"


def plain_dist(x, y, z, w):
    """The definition in float64, with mpmath-free arithmetic: mean angle of class sums over π."""
    out = []
    for label in sorted(set(y) & set(w)):
        u = x[np.array(y) == label].astype(np.float64).sum(0)
        v = z[np.array(w) == label].astype(np.float64).sum(0)
        cos = u @ v / np.sqrt((u @ u) * (v @ v))
        out.append(np.arccos(np.clip(cos, -1, 1)) / np.pi)
    return float(np.mean(out))


def samples(seed, n=60, dim=7, classes=3):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(n, dim)) + 2 * rng.normal(size=(classes, dim))[y]
    z = rng.normal(size=(n, dim)) + 2 * rng.normal(size=(classes, dim))[y]
    return x, y, z, y.copy()


seeds = st.integers(0, 2**32 - 1)


@given(seeds)
@settings(max_examples=30)
def test_the_definition(seed):
    x, y, z, w = samples(seed)
    assert resque_dist(x, y, z, w).value == pytest.approx(plain_dist(x, y, z, w), abs=1e-9)


@pytest.mark.parametrize("turn", [1e-8, 1e-4, np.pi / 2, np.pi - 1e-4, np.pi - 1e-8])
def test_exact_where_arccos_is_not(turn):
    a = np.array([[1.0, 0.0]] * 5)
    b = np.array([[np.cos(turn), np.sin(turn)]] * 5)
    score = resque_dist(a, [0] * 5, b, [0] * 5)
    assert score.value * np.pi == pytest.approx(turn, rel=1e-7, abs=1e-16)


@given(seeds, st.floats(1e-6, 1e6))
@settings(max_examples=20)
def test_properties(seed, scale):
    x, y, z, w = samples(seed)
    value = resque_dist(x, y, z, w).value
    order = np.random.default_rng(seed).permutation(len(x))
    names = np.array(["c", "a", "b"])
    assert 0 <= value <= 1
    assert resque_dist(scale * x, y, z, w).value == pytest.approx(value, abs=1e-12)
    assert resque_dist(z, w, x, y).value == pytest.approx(value, abs=1e-12)
    assert resque_dist(x[order], y[order], z, w).value == pytest.approx(value, abs=1e-12)
    assert resque_dist(x, names[y], z, names[w]).value == pytest.approx(value, abs=1e-12)
    assert resque_dist(x, 7 * y - 3, z, 7 * w - 3).value == pytest.approx(value, abs=1e-12)
    assert resque_dist(x, y, x, y).value == 0
    assert resque_dist(x, y, -x, y).value == 1


@given(seeds, st.integers(1, 59))
@settings(max_examples=20)
def test_batches_do_not_matter(seed, size):
    x, y, z, w = samples(seed)
    rows = np.arange(len(x))
    sums = []
    for vectors, labels in ((x, y), (z, w)):
        total = ClassSums(ARRAY_GROUPS)
        for at in np.split(rows, range(size, len(rows), size)):
            total.add(vectors[at], labels[at].tolist(), at)
        sums.append(total)
    batched, whole = resque_dist_of_sums(*sums), resque_dist(x, y, z, w)
    assert batched.value == pytest.approx(whole.value, abs=1e-12)
    assert batched.noise_floor == pytest.approx(whole.noise_floor, rel=1e-9)
    assert batched.interval == pytest.approx(whole.interval, abs=1e-9)


def test_shapes_and_dtypes():
    rng = np.random.default_rng(0)
    x, z = rng.normal(1, 1, (40, 5, 3, 2)), rng.normal(1, 1, (40, 5, 3, 2))
    y = [0, 1] * 20
    value = plain_dist(x.mean((2, 3)), y, z.mean((2, 3)), y)
    assert resque_dist(x, y, z, y).value == pytest.approx(value, abs=1e-12)
    last = resque_dist(np.moveaxis(x, 1, -1), y, np.moveaxis(z, 1, -1), y, channel_axis=-1)
    assert last.value == pytest.approx(value, abs=1e-12)
    for dtype, tolerance in (
        (torch.float64, 1e-12),
        (torch.float32, 1e-7),
        (torch.float16, 1e-3),
        (torch.bfloat16, 1e-2),
        (torch.float8_e4m3fn, 0.1),
    ):
        tensors = torch.tensor(x).to(dtype), torch.tensor(z).to(dtype)
        score = resque_dist(tensors[0], torch.tensor(y), tensors[1], y)
        assert score.value == pytest.approx(value, abs=tolerance)
        rows = [row.requires_grad_() for row in tensors[0].float().to(torch.bfloat16)]
        assert resque_dist(rows, y, z, y).value == pytest.approx(value, abs=0.1)


def test_float16_sums_do_not_overflow():
    x = np.full((1000, 4), 6e4, np.float16)
    assert resque_dist(x, [0] * 1000, x, [0] * 1000).value == 0


def test_missing_and_zero_classes_are_left_out_with_one_warning():
    x, y, z, w = samples(0)
    z = np.where((w == 1)[:, None], 0, z)
    with pytest.warns(UserWarning, match="2 class") as caught:
        score = resque_dist(x[y != 2], y[y != 2], z, w)
    assert len(caught) == 1
    assert set(score.per_class) == {0}
    assert set(score.left_out) == {1, 2}
    assert json.loads(json.dumps(score.to_dict()))["left_out"]["1"].startswith("its sum")


def test_one_class_is_an_answer():
    x, _, z, _ = samples(0)
    assert 0 < resque_dist(x, ["a"] * 60, z, ["a"] * 60).value < 1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x: (np.where(np.arange(60)[:, None] == 5, np.nan, x), None), ValueError, "rows 5"),
        (lambda x: (x[:, :3], None), ValueError, "dimensions"),
        (lambda x: (x, [9] * 60), ValueError, "no class in common"),
        (lambda x: (x, [0] * 59), ValueError, r"expected \(60,\)"),
        (lambda x: (x, [0.5] * 60), TypeError, "ints or strings"),
        (lambda x: (x[:, 0], None), ValueError, "shape"),
        (lambda x: (x.astype(str), None), TypeError, "floats"),
        (lambda x: (x[:, :0], None), ValueError, r"shape \(60, 0\)"),
        (lambda x: (np.ma.masked_greater(x, 0), None), ValueError, "masked"),
        (lambda x: (x, np.ma.masked_equal([0, 1] * 30, 1)), ValueError, "masked"),
        (lambda x: (x, pd.Series(["a", None] * 30)), TypeError, "strings and (nan|None)"),
        (lambda x: (x, ["a", 1] * 30), TypeError, "strings and 1"),
        (lambda x: (x, [0.0, 1e30] * 30), ValueError, "64 bits"),
    ],
)
def test_bad_input_is_named(change, error, words):
    x, y, z, w = samples(0)
    z, labels = change(z)
    with pytest.raises(error, match=words):
        resque_dist(x, y, z, w if labels is None else labels)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_sums_that_overflow_are_told():
    x = np.full((10, 2), 1e308)
    with pytest.raises(ValueError, match="class 0 over the original data is too large"):
        resque_dist(x, [0] * 10, x, [0] * 10)


def test_few_samples_warn_with_the_number_needed():
    x, y, z, w = samples(0)
    with pytest.warns(UserWarning, match="at least 5"):
        resque_dist(x[:9], y[:9], z, w)


def test_no_shift_stays_within_the_error():
    floors, values, inside = [], [], 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x, z = rng.normal(1, 1, (2, 300, 20))
        y = np.arange(300) % 3
        score = resque_dist(x, y, z, y)
        floors.append(score.noise_floor)
        values.append(score.value)
        inside += score.interval[0] == 0 and score.p_value > 0.05
    assert np.mean(floors) == pytest.approx(np.mean(values), rel=0.1)
    assert inside >= 90


def test_interval_covers_the_large_sample_index():
    means = np.random.default_rng(1).normal(1, 1, (2, 3, 20))
    truth = plain_dist(means[0], [0, 1, 2], means[1], [0, 1, 2])
    y = np.arange(300) % 3
    covered = 0
    for seed in range(100):
        noise = np.random.default_rng(seed).normal(0, 1, (2, 300, 20))
        score = resque_dist(means[0][y] + noise[0], y, means[1][y] + noise[1], y)
        covered += score.interval[0] <= truth <= score.interval[1]
    assert covered >= 88


def test_pairs_cancel_their_common_noise():
    x, y, _, _ = samples(0, n=300)
    z = x + 0.1 * np.random.default_rng(1).normal(size=x.shape)
    paired, apart = resque_dist(x, y, z, y, paired=True), resque_dist(x, y, z, y)
    assert paired.value == apart.value
    assert paired.noise_floor < 0.3 * apart.noise_floor


def test_samples_without_spread_have_no_error():
    a, b = np.array([[1.0, 0.0]] * 10), np.array([[0.0, 1.0]] * 10)
    score = resque_dist(a, [0] * 10, b, [0] * 10)
    assert score.noise_floor == pytest.approx(0, abs=1e-12)
    assert score.interval == pytest.approx((0.5, 0.5), abs=1e-6)


def test_groups_depend_on_the_row_alone():
    rows = np.random.default_rng(0).permutation(10_000)
    groups = group_of(np.arange(10_000), 16)
    assert (group_of(rows, 16) == groups[rows]).all()
    assert np.bincount(groups, minlength=16).min() > 500


@given(seeds)
@settings(max_examples=30)
def test_adjusted_rand_is_the_known_one(seed):
    rng = np.random.default_rng(seed)
    y, c = rng.integers(0, 4, 50), rng.integers(0, 5, 50)
    table = np.zeros((4, 5))
    np.add.at(table, (y, c), 1)
    assert float(adjusted_rand(table)) == pytest.approx(adjusted_rand_score(y, c), abs=1e-12)


@given(seeds, st.sampled_from(["centroids", "k-means++"]))
@settings(max_examples=15)
def test_task_properties(seed, init):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    score = resque_task(x, y, init)
    assert 0 <= score.value <= 1.5
    low, high = score.interval
    assert low <= high
    names = np.array(["z", "x", "y"])
    if init == "k-means++":
        assert resque_task(x, names[y], init).value == pytest.approx(score.value, abs=1e-12)
    else:
        assert resque_task(x, y + 5, init).value == score.value


def test_task_on_digits():
    digits = load_digits()
    images = digits.images[:, None]
    flat = resque_task(images, digits.target, embedding="flattened")
    assert 0.1 < flat.value < 0.5
    assert flat.interval[0] < flat.value < flat.interval[1]
    assert resque_task(images, digits.target, embedding="averaged").value > flat.value
    first, again = (
        resque_task(images, digits.target, "k-means++", embedding="flattened", seed=3).to_dict()
        for _ in range(2)
    )
    assert first == again


@pytest.mark.parametrize("limit", [10**9, 0])
def test_task_interval_covers_the_large_sample_index(monkeypatch, limit):
    monkeypatch.setattr("resque.clustering.REFIT_LIMIT", limit)
    means = 2 * np.eye(3, 4)

    def draw(seed, n):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 3, n)
        return means[y] + rng.normal(size=(n, 4)), y

    truth = resque_task(*draw(10**6, 30_000)).value
    covered = 0
    for seed in range(60):
        score = resque_task(*draw(seed, 300))
        covered += score.interval[0] <= truth <= score.interval[1]
    assert covered >= 53


def test_task_subsample_is_told():
    x = np.random.default_rng(0).normal(size=(200, 3))
    score = resque_task(x, np.arange(200) % 2, max_rows=50)
    assert (score.settings["rows"], score.settings["rows_clustered"]) == (200, 50)


@pytest.mark.parametrize(("dtype", "power"), [(np.float32, 80), (np.float64, 600)])
def test_task_does_not_depend_on_the_unit(dtype, power):
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(dtype)
    x += 2 * np.eye(3, dtype=dtype)[[0, 1, 2] * 20]
    value = resque_task(x, [0, 1, 2] * 20).value
    assert 0 < value < 1
    for sign in (-1, 1):
        assert resque_task(np.ldexp(x, sign * power), [0, 1, 2] * 20).value == value


def test_task_odd_inputs():
    x = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.warns(UserWarning, match="all 10 rows are of one class"):
        assert resque_task(x, ["a"] * 10).value == 0
    with pytest.warns(UserWarning, match="at least 100 rows"):
        resque_task(np.random.default_rng(0).normal(size=(20, 200)), [0, 1] * 10)
    with pytest.raises(ValueError, match="row 2"):
        resque_task(np.where(np.arange(10)[:, None] == 2, np.inf, x), [0, 1] * 5)
    with pytest.raises(ValueError, match="max_rows is 0"):
        resque_task([[1.0], [2.0]], [0, 1], max_rows=0)
    for embedding in ("averaged", "flattened"):
        with pytest.raises(ValueError, match="embeddings has no samples"):
            resque_task(np.zeros((0, 4)), [], embedding=embedding)
    with pytest.raises(ValueError, match="k-means"):
        resque_task(x, [0, 1] * 5, init="random")  # type: ignore[arg-type]


needs_gold = pytest.mark.skipif(not GOLD.is_dir(), reason="the official numbers are not here")


def gold_cases(kind):
    if not GOLD.is_dir():
        return []
    cases = json.loads((GOLD / "manifest.json").read_text())["cases"]
    return sorted(name for name, case in cases.items() if case["kind"] == kind)


@needs_gold
@pytest.mark.slow
@pytest.mark.parametrize("name", gold_cases("dist"))
def test_official_dist(name):
    with np.load(GOLD / f"{name}.npz") as z, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = [z[k] for k in ("clean", "clean_labels", "shifted", "shifted_labels")]
        if name == "dist_nan_input":
            with pytest.raises(ValueError, match="NaN"):
                resque_dist(*data)
            return
        score = resque_dist(*data)
        if "f64_class_angles" not in z:
            return
        for label, angle in enumerate(z["f64_class_angles"]):
            if np.isfinite(angle):
                assert score.per_class[label] == pytest.approx(float(angle), abs=1e-9)


@needs_gold
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*rows of .* classes:UserWarning")
@pytest.mark.parametrize("name", gold_cases("task"))
@pytest.mark.parametrize("embedding", ["flattened", "averaged"])
def test_official_task(name, embedding):
    case = json.loads((GOLD / "manifest.json").read_text())["cases"][name]
    results = case["ref_final_results"]
    with np.load(GOLD / f"{name}.npz") as z:
        x, y = z["activations"], z["labels"]
    if name == "task_nan_input":
        with pytest.raises(ValueError, match="NaN"):
            resque_task(x, y)
        return
    frame = "df1" if embedding == "flattened" else "df2"
    for init, key in (("centroids", "explicit_centroids"), ("k-means++", "Kmeans_pluplus")):
        score = resque_task(x, y, init, embedding=embedding, n_init=1)  # type: ignore[arg-type]
        if results:
            assert score.value == pytest.approx(results[key][frame], abs=1e-12)
