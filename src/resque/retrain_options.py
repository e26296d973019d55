"""The options of a retraining run, and the choices that are made where they are left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from resque.errors import UsageError
from resque.options import Options, check_known
from resque.strategies import STRATEGIES
from resque.targets import Patience

if TYPE_CHECKING:
    from torch import nn

OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = ("auto", "no", "fp16", "bf16")
MEASURES = ("retrain", "probe")
TRACKERS = ("none", "tensorboard", "trackio", "wandb")
EVALUATIONS_PER_EPOCH = 8
# What a resumed run may change: nothing of it changes what the run does.
MAY_CHANGE = frozenset({
    "workers", "checkpoint_every", "report_to", "timeout", "progress", "token",
    "param_change_device", "price_per_hour", "country", "grid_intensity", "trust_remote_code",
})  # fmt: skip


@dataclass(frozen=True)
class RetrainOptions:
    """What `retrain` takes beside model, data and output folder.

    Attributes:
        target_accuracy: stop at this evaluation accuracy, in (0, 1].
        target_recovery: or at this share of the accuracy on the original data, in (0, 1].
        original: the original data; None for the data before a corruption.
        epochs: stop after so many, a fraction too.
        patience: stop near the target, see `targets.Patience`; up to two.
        strategy: "full", "head", "lora" or "scratch".
        lora_rank: rank of LoRA's adapters.
        head: "auto", "keep" the checkpoint's head, or "new".
        corruption: "NAME:LEVEL" or "NAME:severity=N", on training and evaluation rows.
        eval_split: of the data set; None for its validation or test split, else a part of the
            training rows.
        eval_every: steps between evaluations; None for eight an epoch.
        max_samples: draw so many training rows.
        max_eval_samples: draw so many evaluation rows.
        input_columns: one column, or two for a pair of texts; found where None.
        label_column: found where None.
        optimizer: "adamw" or "sgd".
        learning_rate: None for one by strategy and architecture.
        weight_decay: of the optimizer.
        momentum: of SGD.
        schedule: of the learning rate, a name that transformers' `get_scheduler` knows.
        warmup_steps: in which the learning rate rises.
        clip_norm: clip gradients to this norm.
        batch_size: rows at once on a process, or "auto".
        gradient_accumulation: batches a step.
        precision: "auto", "no" (float32), "fp16" or "bf16".
        gradient_checkpointing: compute activations twice to save memory.
        compile: run the model through torch.compile.
        measure: "retrain", or "probe" for a short run that gives rates.
        probe_steps: steps of a probe after its warm-up.
        seed: of head, order, dropout, split and corruption.
        workers: data-loader processes.
        checkpoint_every: steps between checkpoints; None for one an epoch.
        param_change_device: "auto", "cpu", or "model" for the model's device.
        country: ISO 3166 code of three letters, for the grid.
        grid_intensity: g CO2eq per kWh, in place of the country's.
        price_per_hour: of all hardware together.
        report_to: "none", "tensorboard", "trackio" or "wandb".
        timeout: seconds without progress after which a run ends.
        device: "auto" or "cpu".
        trust_remote_code: run code that a repository brings.
        token: for the Hub; never stored.
        progress: show a bar on terminals.
    """

    target_accuracy: float | None = None
    target_recovery: float | None = None
    original: Any = None
    epochs: float = 3.0
    patience: tuple[Patience, ...] = ()
    strategy: str = "full"
    lora_rank: int = 8
    head: str = "auto"
    corruption: str | None = None
    eval_split: str | None = None
    eval_every: int | None = None
    max_samples: int | None = None
    max_eval_samples: int | None = None
    input_columns: str | Sequence[str] | None = None
    label_column: str | None = None
    optimizer: str = "adamw"
    learning_rate: float | None = None
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float | None = None
    batch_size: int | str = 32
    gradient_accumulation: int = 1
    precision: str = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    measure: str = "retrain"
    probe_steps: int = 40
    seed: int = 0
    workers: int = 0
    checkpoint_every: int | None = None
    param_change_device: str = "auto"
    country: str | None = None
    grid_intensity: float | None = None
    price_per_hour: float | None = None
    report_to: str = "none"
    timeout: float = 1800.0
    device: str = "auto"
    trust_remote_code: bool = False
    token: str | None = field(default=None, repr=False)
    progress: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.input_columns, str):
            object.__setattr__(self, "input_columns", (self.input_columns,))
        self._check_targets()
        for name, known in (
            ("strategy", STRATEGIES),
            ("optimizer", OPTIMIZERS),
            ("precision", PRECISIONS),
            ("measure", MEASURES),
            ("report_to", TRACKERS),
            ("param_change_device", ("auto", "cpu", "model")),
        ):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise UsageError(f"{name} is {value!r}; expected one of {', '.join(known)}")
        if self.batch_size != "auto" and not isinstance(self.batch_size, int):
            raise UsageError(f"batch_size is {self.batch_size!r}; expected 1 or more, or 'auto'")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, int | float) and not value >= least:
                raise UsageError(f"{name} is {value:g}; expected at least {least:g}")
        for name in ("epochs", "learning_rate", "clip_norm", "timeout"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value:g}; expected a number above 0")

    def _check_targets(self) -> None:
        if self.target_accuracy is not None and self.target_recovery is not None:
            raise UsageError("give --target-accuracy or --target-recovery, not both")
        for name in ("target_accuracy", "target_recovery"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"{name} is {value:g}; expected a share above 0, at most 1")
        if len(self.patience) > 2:
            raise UsageError(f"{len(self.patience)} patience rules; the official code has two")
        if self.patience and self.target_accuracy is None and self.target_recovery is None:
            raise UsageError("--patience is about a target: give --target-accuracy too")

    @property
    def reading(self) -> Options:
        """How data and model are read."""
        return Options(
            labels="data",
            max_samples=self.max_samples,
            input_columns=self.input_columns,
            label_column=self.label_column,
            seed=self.seed,
            device=self.device,
            dtype="float32",
            trust_remote_code=self.trust_remote_code,
            token=self.token,
            progress=self.progress,
        )

    def identity(self) -> dict[str, Any]:
        """Return the options that a resumed run must share, as plain JSON types."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in MAY_CHANGE}
        found["patience"] = [str(rule) for rule in self.patience]
        found["original"] = None if self.original is None else str(self.original)
        found["input_columns"] = list(self.input_columns) if self.input_columns else None
        return found


_LEAST = {
    "batch_size": 1,
    "gradient_accumulation": 1,
    "eval_every": 1,
    "checkpoint_every": 1,
    "max_samples": 1,
    "max_eval_samples": 1,
    "lora_rank": 1,
    "probe_steps": 2,
    "warmup_steps": 0,
    "weight_decay": 0,
    "momentum": 0,
    "workers": 0,
    "seed": 0,
    "price_per_hour": 0,
    "grid_intensity": 0,
}


def make_retrain_options(given: dict[str, Any]) -> RetrainOptions:
    """Return the options, or say which of them is unknown.

    Raises:
        TypeError: for an unknown option.
        UsageError: for one out of range.
    """
    check_known(given, RetrainOptions)
    return RetrainOptions(**given)


def choose_learning_rate(use: RetrainOptions, module: nn.Module) -> tuple[RetrainOptions, str]:
    """Fill in the learning rate where none is given, with a line that says why."""
    if use.learning_rate is not None:
        return use, f"learning rate {use.learning_rate:g}"
    attends = any("attention" in type(part).__name__.lower() for part in module.modules())
    if use.strategy == "lora":
        rate, why = 3e-4, "LoRA"
    elif use.strategy == "full" and attends:
        rate, why = 5e-5, "all weights of a transformer, as Trainer"
    else:
        rate, why = 1e-3, "a head, a convolutional network, or training from scratch"
    if use.optimizer == "sgd":
        rate *= 10
    return replace(use, learning_rate=rate), f"learning rate {rate:g} (chosen: {why})"
