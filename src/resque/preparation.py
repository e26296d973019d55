"""Makes a run ready: processes, model, data, strategy, batch size, loaders and optimizer."""

from __future__ import annotations

import datetime
import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from resque import batch_norm, strategies
from resque.batch_size import choose_batch_size
from resque.errors import ResqueError, UsageError, first_line
from resque.measurement import load_model
from resque.models import digest_of, find_head
from resque.processes import together
from resque.recording import all_versions
from resque.records import TargetPart
from resque.retrain_options import EVALUATIONS_PER_EPOCH, RetrainOptions, choose_learning_rate
from resque.shifts import parse_corruption
from resque.training_data import EpochSampler, Samples, TrainingData, open_training_data

if TYPE_CHECKING:
    from accelerate import Accelerator

    from resque.models import Model

log = logging.getLogger(__name__)
ON_MODEL_BYTES = 100_000_000  # parameters up to this size are copied on the model's own device


@dataclass
class Setup:
    """A run that is ready to begin.

    Attributes:
        accelerator: the processes.
        model: the checkpoint, with its processor.
        inner: the module itself; `module` may wrap it.
        module: what is called.
        optimizer: over the trained parameters.
        scheduler: of the learning rate, stepped once a step.
        train_loader: this process's training batches.
        eval_loader: this process's evaluation batches.
        sampler: the order of the training rows.
        data: the rows behind both.
        use: the options, all choices made.
        target: what is to be reached, or None.
        parameters: the trained ones by name.
        weights: digest of the weights before training.
        n_parameters: of the whole model.
        n_trained: of these, trained.
        steps_per_epoch: whole steps an epoch.
        sample_flops: of a forward pass of one sample, or None.
        notes: what was chosen automatically, a line each.
    """

    accelerator: Accelerator
    model: Model
    inner: nn.Module
    module: Any
    optimizer: Any
    scheduler: Any
    train_loader: Any
    eval_loader: Any
    sampler: EpochSampler
    data: TrainingData
    use: RetrainOptions
    target: TargetPart | None
    parameters: dict[str, nn.Parameter]
    weights: str
    n_parameters: int
    n_trained: int
    steps_per_epoch: int
    sample_flops: float | None
    notes: tuple[str, ...]

    @property
    def effective_batch_size(self) -> int:
        """Rows a step, over all processes."""
        return rows_a_step(self.use, self.accelerator.num_processes)

    @property
    def snapshot_device(self) -> torch.device:
        """Where copies of the trained parameters lie."""
        size = sum(p.numel() * p.element_size() for p in self.parameters.values())
        chosen = self.use.param_change_device
        on_model = chosen == "model" or (chosen == "auto" and size <= ON_MODEL_BYTES)
        return self.accelerator.device if on_model else torch.device("cpu")


def rows_a_step(use: RetrainOptions, world: int) -> int:
    """Return the effective batch size."""
    return int(use.batch_size) * use.gradient_accumulation * world


def make_accelerator(use: RetrainOptions, output_dir: Path) -> tuple[Accelerator, str]:
    """Start accelerate as the options and its launcher say, with a line on the precision.

    Raises:
        UsageError: for a tracker that is not installed, or a device that is not there.
    """
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    if use.report_to != "none" and importlib.util.find_spec(use.report_to) is None:
        raise UsageError(
            f"--report-to {use.report_to} needs that library: pip install {use.report_to}"
        )
    if use.device not in ("auto", "cpu"):
        raise UsageError(f"device is {use.device!r}; expected auto or cpu")
    asked = use.device == "cpu" or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1")
    cpu = asked or not torch.accelerator.is_available()
    precision, why = _choose_precision(use, cpu)
    AcceleratorState._reset_state()  # an earlier run of this process may have had another precision
    limit = datetime.timedelta(seconds=use.timeout)
    accelerator = Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=use.gradient_accumulation,
        cpu=cpu,
        dynamo_backend="inductor" if use.compile else None,
        log_with=None if use.report_to == "none" else use.report_to,
        project_dir=str(output_dir),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=limit)],
    )
    _check_sharding(accelerator, use)
    return accelerator, f"precision {precision} ({why})"


def _check_sharding(accelerator: Accelerator, use: RetrainOptions) -> None:
    kind = accelerator.distributed_type
    if kind == "FSDP" and not getattr(accelerator, "is_fsdp2", False):
        raise UsageError("FSDP 1 flattens parameters; take version 2 (fsdp_version: 2)")
    if kind in ("FSDP", "DEEPSPEED") and use.strategy == "lora":
        raise UsageError(
            f"--strategy lora adds its adapters into whole weights, which {kind} shards: launch "
            "it without, or take another strategy"
        )
    if kind == "DEEPSPEED":  # it clips by its own settings, where accelerate reads none as 1.0
        accelerator.deepspeed_plugin.deepspeed_config["gradient_clipping"] = use.clip_norm or 0.0


def _choose_precision(use: RetrainOptions, cpu: bool) -> tuple[str, str]:
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if use.precision != "auto":
        return use.precision, "as asked"
    if launched:
        return launched, "as accelerate was launched"
    if not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported():
        return "bf16", "chosen: the accelerator has it"
    return "no", "chosen: float32"


def prepare(
    accelerator: Accelerator,
    model: Any,
    dataset: Any,
    use: RetrainOptions,
    evaluate: Callable[[nn.Module, Any], tuple[float, float]],
) -> Setup:
    """Load model and data, apply the strategy and make everything ready.

    Args:
        accelerator: the processes.
        model: `ID_OR_FOLDER[@REVISION]` or a transformers classifier.
        dataset: `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]` or a `datasets` object.
        use: the options.
        evaluate: returns loss and accuracy of a module over a loader, for the target.

    Raises:
        ResqueError: where something does not fit; on one process, then on all.
    """
    from accelerate import DistributedDataParallelKwargs

    loaded, data = together(lambda: _load(model, dataset, use))
    if loaded.modality == "audio":  # wav2vec2 leaves a parameter out of some steps
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    target = _find_target(accelerator, loaded, data, use, evaluate)
    module = _build(loaded, data, use)
    use, rate_note = choose_learning_rate(use, module)
    use, batch_note = choose_batch_size(accelerator, module, data, use)
    rows = len(data.train)
    step = rows_a_step(use, accelerator.num_processes)
    if rows < step:
        raise UsageError(
            f"{rows} training rows are fewer than one step takes: {step} = batch size "
            f"{use.batch_size} × accumulation {use.gradient_accumulation} × "
            f"{accelerator.num_processes} processes. Take a smaller --batch-size"
        )
    steps_per_epoch = rows // step
    flops, flops_note = _count_flops(module, data, loaded)
    weights = digest_of(module)
    norm_note: tuple[str, ...] = ()
    if accelerator.num_processes > 1 and batch_norm.synchronise(module, accelerator.device):
        norm_note = ("batch normalisation is over the batches of all processes",)
    if use.gradient_checkpointing:
        _checkpoint_gradients(module)
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = _optimizer(trained, use)
    sampler = EpochSampler(rows, steps_per_epoch * step, use.seed)
    loader = make_loader(data.train, int(use.batch_size), use.workers, sampler)
    evaluation = make_loader(data.evaluation, int(use.batch_size), use.workers)
    n_parameters = sum(p.numel() for p in module.parameters())
    n_trained = sum(p.numel() for p in trained)
    try:
        wrapped, optimizer, loader, evaluation = accelerator.prepare(
            module, optimizer, loader, evaluation
        )
    except NotImplementedError as error:
        raise UsageError(f"accelerate cannot shard {loaded.name}: {first_line(error)}") from error
    scheduler = _scheduler(optimizer, use, steps_per_epoch)
    accelerator.register_for_checkpointing(scheduler)
    use, every_note = _choose_intervals(use, steps_per_epoch)
    named = accelerator.unwrap_model(wrapped).named_parameters()
    return Setup(
        accelerator=accelerator,
        model=loaded,
        inner=module,
        module=wrapped,
        optimizer=optimizer,
        scheduler=scheduler,
        train_loader=loader,
        eval_loader=evaluation,
        sampler=sampler,
        data=data,
        use=use,
        target=target,
        parameters={name: p for name, p in named if p.requires_grad},
        weights=weights,
        n_parameters=n_parameters,
        n_trained=n_trained,
        steps_per_epoch=steps_per_epoch,
        sample_flops=flops,
        notes=(*data.notes, rate_note, batch_note, every_note, *norm_note, *flops_note),
    )


def _load(model: Any, dataset: Any, use: RetrainOptions) -> tuple[Model, TrainingData]:
    loaded = load_model(model, use.reading)
    if not hasattr(loaded.module, "config"):
        raise ResqueError(f"{loaded.name} is no transformers model; retrain takes those")
    if "ForTokenClassification" in type(loaded.module).__name__:
        raise ResqueError(
            f"{loaded.name} classifies each word; retrain takes models that classify a whole "
            "sample, as those of sequence, image or audio classification"
        )
    corruption = parse_corruption(use.corruption, use.seed) if use.corruption else None
    data = open_training_data(
        loaded,
        dataset,
        use.reading,
        eval_split=use.eval_split,
        max_eval_samples=use.max_eval_samples,
        original=use.original,
        recovery=use.target_recovery is not None,
        corruption=corruption,
        head=use.head,
    )
    return loaded, data


def _find_target(
    accelerator: Accelerator,
    model: Model,
    data: TrainingData,
    use: RetrainOptions,
    evaluate: Callable[[nn.Module, Any], tuple[float, float]],
) -> TargetPart | None:
    if use.target_accuracy is not None:
        return TargetPart("accuracy", use.target_accuracy, use.target_accuracy)
    if data.original is None or use.target_recovery is None:
        return None
    size = 64 if use.batch_size == "auto" else int(use.batch_size)
    loader = make_loader(data.original, size, use.workers)
    _, accuracy = evaluate(model.module, accelerator.prepare_data_loader(loader))
    share = use.target_recovery
    return TargetPart("recovery", share, share * accuracy, accuracy)


def _build(model: Model, data: TrainingData, use: RetrainOptions) -> nn.Module:
    """Return the module with its head and strategy, random parts by the seed."""
    from accelerate.utils import set_seed

    set_seed(use.seed)
    module = model.module
    if data.classes.new_head:
        module = strategies.give_new_head(model, data.classes.names)
    if find_head(module) is None:
        raise ResqueError(f"{model.name} has no classifier head; --head new gives it one")
    module = strategies.prepare(module, use.strategy, use.lora_rank)
    set_seed(use.seed, device_specific=True)
    return module


def make_loader(
    samples: Samples,
    batch_size: int,
    workers: int,
    sampler: EpochSampler | None = None,
) -> Any:
    """Return batches; its own generator keeps it from drawing on the training's random numbers."""
    return DataLoader(
        samples,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_as_it_is,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
        persistent_workers=workers > 0,
    )


def _as_it_is(batch: Any) -> Any:
    return batch  # `Samples` gives whole batches


def _choose_intervals(use: RetrainOptions, steps_per_epoch: int) -> tuple[RetrainOptions, str]:
    every = use.eval_every or max(1, steps_per_epoch // EVALUATIONS_PER_EPOCH)
    save = use.checkpoint_every or steps_per_epoch
    how = "as asked" if use.eval_every else f"chosen: {EVALUATIONS_PER_EPOCH} an epoch"
    note = f"an epoch has {steps_per_epoch} steps; evaluation every {every} ({how})"
    return replace(use, eval_every=every, checkpoint_every=save), note


def _count_flops(
    module: nn.Module, data: TrainingData, model: Model
) -> tuple[float | None, tuple[str, ...]]:
    n = min(4, len(data.train))
    inputs = data.train.__getitems__(list(range(n)))["inputs"]
    try:
        total = strategies.forward_flops(
            module, {name: x.to(model.device) for name, x in inputs.items()}
        )
    except (NotImplementedError, RuntimeError) as error:
        return None, (f"floating-point operations are not known: {first_line(error)}",)
    return total / n, ()


def _checkpoint_gradients(module: Any) -> None:
    try:
        module.gradient_checkpointing_enable({"use_reentrant": False})
    except (ValueError, AttributeError) as error:
        raise UsageError(f"no gradient checkpointing: {first_line(error)}") from error


def _optimizer(trained: list[nn.Parameter], use: RetrainOptions) -> torch.optim.Optimizer:
    rate, decay = use.learning_rate or 0.0, use.weight_decay
    if use.optimizer == "sgd":
        return torch.optim.SGD(trained, lr=rate, momentum=use.momentum, weight_decay=decay)
    return torch.optim.AdamW(trained, lr=rate, weight_decay=decay)


def _scheduler(optimizer: Any, use: RetrainOptions, steps_per_epoch: int) -> Any:
    from transformers import get_scheduler

    plain = optimizer
    while not isinstance(plain, torch.optim.Optimizer):  # accelerate's and DeepSpeed's wrappers
        plain = plain.optimizer
    warms_up = use.schedule == "constant" and use.warmup_steps  # which "constant" leaves out
    try:
        return get_scheduler(
            "constant_with_warmup" if warms_up else use.schedule,
            plain,
            num_warmup_steps=use.warmup_steps,
            num_training_steps=total_steps(use, steps_per_epoch),
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"no schedule {use.schedule!r}: {first_line(error)}") from error


def total_steps(use: RetrainOptions, steps_per_epoch: int) -> int:
    """Return the steps after which a run ends at the latest."""
    return max(1, round(use.epochs * steps_per_epoch))


def check_alike(setup: Setup) -> None:
    """Refuse to go on where processes have other versions, weights or data.

    Raises:
        ResqueError: naming the process and what differs.
    """
    from accelerate.utils import gather_object

    if setup.accelerator.num_processes == 1:
        return
    own = {**all_versions(), "weights": setup.weights, "data": setup.data.digests}
    found = gather_object([own])
    for rank, other in enumerate(found):
        differ = [
            f"{k} {other[k]} (process 0: {found[0][k]})" for k in own if other[k] != found[0][k]
        ]
        if differ:
            raise ResqueError(f"process {rank} has another {'; '.join(differ)}")
