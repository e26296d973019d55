"""Where a run stands: what a checkpoint holds beside weights, and sums kept on the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from resque.costs import Costs
from resque.records import Epoch, Evaluation


@dataclass(frozen=True)
class EpochSums:
    """What an epoch adds up.

    Attributes:
        steps: optimizer steps.
        losses: sum of their losses.
        norms: sum of their gradient norms.
        n_norms: number of these.
        last: the last norm.
    """

    steps: float = 0.0
    losses: float = 0.0
    norms: float = 0.0
    n_norms: float = 0.0
    last: float = 0.0


@dataclass
class Progress:
    """Where a run stands; what a checkpoint holds beside weights and states.

    Attributes:
        step: optimizer steps done.
        evaluations: so far.
        epochs: finished so far.
        tally: of the steps since the last evaluation, see `Tally`.
        in_epoch: sums over the present epoch until the last evaluation.
        epoch_began: useful costs when the present epoch began.
    """

    step: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    tally: list[float] = field(default_factory=lambda: [0.0] * 6)
    in_epoch: EpochSums = field(default_factory=EpochSums)
    epoch_began: Costs = field(default_factory=Costs)

    @staticmethod
    def from_dict(found: dict[str, Any]) -> Progress:
        """Read what `dataclasses.asdict` gave."""
        return Progress(
            found["step"],
            [Evaluation(**x) for x in found["evaluations"]],
            [Epoch(**x) for x in found["epochs"]],
            found["tally"],
            EpochSums(**found["in_epoch"]),
            Costs.from_dict(found["epoch_began"]),
        )


class Tally:
    """Sums over steps that stay on the device until an evaluation reads them.

    Holds: sum of losses, their number, sum of gradient norms, their number, the last norm, and
    the first step whose loss was no number (0: none).
    """

    def __init__(self, device: torch.device, values: list[float]) -> None:
        kind = torch.float32 if device.type == "mps" else torch.float64
        self.values = torch.tensor(values, dtype=kind, device=device)

    def add_loss(self, loss: Tensor, step: int) -> None:
        """Add a batch's loss; `step` is the number of the step it belongs to."""
        loss = loss.detach()
        self.values[0] += loss
        self.values[1] += 1
        first = self.values[5]
        bad = ~torch.isfinite(loss) & (first == 0)
        self.values[5] = torch.where(bad, torch.full_like(first, step), first)

    def add_norm(self, norm: Tensor) -> None:
        """Add a step's gradient norm; one that is no number (a skipped fp16 step) is left out."""
        fine = torch.isfinite(norm)
        self.values[2] += torch.where(fine, norm, torch.zeros_like(norm))
        self.values[3] += fine
        self.values[4] = torch.where(fine, norm.to(self.values.dtype), self.values[4])
