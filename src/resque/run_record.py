"""Makes the cost record of a run that has ended."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from resque import run_folder
from resque.changes import Change
from resque.costs import Costs
from resque.preparation import Setup
from resque.progress import Progress
from resque.recording import Rates, cost_fields, describe_host, local_world_size
from resque.records import (
    SCHEMA_VERSION,
    CostRecord,
    DataPart,
    Evaluation,
    ModelPart,
    Probe,
    TargetPart,
    TrainingPart,
)
from resque.run_folder import Attempt
from resque.targets import best, crossing

# Of a forward pass: the pass itself, and backward through activations 1, through weights 1.
FLOPS_FACTORS = {"full": 3.0, "scratch": 3.0, "lora": 2.0, "head": 1.0}
FLOPS_METHOD = "torch FlopCounterMode: forward pass of up to 4 training rows, × {:g} × rows trained"


def make_record(
    setup: Setup,
    progress: Progress,
    attempt: Attempt,
    rule: str,
    costs: Costs,
    rates: Rates,
    *,
    diverged_at: int | None = None,
    probe: Probe | None = None,
    command: str = "",
    notes: tuple[str, ...] = (),
) -> CostRecord:
    """Return the record.

    Args:
        setup: the run.
        progress: what came out.
        attempt: how it went on.
        rule: what ended it.
        costs: useful costs, energy of all machines.
        rates: grid, methods and price.
        diverged_at: first step whose loss was no number.
        probe: rates, for a probe.
        command: that does it again.
        notes: what was chosen automatically.
    """
    use, found = setup.use, progress.evaluations
    world = setup.accelerator.num_processes
    return CostRecord(
        schema_version=SCHEMA_VERSION,
        run_id=attempt.run_id,
        measure=use.measure,
        model=model_part(setup),
        data=data_part(setup),
        training=training_part(setup),
        target=setup.target,
        epochs_limit=use.epochs,
        patience=tuple(map(str, use.patience)),
        rule=rule,
        **outcome_fields(rule, found, None if probe else setup.target),
        diverged_at_step=diverged_at,
        epochs=tuple(progress.epochs),
        **_flops_fields(setup, progress.step),
        **cost_fields(costs, attempt.wasted, rates, world),
        resumes=attempt.number,
        host=describe_host(),
        command=command,
        started=attempt.started,
        ended=run_folder.utc_now(),
        probe=probe,
        notes=notes,
    )


def outcome_fields(rule: str, found: list[Evaluation], target: TargetPart | None) -> dict[str, Any]:
    """Return the fields of a record that say what came out of its evaluations.

    Args:
        rule: what ended the run; "target" where its last evaluation met the target.
        found: its evaluations, in order.
        target: what it was to reach, or None.
    """
    points = [(e.epoch, e.eval_accuracy) for e in found if e.eval_accuracy is not None]
    epoch_of_best, highest = best(points) if points else (None, None)
    epochs, steps, resolution = _to_target(rule, found, target)
    return {
        "reached": None if target is None else rule == "target",
        "epochs_to_target": epochs,
        "steps_to_target": steps,
        "resolution_steps": resolution,
        "accuracy_before": found[0].eval_accuracy if found and found[0].step == 0 else None,
        "accuracy_best": highest,
        "epoch_of_best": epoch_of_best,
        "accuracy_final": points[-1][1] if points else None,
        "evaluations": tuple(found),
    }


def _to_target(
    rule: str, found: list[Evaluation], target: TargetPart | None
) -> tuple[float | None, float | None, int | None]:
    """Return epochs and steps to the target, and the steps that they are interpolated over."""
    if rule != "target" or target is None:
        return None, None, None
    after = found[-1]
    if len(found) == 1:
        return after.epoch, float(after.step), after.step
    before = found[-2]
    low, high = before.eval_accuracy or 0.0, after.eval_accuracy or 0.0
    epochs = crossing((before.epoch, low), (after.epoch, high), target.accuracy)
    steps = crossing((before.step, low), (after.step, high), target.accuracy)
    return epochs, steps, after.step - before.step


def _flops_fields(setup: Setup, steps: int) -> dict[str, Any]:
    if setup.sample_flops is None:
        return {"flops": None, "flops_method": None}
    factor = FLOPS_FACTORS[setup.use.strategy]
    rows = steps * setup.effective_batch_size
    return {
        "flops": setup.sample_flops * factor * rows,
        "flops_method": FLOPS_METHOD.format(factor),
    }


def model_part(setup: Setup) -> ModelPart:
    """Describe the model."""
    return ModelPart(
        name=setup.model.name,
        revision=setup.model.revision,
        weights=setup.weights,
        parameters=setup.n_parameters,
        parameters_trained=setup.n_trained,
        new_head=setup.data.classes.new_head,
    )


def data_part(setup: Setup) -> DataPart:
    """Describe the data."""
    data = setup.data
    corruption = data.evaluation.corruption
    return DataPart(
        dataset=data.names[0],
        revision=data.train.data.spec.revision,
        fingerprint=data.digests[0],
        rows=len(data.train),
        eval_dataset=data.names[1],
        eval_fingerprint=data.digests[1],
        eval_rows=len(data.evaluation),
        classes=len(data.classes.names),
        corruption=str(corruption) if corruption else None,
        corruption_seed=corruption.seed if corruption else None,
    )


def training_part(setup: Setup) -> TrainingPart:
    """Describe how it was trained."""
    use, world = setup.use, setup.accelerator.num_processes
    return TrainingPart(
        strategy=use.strategy,
        lora_rank=use.lora_rank if use.strategy == "lora" else None,
        optimizer=use.optimizer,
        learning_rate=use.learning_rate or 0.0,
        weight_decay=use.weight_decay,
        momentum=use.momentum if use.optimizer == "sgd" else None,
        schedule=use.schedule,
        warmup_steps=use.warmup_steps,
        clip_norm=use.clip_norm,
        batch_size=int(use.batch_size),
        gradient_accumulation=use.gradient_accumulation,
        world_size=world,
        nodes=max(1, world // local_world_size(world)),
        effective_batch_size=setup.effective_batch_size,
        precision=setup.accelerator.mixed_precision,
        gradient_checkpointing=use.gradient_checkpointing,
        compiled=use.compile,
        eval_every=use.eval_every,
        steps_per_epoch=setup.steps_per_epoch,
        seed=use.seed,
    )


def settings_to_track(setup: Setup) -> dict[str, Any]:
    """Return the settings that a tracker takes: flat, numbers and texts alone."""
    found = asdict(model_part(setup)) | asdict(data_part(setup)) | asdict(training_part(setup))
    return {k: v for k, v in found.items() if isinstance(v, int | float | str | bool)}


def change_fields(since: str, change: Change | None) -> dict[str, float | None]:
    """Return the fields of an epoch that hold a change since the start or the previous epoch."""
    name = f"param_change_from_{since}"
    values = (None, None, None) if change is None else (change.mean, change.total, change.norm)
    return dict(zip((name, f"{name}_sum", f"{name}_norm"), values, strict=True))
