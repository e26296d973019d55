"""Batch normalisation over the batches of all processes, so that a run does not depend on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        x = x.clone()
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient


def _sum_over_processes(x: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(x)
    return total


class SyncedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """What `torch.nn.SyncBatchNorm` computes, for processors, which that does not run on.

    Every process has equally many rows.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"an input of {input.dim()} dimensions; expected at least 2")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by mean and variance over the rows of all processes."""
        if not self.training:
            plain: Tensor = super().forward(input)
            return plain
        axes = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        n = input.numel() // input.shape[1] * distributed.get_world_size()
        wide = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        mean = _sum_over_processes(wide.sum(axes)) / n
        centred = wide - mean.view(shape)
        variance = _sum_over_processes(centred.square().sum(axes)) / n
        self._follow(mean.detach(), variance.detach() * (n / max(n - 1, 1)))
        out: Tensor = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            out = out * self.weight.view(shape)
        if self.bias is not None:
            out = out + self.bias.view(shape)
        return out.to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards this batch's."""
        if self.running_mean is None or self.running_var is None:
            return
        with torch.no_grad():
            seen = self.num_batches_tracked
            if seen is not None:
                seen += 1
            share = self.momentum
            if share is None:  # a plain average over all batches
                share = 1.0 / float(1 if seen is None else seen)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance, share)


def synchronise(module: nn.Module, device: torch.device) -> bool:
    """Put synchronised layers in the place of batch normalisation; return whether there was any."""
    if not any(type(part) in KINDS for part in module.modules()):
        return False
    _convert(module, nn.SyncBatchNorm if device.type == "cuda" else SyncedBatchNorm)
    return True


def _convert(module: nn.Module, kind: type[nn.Module]) -> None:
    for name, part in module.named_children():
        if type(part) in KINDS:  # a subclass may do more than normalise: it stays
            new = kind(part.num_features)
            new.__dict__.update(part.__dict__)  # the very same parameters, buffers and settings
            setattr(module, name, new)
        else:
            _convert(part, kind)
