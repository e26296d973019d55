"""Finds the largest batch that fits memory, by trying a step with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from resque.processes import fit_memory, on_all
from resque.retrain_options import RetrainOptions
from resque.training_data import TrainingData

if TYPE_CHECKING:
    from accelerate import Accelerator

SHARE_OF_AN_EPOCH = 16  # an automatic batch leaves at least so many steps an epoch


def choose_batch_size(
    accelerator: Accelerator, module: nn.Module, data: TrainingData, use: RetrainOptions
) -> tuple[RetrainOptions, str]:
    """Try a step with ever smaller batches where "auto" is asked for; all processes agree."""
    if use.batch_size != "auto":
        return use, f"batch size {use.batch_size} (as asked)"
    limit = len(data.train) // (
        SHARE_OF_AN_EPOCH * use.gradient_accumulation * accelerator.num_processes
    )

    def attempt(size: int) -> int:
        size = max(1, min(size, limit))
        _try_step(accelerator, module, data, size)
        return size

    sizes = on_all(lambda: fit_memory(attempt, "auto"))
    size = 2 ** int(np.log2(min(sizes)))
    note = f"batch size {size} (chosen: fits memory, at least {SHARE_OF_AN_EPOCH} steps an epoch)"
    return replace(use, batch_size=size), note


def _try_step(accelerator: Accelerator, module: nn.Module, data: TrainingData, size: int) -> None:
    """Run one step's forward and backward pass with room for an optimizer's two states."""
    device = accelerator.device
    batch = data.train.__getitems__([i % len(data.train) for i in range(size)])
    kept = {k: v.clone() for k, v in module.state_dict().items() if "running" in k or "num_b" in k}
    module.train()
    try:
        trained = [p for p in module.parameters() if p.requires_grad]
        states = [torch.empty_like(p) for p in trained for _ in range(2)]
        with accelerator.autocast():
            output = module(**{k: v.to(device) for k, v in batch["inputs"].items()})
            loss = nn.functional.cross_entropy(output.logits.float(), batch["targets"].to(device))
        torch.autograd.backward(loss)
        del states
    finally:
        module.zero_grad(set_to_none=True)
        module.load_state_dict(kept, strict=False)
