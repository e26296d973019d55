"""Loss and accuracy of a module over a prepared loader, exact for any number of processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from accelerate import Accelerator


def evaluate(
    accelerator: Accelerator,
    module: nn.Module | Any,
    loader: Any,
    progress: Callable[[], None] | None = None,
) -> tuple[float, float]:
    """Return mean cross-entropy in nats, and accuracy in [0, 1].

    Every row counts once: what the last batches were filled up with is cut off.

    Args:
        accelerator: the processes.
        module: in evaluation mode afterwards.
        loader: prepared by this accelerator, in a fixed order.
        progress: called after each batch.
    """
    module.eval()
    total = torch.zeros(3, dtype=torch.float64)
    for batch in loader:
        with torch.no_grad(), accelerator.autocast():
            logits = module(**batch["inputs"]).logits.float()
        targets = batch["targets"]
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        right = logits.argmax(dim=1) == targets
        losses, right = accelerator.gather_for_metrics((losses, right))
        rows = torch.tensor(float(len(right)))
        total += torch.stack([losses.double().sum().cpu(), right.double().sum().cpu(), rows])
        if progress:
            progress()
    loss, correct, rows = total.tolist()
    return loss / rows, correct / rows
