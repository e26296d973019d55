"""k-means and neighbours on a torch device: what scikit-learn finds, and where they are used.

The same tests run on a GPU where there is one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

import resque
from resque import on_device
from resque.clustering import cluster
from resque.on_device import kmeans, nearest
from resque.transfer_scores import knn_accuracy, knn_hits, knn_means
from test_rank_scores import scores_of

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
on_devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
seeds = st.integers(0, 2**32 - 1)


def theirs(x, centres):
    """Return scikit-learn's k-means from given centres."""
    return KMeans(len(centres), init=centres, n_init=1).fit(x)


def means_of(x, y):
    return np.stack([x[y == c].mean(axis=0) for c in range(y.max() + 1)])


def blobs(seed, n, dim, k, dtype=np.float64):
    x, y = make_blobs(n, dim, centers=k, cluster_std=4.0, random_state=seed % 2**31)
    y[:k] = np.arange(k)  # each class occurs
    return x.astype(dtype), y


def assert_same(ours, model, digits=1e-9):
    assert np.array_equal(ours.labels, model.labels_)
    assert ours.centres == pytest.approx(model.cluster_centers_, abs=digits)
    assert ours.inertia == pytest.approx(model.inertia_, rel=1e-5)


@on_devices
@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 1e-3), (np.float64, 1e-9)])
def test_digits_from_given_centres(device, dtype, digits):
    x, y = load_digits(return_X_y=True)
    x = x.astype(dtype)
    ours, model = kmeans(x, 10, means_of(x, y), device=device), theirs(x, means_of(x, y))
    assert_same(ours, model, digits)
    assert ours.centres.dtype == dtype
    assert_same(kmeans(x, 10, y, device=device), model, digits)
    assert np.array_equal(ours.labels, kmeans(x, 10, y, device=device).labels)
    float16 = kmeans(x.astype(np.float16), 10, y, device=device)  # digits have whole numbers
    assert np.array_equal(float16.labels, ours.labels)


def must_choose(x, centres):
    """Whether a step has a choice: an empty cluster starts again at a row that is the farthest."""
    numbers = np.arange(len(centres))
    while True:
        squares = ((x[:, None] - centres) ** 2).sum(axis=2)
        labels, far = squares.argmin(axis=1), squares.min(axis=1)
        empty = np.setdiff1d(numbers, labels)
        labels[np.argsort(-far)[: len(empty)]] = empty
        tied = np.diff(np.sort(far[far > 1e-9])).min(initial=1) < 1e-9
        if len(empty) and (tied or len(set(labels)) < len(centres)):
            return True
        moved = np.stack([x[labels == c].mean(axis=0) for c in numbers])
        if np.allclose(moved, centres, rtol=0, atol=1e-12):
            return False
        centres = moved


@on_devices
@given(seeds, st.integers(2, 60), st.integers(1, 7), st.integers(1, 6))
@settings(max_examples=40)
def test_small_shapes_from_given_centres(device, seed, n, dim, k):
    x, y = blobs(seed, max(n, k), dim, k)
    centres = means_of(x, y)
    assume(not must_choose(x, centres))
    assert_same(kmeans(x, k, y, device=device), theirs(x, centres))


@on_devices
@pytest.mark.parametrize("steps", [1, 2, 300])
def test_ends_before_labels_settle(device, steps, monkeypatch):
    """Labels are of the last centres where these hardly move, or where the steps are used up."""
    monkeypatch.setattr(on_device, "MOST_STEPS", steps)
    x = np.random.default_rng(0).normal(size=(3000, 2))
    model = KMeans(5, init=x[:5], n_init=1, max_iter=steps).fit(x)
    assert model.n_iter_ < 300
    assert_same(kmeans(x, 5, x[:5], device=device), model)


@on_devices
@pytest.mark.parametrize("far_apart", [0.0, 1e4])
def test_one_cluster_and_rows_far_from_zero(device, far_apart):
    x, y = blobs(3, 300, 5, 4, np.float32)
    x += np.float32(far_apart)
    assert_same(kmeans(x, 1, x[:1], device=device), theirs(x, x[:1]), 1e-2)
    assert_same(kmeans(x, 4, y, device=device), theirs(x, means_of(x, y)), 1e-2)


@on_devices
@pytest.mark.parametrize("empty", [1, 2, 3])
def test_empty_clusters_move_to_the_farthest_rows(device, empty):
    x, _ = blobs(1, 200, 3, 6)
    start = np.concatenate([x[: 6 - empty], 1e6 * np.eye(3)[:empty]])
    ours, model = kmeans(x, 6, start, device=device), theirs(x, start)
    assert adjusted_rand_score(ours.labels, model.labels_) == 1  # which is which, is open
    assert ours.inertia == pytest.approx(model.inertia_)
    assert sorted(ours.centres[:, 0]) == pytest.approx(sorted(model.cluster_centers_[:, 0]))
    assert len(set(ours.labels)) == 6


@on_devices
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@given(seeds, st.integers(2, 60), st.integers(1, 7), st.integers(2, 8))
@settings(max_examples=40)
def test_centres_that_start_far_off(device, seed, n, dim, k):
    """Most clusters are empty at first, and a row that moves may have been alone in its own."""
    rng = np.random.default_rng(seed)
    x, start = rng.normal(size=(max(n, k), dim)), 20 * rng.normal(size=(k, dim))
    ours, model = kmeans(x, k, start, device=device), theirs(x, start)
    assert adjusted_rand_score(ours.labels, model.labels_) == 1
    assert ours.inertia == pytest.approx(model.inertia_, abs=1e-9)


@on_devices
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("start", ["classes", "k-means++"])
def test_fewer_distinct_rows_than_clusters(device, start):
    x = np.repeat(np.eye(3), 10, axis=0)
    y = np.tile(np.arange(5), 6)
    ours = kmeans(x, 5, y if start == "classes" else None, n_init=3, device=device)
    assert adjusted_rand_score(ours.labels, np.repeat(np.arange(3), 10)) == 1
    assert ours.inertia == pytest.approx(0, abs=1e-20)
    assert np.isfinite(ours.centres).all()
    same = kmeans(np.ones((8, 2)), 2, np.arange(8) % 2, device=device)
    assert (set(same.labels), same.inertia) == ({0}, 0)


@on_devices
def test_repeated_rows_and_constant_features(device):
    x, y = blobs(5, 60, 4, 3)
    x[:, 2] = 0.1
    twice = np.concatenate([x, x])
    ours = kmeans(twice, 3, np.concatenate([y, y]), device=device)
    assert_same(ours, theirs(twice, means_of(x, y)))
    assert np.array_equal(ours.labels[:60], ours.labels[60:])
    assert ours.centres[:, 2] == pytest.approx(0.1)


@on_devices
@pytest.mark.parametrize("start", ["classes", "k-means++"])
def test_blocks_do_not_matter(device, start, monkeypatch):
    x, y = blobs(2, 500, 8, 5)
    given = y if start == "classes" else None
    whole = kmeans(x, 5, given, n_init=2, device=device), nearest(x, 3, device)
    monkeypatch.setattr(on_device, "BLOCK_ROWS", 7)
    parts = kmeans(x, 5, given, n_init=2, device=device), nearest(x, 3, device)
    assert np.array_equal(whole[0].labels, parts[0].labels)
    assert whole[0].centres == pytest.approx(parts[0].centres, abs=1e-9)
    assert np.array_equal(whole[1], parts[1])


def test_a_block_is_no_larger_than_said(monkeypatch):
    monkeypatch.setattr(on_device, "MEGABYTES", 1)
    x = torch.zeros((1000, 2))
    found = list(on_device._blocks(x, 10_000))
    assert {s.stop - s.start for s in found} == {25}  # rows × 10,000 × 4 bytes
    assert torch.cat([torch.arange(1000)[s] for s in found]).tolist() == list(range(1000))
    assert len(list(on_device._blocks(x, 10**9))) == 1000  # a row at least


@on_devices
def test_kmeans_plus_plus_is_within_the_spread_of_scikit_learn(device):
    x, _ = blobs(0, 600, 6, 12)
    each = [KMeans(12, init="k-means++", n_init=1, random_state=s).fit(x) for s in range(30)]
    theirs = np.array([model.inertia_ for model in each])
    found = [kmeans(x, 12, None, seed=s, device=device) for s in range(30)]
    ours = np.array([run.inertia for run in found])
    assert abs(ours.mean() - theirs.mean()) < 3 * np.hypot(ours.std(), theirs.std()) / 30**0.5
    assert ours.min() == pytest.approx(theirs.min(), rel=0.02)
    again = kmeans(x, 12, None, seed=3, device=device)
    assert np.array_equal(again.labels, found[3].labels)
    best = kmeans(x, 12, None, n_init=10, seed=3, device=device)
    assert best.inertia <= found[3].inertia


@on_devices
def test_seeding_takes_far_rows(device):
    """Ten tight clusters: greedy k-means++ finds each; rows drawn alike would not."""
    x, y = make_blobs(500, 4, centers=10, cluster_std=0.01, random_state=1)
    for seed in range(5):
        ours = kmeans(x.astype(np.float32), 10, None, seed=seed, device=device)
        assert adjusted_rand_score(ours.labels, y) == 1


def test_products_are_exact_whatever_the_caller_has_set():
    x, y = blobs(4, 100, 5, 3, np.float32)
    plain = kmeans(x, 3, y, device="cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(kmeans(x, 3, y, device="cpu").centres, plain.centres)
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        assert kmeans(x, 3, y, device="cpu").centres.dtype == np.float64
    finally:
        matmul.fp32_precision = before
    assert kmeans(x, 3, y, device="cpu").centres.dtype == np.float32


@on_devices
@given(seeds, st.integers(2, 60), st.integers(2, 9), st.integers(1, 8))
@settings(max_examples=30)
def test_neighbours_are_those_of_scikit_learn(device, seed, n, dim, k):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    k = min(k, n - 1)
    model = NearestNeighbors(n_neighbors=k, metric="cosine").fit(x)
    distances, rows = model.kneighbors()
    ours = nearest(x, k, device)
    assert [set(row) for row in ours] == [set(row) for row in rows]
    for i, row in enumerate(ours):  # the nearest first
        cosines = x[row] @ x[i] / np.linalg.norm(x[row], axis=1) / np.linalg.norm(x[i])
        assert 1 - cosines == pytest.approx(distances[i], abs=1e-12)


@on_devices
def test_neighbours_of_zeros_and_of_repeated_rows(device):
    x = np.array([[1.0, 0.1], [2.0, 0.2], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1e-300, 0.0]])
    rows = nearest(x, 5, device)
    assert [sorted([i, *row]) for i, row in enumerate(rows)] == [list(range(6))] * 6
    assert rows[0][0] == 1  # the same direction first, then at distance 1 those without any
    assert set(rows[0][1:4]) == {3, 4, 5}
    assert rows[0][4] == rows[1][4] == 2
    repeated = np.repeat(np.eye(3), 4, axis=0)
    assert (nearest(repeated, 3, device) // 4 == np.arange(12)[:, None] // 4).all()


def test_given_arrays_are_left_as_they_are():
    x, y = blobs(0, 40, 3, 2)
    for order in (x, np.asfortranarray(x), x[:, ::-1]):
        before = order.copy()
        order.flags.writeable = False
        kmeans(order, 2, y, device="cpu")
        nearest(order, 2, "cpu")
        assert np.array_equal(order, before)


def test_errors_are_sentences(monkeypatch):
    x, y = blobs(0, 40, 3, 2)
    missing = f"cuda:{torch.cuda.device_count()}"
    for run in (lambda: kmeans(x, 2, y, device=missing), lambda: nearest(x, 2, missing)):
        with pytest.raises(ValueError, match=rf"device is '{missing}'; torch finds \d+ CUDA"):
            run()

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(on_device, "_assign", full)
    with pytest.raises(ValueError, match="40 rows of 3 dimensions do not fit into the memory"):
        kmeans(x, 2, y, device="cpu")


@pytest.fixture
def as_gpu(monkeypatch):
    """Let the device "cuda" be torch's CPU where there is none, and count what runs there."""
    calls = []

    def instead(run):
        def on(*args, device=None, **options):
            where = device or args[-1]
            assert where.startswith("cuda")
            calls.append(run.__name__)
            here = where if torch.cuda.is_available() else "cpu"
            return run(*args, device=here, **options) if device else run(*args[:-1], here)

        return on

    for run in (kmeans, nearest):
        monkeypatch.setattr(on_device, run.__name__, instead(run))
    return calls


def test_scores_on_a_gpu_are_those_on_the_cpu(as_gpu):
    x, y = blobs(7, 400, 6, 3)
    x -= x.mean(axis=0)
    for init in ("centroids", "k-means++"):
        ours, plain = (
            resque.resque_task(x, y, init, device=device).to_dict() for device in ("cuda", None)
        )
        assert ours["value"] == pytest.approx(plain["value"], abs=0.02)
        assert ours["interval"] == pytest.approx(plain["interval"], abs=0.02)
    assert set(as_gpu) == {"kmeans"}
    assert len(as_gpu) == 2 * (1 + 40)  # and the interval's halves
    assert np.array_equal(knn_hits(x, y, device="cuda"), knn_hits(x, y))
    assert knn_means(x, x[:, 0], device="cuda") == pytest.approx(knn_means(x, x[:, 0]))
    assert as_gpu[-2:] == ["nearest"] * 2
    assert knn_hits(x, y, k=1000, device="cuda").tolist() == knn_hits(x, y, k=1000).tolist()


def test_a_ranking_scores_on_its_models_gpu_alone(as_gpu):
    x, y = blobs(7, 120, 4, 3)
    wanted = ("knn", "resque_task")
    plain, _ = scores_of(x, y, wanted=wanted)
    for device in ("cpu", "mps", "xpu:0"):
        assert scores_of(x, y, wanted=wanted, device=device)[0] == plain
    assert not as_gpu
    ours, _ = scores_of(x, y, wanted=wanted, device="cuda:0")
    assert set(as_gpu) == {"kmeans", "nearest"}
    for name in wanted:
        assert ours[name].value == pytest.approx(plain[name].value, abs=1e-9)
        assert ours[name].interval == pytest.approx(plain[name].interval, abs=1e-2)


def test_clusters_of_one_class_need_no_device(as_gpu):
    labels, centres = cluster(np.eye(3), np.zeros(3, int), "centroids", 1, 0, "cuda")
    assert (labels.tolist(), centres.shape) == ([0, 0, 0], (1, 3))
    assert not as_gpu


class OnGpu:
    """What stands in for a tensor on a GPU where there is none."""

    device = torch.device("cuda", 0)

    def __init__(self, x):
        self.x = torch.from_numpy(x)

    def detach(self):
        return self

    def cpu(self):
        return self.x


def test_tensors_on_a_gpu_are_scored_there(as_gpu):
    x, y = blobs(7, 400, 6, 3)
    plain = knn_accuracy(x, y), resque.resque_task(x, y).value
    on_cpu = torch.from_numpy(x)
    assert (knn_accuracy(on_cpu, y), resque.resque_task(on_cpu, y).value) == plain
    assert not as_gpu
    on_gpu = on_cpu.cuda() if torch.cuda.is_available() else OnGpu(x)
    found = knn_accuracy(on_gpu, y), resque.resque_task(on_gpu, y).value
    assert found == pytest.approx(plain, abs=1e-9)
    assert set(as_gpu) == {"kmeans", "nearest"}
    as_gpu.clear()
    assert resque.resque_task(on_gpu, y, device="cpu").value == plain[1]
    assert not as_gpu
