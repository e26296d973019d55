"""Gradient norm, parameter change and batch statistics: one process, and two real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resque.batch_norm import SyncedBatchNorm, synchronise
from resque.changes import gradient_norm, parameter_change, snapshot, whole

GOLD = Path(os.environ.get("RESQUE_DATA", "nowhere")) / "gold" / "param_change.npz"
SCRIPT = """
import copy, json
import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from resque.batch_norm import SyncedBatchNorm, synchronise
from resque.changes import gradient_norm, parameter_change, snapshot
from resque.cli import leave

distributed.init_process_group("gloo")
rank = distributed.get_rank()
mine = slice(rank, None, 2)


def moves(model, x, y):
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), 1e-2)
    start = previous = snapshot(parameters)
    found = {"norms": [], "start": [], "previous": []}
    for _ in range(4):
        nn.functional.cross_entropy(model(x), y).backward()
        found["norms"].append(float(gradient_norm(model.parameters())))
        optimizer.step()
        optimizer.zero_grad()
        for name, old in (("start", start), ("previous", previous)):
            change = parameter_change(old, parameters)
            found[name].append([change.mean, change.total, change.norm])
        previous = snapshot(parameters)
    return found | {"size": sum(x.numel() for x in start.values())}


def sharded():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3), nn.Tanh(), nn.Linear(3, 3)
    )
    model[4].weight.requires_grad_(False)
    x, y = torch.randn(16, 5), torch.randint(0, 3, (16,))
    whole = moves(copy.deepcopy(model), x, y)
    fully_shard(model)
    parts = [None, None]
    distributed.all_gather_object(parts, moves(model, x[mine], y[mine]))
    return {"whole": whole, "parts": parts}


def steps(model, data, rows):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x, y in data:
        optimizer.zero_grad()
        out = model(x[rows])
        nn.functional.cross_entropy(out, y[rows]).backward()
        optimizer.step()
    return out.detach().contiguous()


def normalised():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6),
        nn.Sequential(nn.BatchNorm1d(6, momentum=None), nn.BatchNorm1d(6, affine=False)),
        nn.BatchNorm1d(6, bias=False),
        nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3),
    )
    one, two = copy.deepcopy(model), model
    synchronise(two, torch.device("cpu"))
    assert sum(isinstance(part, SyncedBatchNorm) for part in two.modules()) == 5
    data = [(3 * torch.randn(12, 2, 6, 6) + 1, torch.randint(0, 3, (12,))) for _ in range(3)]
    whole = steps(one, data, slice(None))
    part = steps(DistributedDataParallel(two), data, mine)
    parts = [torch.empty_like(part) for _ in range(2)]
    distributed.all_gather(parts, part)
    found = {
        "outputs": [whole.tolist(), torch.stack(parts, 1).flatten(0, 1).tolist()],
        "gradients": [[p.grad.tolist() for p in m.parameters()] for m in (one, two)],
        "statistics": [{n: b.tolist() for n, b in m.named_buffers()} for m in (one, two)],
        "evaluated": [m.eval()(data[0][0]).tolist() for m in (one, two)],
    }
    with torch.autocast("cpu", torch.bfloat16):
        found["half"] = [m.train()(data[0][0]).tolist() for m in (one, two)]
    return found


found = json.dumps({"sharded": sharded(), "normalised": normalised()})
if rank == 0:
    print(found)
distributed.barrier()
leave(0)
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What the first of two real processes found: over both, and by itself on all rows."""
    script = tmp_path_factory.mktemp("two") / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         str(script)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def plain_change(old, new):
    """The definition in float64: mean and sum of ‖Δ‖₂/√n over the tensors, and ‖Δ‖₂ over all."""
    deltas = [(b.double() - a.double()).flatten().numpy() for a, b in zip(old, new, strict=True)]
    each = [float(np.sqrt(np.mean(d**2))) for d in deltas]
    return np.mean(each), np.sum(each), float(np.sqrt(sum((d**2).sum() for d in deltas)))


shapes = st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=5)


@given(shapes, st.integers(0, 2**32 - 1), st.floats(1e-6, 1e3))
@settings(max_examples=30)
def test_the_definitions(shapes, seed, scale):
    torch.manual_seed(seed)
    parameters = {str(i): nn.Parameter(torch.randn(shape)) for i, shape in enumerate(shapes)}
    old = snapshot(parameters)
    before = [p.detach().clone() for p in parameters.values()]
    for p in parameters.values():
        p.grad = scale * torch.randn_like(p)
        p.data += scale * torch.randn_like(p)
    found = parameter_change(old, parameters)
    expected = plain_change(before, [p.detach() for p in parameters.values()])
    assert (found.mean, found.total, found.norm) == pytest.approx(expected, rel=1e-6)
    squares = [float(p.grad.double().square().sum()) for p in parameters.values()]
    norm = gradient_norm(parameters.values())
    assert float(norm) == pytest.approx(np.sqrt(np.sum(squares)), rel=1e-6)
    for p in parameters.values():
        p.grad = None
    assert float(gradient_norm(parameters.values())) == 0


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-4), (torch.float16, 1e-4)],
)
def test_parameters_of_any_dtype(dtype, tolerance):
    torch.manual_seed(0)
    parameters = {name: nn.Parameter(torch.randn(1000).to(dtype)) for name in "ab"}
    before = [p.detach().clone() for p in parameters.values()]
    old = snapshot(parameters)
    for p in parameters.values():
        p.data += torch.randn(len(p)).to(dtype)
    found = parameter_change(old, parameters)
    expected = plain_change(before, [p.detach() for p in parameters.values()])
    assert (found.mean, found.total, found.norm) == pytest.approx(expected, rel=tolerance)


def test_parameters_without_a_gradient_count_as_zero():
    model = nn.Linear(3, 2)
    model.weight.grad = torch.full((2, 3), 2.0)
    assert float(gradient_norm(model.parameters())) == pytest.approx(24**0.5)
    assert whole(3.0).tolist() == 3.0


def test_a_snapshot_does_not_follow_the_parameters():
    model = nn.Linear(3, 2)
    old = snapshot(dict(model.named_parameters()))
    assert parameter_change(old, dict(model.named_parameters())).norm == 0
    nn.init.constant_(model.weight, 1)
    model.weight.data += 3
    assert old["weight"].abs().max() < 1
    assert not old["weight"].requires_grad


@pytest.mark.skipif(not GOLD.is_file(), reason="the official numbers are not here")
@pytest.mark.slow
def test_official_changes():
    with np.load(GOLD) as z:
        names = [key.removeprefix("old/") for key in z if key.startswith("old/")]
        parameters = {name: nn.Parameter(torch.tensor(z[f"new/{name}"])) for name in names}
        old = {name: torch.tensor(z[f"old/{name}"]) for name in names}
        for name, p in parameters.items():
            p.grad = torch.tensor(z[f"grad/{name}"])
            each = parameter_change(old, {name: p})
            assert each.mean == pytest.approx(float(z[f"ref_change/{name}"]), rel=1e-6)
        changes = [float(z[f"ref_change/{name}"]) for name in names]
        norm = float(z["ref_grad_norm"])
    found = parameter_change(old, parameters)
    assert found.mean == pytest.approx(np.mean(changes), rel=1e-6)
    assert found.total == pytest.approx(np.sum(changes), rel=1e-6)
    assert float(gradient_norm(parameters.values())) == pytest.approx(norm, rel=1e-6)


def test_sharded_over_two_processes_is_the_same(two_processes):
    whole, parts = two_processes["sharded"].values()
    sizes = [part.pop("size") for part in parts]
    assert sum(sizes) == whole.pop("size")
    assert sizes[0] != sizes[1]  # some parameters do not divide by two
    for part in parts:
        for name, expected in whole.items():
            assert np.array(part[name]) == pytest.approx(np.array(expected), rel=1e-5)


@pytest.mark.parametrize("what", ["outputs", "evaluated"])
def test_normalised_over_two_processes_as_over_one(two_processes, what):
    one, two = map(np.array, two_processes["normalised"][what])
    assert two == pytest.approx(one, rel=1e-5, abs=1e-5)


def test_gradients_through_two_processes_are_the_same(two_processes):
    for one, two in zip(*two_processes["normalised"]["gradients"], strict=True):
        assert np.array(two) == pytest.approx(np.array(one), rel=1e-5, abs=1e-5)


def test_running_statistics_of_two_processes_are_the_same(two_processes):
    one, two = two_processes["normalised"]["statistics"]
    assert one.keys() == two.keys()
    assert two["1.num_batches_tracked"] == 3
    for name, values in one.items():
        assert np.array(two[name]) == pytest.approx(np.array(values), rel=1e-5, abs=1e-5)


def test_half_precision_is_normalised_in_float32(two_processes):
    one, two = map(np.array, two_processes["normalised"]["half"])
    assert two == pytest.approx(one, abs=0.05)


def test_synchronising_keeps_the_parameters_and_tells_whether_there_was_any():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3)))
    before, state = list(model.parameters()), model.state_dict()
    assert synchronise(model, torch.device("cpu"))
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert model.state_dict().keys() == state.keys()
    assert isinstance(model[1][0], SyncedBatchNorm)
    x = torch.randn(4, 2)
    assert model.eval()(x).shape == (4, 3)  # in evaluation nothing is exchanged
    assert not synchronise(nn.Linear(2, 3), torch.device("cpu"))


def test_a_layer_that_does_more_than_normalise_stays():
    class Activated(nn.BatchNorm1d):
        def forward(self, x):
            return super().forward(x).relu()

    model = nn.Sequential(Activated(3), nn.BatchNorm1d(3))
    synchronise(model, torch.device("cpu"))
    assert isinstance(model[0], Activated)
    assert isinstance(model[1], SyncedBatchNorm)
