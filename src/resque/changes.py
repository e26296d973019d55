"""How far training moved a model: gradient norm and parameter change, whole or sharded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Change:
    """Distance between two states of the trained parameters.

    Attributes:
        mean: mean over parameter tensors of ‖new − old‖₂ / √n, n their number of elements: the
            measure of the official code.
        total: sum of the same.
        norm: ‖new − old‖₂ over all parameters together.
    """

    mean: float
    total: float
    norm: float


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the 2-norm of all gradients together, before any clipping, on their device.

    Parameters without a gradient count as zero. Of sharded parameters (FSDP2) it is the norm of
    the whole gradients, the same on every process.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    return whole(nn.utils.get_total_norm(gradients))


def whole(norm: Any) -> Tensor:
    """Return a norm as a plain tensor: under FSDP2 it comes as a distributed one."""
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    return torch.as_tensor(norm).detach()


def snapshot(
    parameters: Mapping[str, nn.Parameter], device: str | torch.device = "cpu"
) -> dict[str, Tensor]:
    """Copy parameters, of sharded ones this process's part, to a device."""
    return {name: _local(p).detach().to(device, copy=True) for name, p in parameters.items()}


def parameter_change(old: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> Change:
    """Measure how far parameters are from an earlier `snapshot` of them.

    One parameter at a time is brought to the snapshot's device. Squares are summed in float64,
    and over the processes that hold shards.

    Args:
        old: the snapshot.
        parameters: the parameters now.
    """
    squares, sizes = [], []
    for name, parameter in parameters.items():
        difference = _local(parameter).detach().to(old[name].device) - old[name]
        squares.append(difference.double().square().sum().cpu())
        sizes.append(parameter.numel())
    sums = _sum_over_shards(torch.stack(squares), list(parameters.values())).tolist()
    each = [math.sqrt(s / n) for s, n in zip(sums, sizes, strict=True)]
    total = math.fsum(each)
    return Change(total / len(each), total, math.sqrt(math.fsum(sums)))


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _sum_over_shards(squares: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Add the other processes' parts to the sums of squares of the parameters that are sharded."""
    from torch import distributed

    sharded = torch.tensor([_is_sharded(p) for p in parameters])
    if not bool(sharded.any()):
        return squares
    device = parameters[0].device
    shared = torch.where(sharded, squares, torch.zeros_like(squares)).to(device)
    distributed.all_reduce(shared)
    return torch.where(sharded, shared.cpu(), squares)


def _is_sharded(parameter: nn.Parameter) -> bool:
    placements = getattr(parameter, "placements", ())
    return any(placement.is_shard() for placement in placements)
