"""The cost record: what one retraining run was, what came out of it, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from resque.documents import plain, read_document
from resque.errors import ResqueError
from resque.files import append_line

SCHEMA_VERSION = 1
FILE_NAME = "records.jsonl"


@dataclass(frozen=True)
class ModelPart:
    """The model that was trained.

    Attributes:
        name: id or folder.
        revision: commit on the Hub, where known.
        weights: digest of a sample of the weights before training, which tells models apart.
        parameters: number of parameters in all.
        parameters_trained: number of those that were trained.
        new_head: whether the classifier head was made anew for this data's classes; None where
            that is not known.
    """

    name: str
    revision: str | None
    weights: str | None
    parameters: int
    parameters_trained: int
    new_head: bool | None


@dataclass(frozen=True)
class DataPart:
    """The data that was trained and evaluated on.

    Attributes:
        dataset: `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]` of the training rows.
        revision: commit on the Hub, where known.
        fingerprint: digest of the training rows.
        rows: number of training rows.
        eval_dataset: the same of the evaluation rows, which are apart from the training rows.
        eval_fingerprint: digest of the evaluation rows.
        eval_rows: number of evaluation rows.
        classes: number of classes.
        corruption: "NAME:LEVEL" applied to training and evaluation rows, or None.
        corruption_seed: of the evaluation rows' corruption (training rows have the next one).
    """

    dataset: str
    revision: str | None
    fingerprint: str | None
    rows: int
    eval_dataset: str | None
    eval_fingerprint: str | None
    eval_rows: int
    classes: int | None
    corruption: str | None = None
    corruption_seed: int | None = None


@dataclass(frozen=True)
class TrainingPart:
    """How it was trained.

    Attributes:
        strategy: "full", "head", "lora" or "scratch"; "partial" where Trainer trained some weights.
        lora_rank: rank of the adapters, or None.
        optimizer: "adamw" or "sgd" (from Trainer: its own name).
        learning_rate: highest of the schedule.
        weight_decay: of the optimizer.
        momentum: of SGD, or None.
        schedule: of the learning rate: "constant", "linear", "cosine", …
        warmup_steps: steps in which the learning rate rises.
        clip_norm: gradients are clipped to this norm, or None.
        batch_size: rows at once on one process.
        gradient_accumulation: batches a step.
        world_size: processes.
        nodes: machines.
        effective_batch_size: rows a step, over all processes.
        precision: "no" (float32), "fp16", "bf16".
        gradient_checkpointing: whether activations were computed twice to save memory.
        compiled: whether torch.compile was used.
        eval_every: steps from one evaluation to the next, or None.
        steps_per_epoch: steps of a whole epoch.
        seed: of head, order, dropout, split and corruption.
    """

    strategy: str
    lora_rank: int | None
    optimizer: str
    learning_rate: float
    weight_decay: float
    momentum: float | None
    schedule: str
    warmup_steps: int
    clip_norm: float | None
    batch_size: int
    gradient_accumulation: int
    world_size: int
    nodes: int
    effective_batch_size: int
    precision: str
    gradient_checkpointing: bool
    compiled: bool
    eval_every: int | None
    steps_per_epoch: int
    seed: int


@dataclass(frozen=True)
class TargetPart:
    """What the run was to reach.

    Attributes:
        kind: "accuracy", or "recovery": a share of the accuracy on the original data.
        value: as asked, in [0, 1].
        accuracy: the evaluation accuracy that this means, in [0, 1].
        original_accuracy: the model's accuracy on the original data, for "recovery".
    """

    kind: str
    value: float
    accuracy: float
    original_accuracy: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Attributes:
        step: optimizer steps before it.
        epoch: the same in epochs.
        train_loss: mean loss of the steps since the evaluation before, in nats; None at step 0.
        eval_loss: mean loss over the evaluation rows, in nats.
        eval_accuracy: over the evaluation rows, in [0, 1].
    """

    step: int
    epoch: float
    train_loss: float | None
    eval_loss: float | None
    eval_accuracy: float | None


@dataclass(frozen=True)
class Epoch:
    """One epoch, or the part of it until the run ended. Costs are those of training alone.

    Attributes:
        epoch: where it ended, in epochs since the start: 1.0, 2.0, … or a fraction.
        steps: optimizer steps in it.
        train_loss: mean loss of its steps, in nats.
        eval_loss: of its last evaluation, in nats.
        eval_accuracy: of its last evaluation, in [0, 1].
        grad_norm: mean over its steps of the norm of all gradients, before clipping.
        grad_norm_last: the same of its last mini-batch (the measure of the official code).
        grad_norm_steps: steps that the mean is over.
        param_change_from_start: mean over parameter tensors of ‖Δ‖₂/√n since the start (the
            measure of the official code).
        param_change_from_start_sum: sum of the same.
        param_change_from_start_norm: ‖Δ‖₂ over all trained parameters since the start.
        param_change_from_previous: mean ‖Δ‖₂/√n since the end of the epoch before.
        param_change_from_previous_sum: sum of the same.
        param_change_from_previous_norm: ‖Δ‖₂ since the end of the epoch before.
        learning_rate: at its last step.
        seconds: of training in it.
        seconds_waiting: of these, waiting for data.
        samples_per_second: training rows a second, over all processes.
        energy_kwh: of training in it, all machines, in kWh.
        peak_memory_host_bytes: most resident memory of a process so far.
        peak_memory_device_bytes: most accelerator memory of a process in it, or None.
    """

    epoch: float
    steps: int
    train_loss: float | None
    eval_loss: float | None
    eval_accuracy: float | None
    grad_norm: float | None
    grad_norm_last: float | None
    grad_norm_steps: int
    param_change_from_start: float | None
    param_change_from_start_sum: float | None
    param_change_from_start_norm: float | None
    param_change_from_previous: float | None
    param_change_from_previous_sum: float | None
    param_change_from_previous_norm: float | None
    learning_rate: float | None
    seconds: float
    seconds_waiting: float | None
    samples_per_second: float | None
    energy_kwh: float
    peak_memory_host_bytes: int | None
    peak_memory_device_bytes: int | None


@dataclass(frozen=True)
class Parts:
    """A quantity by part of the machine.

    Attributes:
        cpu: of the processors.
        gpu: of the accelerators.
        ram: of the memory.
    """

    cpu: float
    gpu: float
    ram: float


@dataclass(frozen=True)
class Methods:
    """How the energy of each part is known.

    Attributes:
        cpu: "measured: …" or "estimated: …".
        gpu: the same, or "none: …".
        ram: the same.
    """

    cpu: str
    gpu: str
    ram: str


@dataclass(frozen=True)
class Wasted:
    """Work that was lost to crashes or interruptions and done again.

    Attributes:
        seconds: of training and evaluation.
        energy_kwh: in kWh.
        co2eq_kg: in kg.
    """

    seconds: float = 0.0
    energy_kwh: float = 0.0
    co2eq_kg: float = 0.0


@dataclass(frozen=True)
class Measured:
    """A mean with its 95 % interval (Student's t over blocks of steps).

    Attributes:
        value: the mean.
        interval: its 95 % interval.
    """

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Probe:
    """A short run's rates, for forecasts.

    Attributes:
        warmup_steps: steps before it, not counted.
        steps: steps measured.
        blocks: blocks of equally many steps that the intervals are over.
        seconds_per_step: in s.
        energy_kwh_per_step: in kWh, all machines.
    """

    warmup_steps: int
    steps: int
    blocks: int
    seconds_per_step: Measured
    energy_kwh_per_step: Measured


@dataclass(frozen=True)
class Host:
    """What it ran on. Nothing here names the machine or its user.

    Attributes:
        processor: model of the processor.
        cores: logical processors of one machine.
        memory_bytes: of one machine.
        accelerators: model of each accelerator in use on one machine.
        system: operating system.
        versions: of Python, resque and the libraries.
    """

    processor: str
    cores: int
    memory_bytes: int
    accelerators: tuple[str, ...]
    system: str
    versions: dict[str, str]


@dataclass(frozen=True)
class CostRecord:
    """One retraining run: one line of `records.jsonl`.

    Attributes:
        schema_version: of this form; see `cost_record.schema.json` in the package.
        run_id: random, the same after a resume.
        measure: "retrain"; "probe" for a short run that gives rates; "trainer" where Trainer ran.
        model: the model.
        data: the data.
        training: how it was trained.
        target: what it was to reach, or None.
        epochs_limit: epochs after which it ends.
        patience: the patience rules, "DIFFERENCE:EPOCHS" each.
        reached: whether the target was met; None without a target.
        rule: what ended it: "target", "patience_1", "patience_2", "epochs" (the limit),
            "diverged" (a loss that is no number), "probe", or "trainer".
        epochs_to_target: epochs until the target, interpolated between evaluations; None where
            it was not met (a censored observation: more than were run).
        steps_to_target: the same in steps.
        resolution_steps: steps between the two evaluations that it is interpolated from.
        accuracy_before: at step 0, in [0, 1].
        accuracy_best: highest of all evaluations, in [0, 1].
        epoch_of_best: epoch of the first evaluation with it.
        accuracy_final: at the end, in [0, 1].
        diverged_at_step: first step whose loss was no number, or None.
        evaluations: each evaluation.
        epochs: each epoch.
        seconds_training: of training, with the wait for its data.
        seconds_evaluation: of evaluation, not charged to training.
        seconds_waiting: of training, waiting for data.
        seconds_overhead: setting up, measuring parameter change, saving.
        device_seconds: training seconds × processes.
        flops: floating-point operations of training, an estimate; None where unknown.
        flops_method: how they were estimated.
        energy_kwh: of training, all machines, in kWh. Measured or estimated: see energy_method.
        energy_parts_kwh: the same by part.
        evaluation_energy_kwh: of evaluation.
        overhead_energy_kwh: of what is neither.
        co2eq_kg: of training, in kg: energy × grid intensity.
        co2eq_parts_kg: the same by part.
        evaluation_co2eq_kg: of evaluation.
        energy_method: how each part is known.
        country: ISO 3166 code, or None.
        grid_intensity_g_per_kwh: g CO2eq per kWh.
        grid_source: where the intensity is from.
        price_per_hour: of all hardware together, as given, or None.
        price: of training, in the same currency, or None.
        wasted: work lost and done again; in none of the figures above.
        resumes: how often the run went on after an end before its end.
        host: what it ran on.
        command: the command line.
        started: UTC, ISO 8601.
        ended: UTC, ISO 8601; of the last attempt.
        probe: rates, for measure "probe".
        notes: what was chosen automatically, a line each.
    """

    schema_version: int
    run_id: str
    measure: str
    model: ModelPart
    data: DataPart
    training: TrainingPart
    target: TargetPart | None
    epochs_limit: float
    patience: tuple[str, ...]
    reached: bool | None
    rule: str
    epochs_to_target: float | None
    steps_to_target: float | None
    resolution_steps: int | None
    accuracy_before: float | None
    accuracy_best: float | None
    epoch_of_best: float | None
    accuracy_final: float | None
    diverged_at_step: int | None
    evaluations: tuple[Evaluation, ...]
    epochs: tuple[Epoch, ...]
    seconds_training: float
    seconds_evaluation: float
    seconds_waiting: float | None
    seconds_overhead: float
    device_seconds: float
    flops: float | None
    flops_method: str | None
    energy_kwh: float
    energy_parts_kwh: Parts
    evaluation_energy_kwh: float
    overhead_energy_kwh: float
    co2eq_kg: float
    co2eq_parts_kg: Parts
    evaluation_co2eq_kg: float
    energy_method: Methods
    country: str | None
    grid_intensity_g_per_kwh: float
    grid_source: str
    price_per_hour: float | None
    price: float | None
    wasted: Wasted
    resumes: int
    host: Host
    command: str
    started: str
    ended: str
    probe: Probe | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; numbers that are not finite become None."""
        found: dict[str, Any] = plain(asdict(self))
        return found

    @staticmethod
    def from_dict(found: Any) -> CostRecord:
        """Read what `to_dict` gave.

        Raises:
            ResqueError: where it is no record, or one of a newer form.
        """
        record: CostRecord = read_document(CostRecord, found, SCHEMA_VERSION, "cost record")
        return record

    @property
    def energy_is_measured(self) -> bool:
        """Whether no part of the energy is an estimate."""
        methods = asdict(self.energy_method).values()
        return not any(method.startswith("estimated") for method in methods)


def append_record(record: CostRecord, path: Path) -> None:
    """Add a record to a file of JSON lines, on the disk before it returns.

    Raises:
        ResqueError: where it cannot be written; the file is then as it was.
    """
    append_line(record.to_dict(), path)


def read_records(path: str | Path) -> list[CostRecord]:
    """Read the records of a file, or of `records.jsonl` in a folder.

    Raises:
        ResqueError: where it cannot be read, or a line is no record; names the line.
    """
    file = Path(path)
    file = file / FILE_NAME if file.is_dir() else file
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # and at nothing else, as U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise ResqueError(f"cannot read {file}: {error}") from error
    return list(_parse(lines, file))


def _parse(lines: Iterable[str], file: Path) -> Iterable[CostRecord]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield CostRecord.from_dict(json.loads(line))
        except ValueError as error:
            raise ResqueError(f"line {number} of {file} is no cost record: {error}") from error
