"""The demo's map of a model's representations: UMAP where it can be had, else PCA."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import jobs

VECTORS = np.random.default_rng(0).normal(size=(jobs.UMAP_POINTS, 8)).astype(np.float32)


class Umap:
    """Stands for the class UMAP: needs no minute."""

    def __init__(self, random_state, n_jobs):
        self.seed = random_state

    def fit_transform(self, vectors):
        return vectors[:, :2] + self.seed


class Unloadable:
    """A package whose import fails as numba's does where it may write into no folder."""

    @property
    def UMAP(self):
        raise RuntimeError("cannot cache function: no locator available")


@pytest.mark.parametrize(
    ("package", "rows", "method"),
    [
        (None, 50, "PCA"),
        (SimpleNamespace(), 50, "PCA"),  # another package of this name
        (Unloadable(), 50, "PCA"),
        (SimpleNamespace(UMAP=Umap), 49, "PCA"),
        (SimpleNamespace(UMAP=Umap), 50, "UMAP"),
    ],
)
def test_a_map_is_umap_where_it_can_be_had_and_says_so(monkeypatch, package, rows, method):
    pytest.importorskip("gradio")
    from task_tab import plot_of

    monkeypatch.setitem(sys.modules, "umap", package)
    jobs.warm_map()
    points, said = jobs._plane(VECTORS[:rows])
    assert points.shape == (rows, 2)
    assert said == method
    np.testing.assert_array_equal(jobs._plane(VECTORS[:rows])[0], points)
    labels = ["even", "odd"] * rows
    found = {"points": points.tolist(), "labels": labels[:rows], "method": said}
    figure = json.loads(plot_of("a", {"a": found})["value"].plot)
    assert figure["layout"]["title"]["text"].endswith(f"({method}, {rows} samples)")
    assert [trace["name"] for trace in figure["data"]] == ["even", "odd"]


@pytest.mark.slow
def test_umap_itself_draws_the_same_map_twice(capfd):
    pytest.importorskip("umap", reason="umap-learn is not installed")
    jobs.warm_map()
    points, method = jobs._plane(VECTORS)
    assert method == "UMAP"
    assert points.shape == (len(VECTORS), 2)
    np.testing.assert_array_equal(jobs._plane(VECTORS)[0], points)
    assert capfd.readouterr().out == ""
