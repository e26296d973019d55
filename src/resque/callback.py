"""The cost record of a training script that uses transformers' `Trainer`, by one line."""

from __future__ import annotations

import math
import sys
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from resque import run_folder
from resque.changes import Change, parameter_change, snapshot
from resque.costs import CostMeter, Costs, Spent
from resque.energy import find_grid
from resque.errors import UsageError
from resque.models import digest_of
from resque.public_text import TOKEN
from resque.recording import (
    NO_ENERGY,
    Rates,
    cost_fields,
    describe_host,
    local_world_size,
    peak_device_memory,
    peak_host_memory,
    total_costs,
)
from resque.records import (
    FILE_NAME,
    SCHEMA_VERSION,
    CostRecord,
    DataPart,
    Epoch,
    Evaluation,
    ModelPart,
    TargetPart,
    TrainingPart,
    append_record,
)
from resque.run_record import change_fields, outcome_fields
from resque.trainer_card import complete_card


@dataclass
class _Story:
    """What happened in a training so far."""

    evaluations: list[Evaluation] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # logged since the last evaluation
    epoch_losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)  # logged in the present epoch
    changes: tuple[Change | None, Change | None] = (None, None)  # at the last epoch's last step
    began: Costs = field(default_factory=Costs)  # costs when the present epoch began
    step: int = 0  # when it began


class CostCallback(TrainerCallback):
    """Measures what a `Trainer` run costs and adds its record to `records.jsonl`.

        trainer = Trainer(..., callbacks=[CostCallback(target_accuracy=0.9)])

    `complete_card(trainer)` puts it on the model card that the trainer pushes, too.

    Gradient norms are those that Trainer logs, before clipping: `logging_steps=1` gives every
    step's. Accuracy is what `compute_metrics` returns. Time and energy of evaluations and
    checkpoints are kept apart from training.

    Attributes:
        record: the cost record, once training has ended.
    """

    record: CostRecord | None

    def __init__(
        self,
        output_dir: str | Path | None = None,
        *,
        target_accuracy: float | None = None,
        metric: str = "eval_accuracy",
        country: str | None = None,
        grid_intensity: float | None = None,
        price_per_hour: float | None = None,
    ) -> None:
        """Say what is to be recorded.

        Args:
            output_dir: gets `records.jsonl`; None for Trainer's own output folder.
            target_accuracy: training stops where an evaluation meets it, in (0, 1].
            metric: Trainer's name of the accuracy.
            country: of the grid, three letters; None for codecarbon's setting.
            grid_intensity: g CO2eq/kWh, in place of the country's.
            price_per_hour: of all hardware together.

        Raises:
            UsageError: for an unknown country, or a target that is no share.
            ImportError: without codecarbon (`pip install resque[retrain]`).
        """
        if target_accuracy is not None and not 0 < target_accuracy <= 1:
            raise UsageError(f"target_accuracy is {target_accuracy:g}; expected above 0, at most 1")
        self.output_dir = output_dir
        self.metric = metric
        self.record = None
        self._target = target_accuracy
        self._rates = Rates(find_grid(country, grid_intensity), NO_ENERGY, price_per_hour)
        self._meter: CostMeter | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Start the meters and copy the weights."""
        model = kwargs["model"]
        self.record = None
        self._meter = CostMeter(measures_energy=state.is_local_process_zero)
        if self._meter.energy:
            self._rates = replace(self._rates, method=self._meter.energy.method)
        self._started, self._resumed_at = run_folder.utc_now(), state.global_step
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        sharded = any(hasattr(p, "placements") for p in self._parameters.values())
        tracks = sharded or state.is_world_process_zero
        self._start = snapshot(self._parameters) if tracks else None
        self._previous = self._start
        self._model = _model_part(model, self._parameters)
        self._story = _Story(began=total_costs(self._meter), step=state.global_step)
        self._meter.switch("evaluation" if args.eval_on_start else "training")

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """End the epoch before: its last evaluation has run by now."""
        self._close_epoch(args, state)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Book what follows: an evaluation, a checkpoint, or the next step."""
        self._book(control, evaluated=False)

    def on_epoch_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Measure how far the weights moved, before Trainer may load those of its best step."""
        self._measure_changes()
        self._book(control, evaluated=False)

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Book on evaluation: one of another data set may follow on one that has ended."""
        if self._meter:
            self._meter.switch("evaluation")

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Go on booking on training, if there is more of it."""
        if self._meter:
            self._meter.switch("overhead" if control.should_training_stop else "training")

    def on_predict(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Any,
        **kwargs: Any,
    ) -> None:
        """Go on booking on training after somebody's prediction within it."""
        self.on_save(args, state, control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the losses and gradient norms that Trainer logs."""
        if not self._meter or not logs:
            return
        loss, norm = logs.get("loss"), logs.get("grad_norm")
        if loss is not None:
            self._story.losses.append(float(loss))
            self._story.epoch_losses.append(float(loss))
        if norm is not None and math.isfinite(float(norm)):
            self._story.norms.append(float(norm))

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep an evaluation; stop training where it meets the target."""
        if not self._meter or not metrics:
            return
        story = self._story
        accuracy = metrics.get(self.metric)
        loss = metrics.get(f"{self.metric.rpartition('_')[0]}_loss", metrics.get("eval_loss"))
        if accuracy is not None or loss is not None:  # else of another of several data sets
            story.evaluations.append(
                Evaluation(
                    step=state.global_step,
                    epoch=float(state.epoch or 0.0),
                    train_loss=_mean(story.losses),
                    eval_loss=loss,
                    eval_accuracy=None if accuracy is None else float(accuracy),
                )
            )
            story.losses = []
        if self._target is not None and accuracy is not None and accuracy >= self._target:
            control.should_training_stop = True
        self._book(control, evaluated=True)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Make the record and add it to the file."""
        if self._meter is None:
            return
        self._close_epoch(args, state)
        costs = total_costs(self._meter)
        self._meter.stop()
        self._meter = None
        self.record = self._make_record(args, state, costs, kwargs)
        if state.is_world_process_zero:
            folder = Path(self.output_dir or args.output_dir or ".")
            append_record(self.record, folder / FILE_NAME)

    def complete_card(self, trainer: Any) -> None:
        """Let the model card that a Trainer writes, alone or in its `push_to_hub`, tell the cost.

        Where the card cannot be edited safely, Trainer's own stays, with a warning.

        Args:
            trainer: that this callback belongs to.
        """
        complete_card(trainer, lambda: self.record)

    def _book(self, control: TrainerControl, evaluated: bool) -> None:
        if self._meter is None:
            return
        if control.should_evaluate and not evaluated:
            self._meter.switch("evaluation")
        else:
            over = control.should_save or control.should_training_stop
            self._meter.switch("overhead" if over else "training")

    def _measure_changes(self) -> None:
        if self._meter is None or self._start is None or self._previous is None:
            return
        with self._meter.phase("overhead"):
            self._story.changes = (
                parameter_change(self._start, self._parameters),
                parameter_change(self._previous, self._parameters),
            )
            self._previous = snapshot(self._parameters)

    def _close_epoch(self, args: TrainingArguments, state: TrainerState) -> None:
        story = self._story
        steps = state.global_step - story.step
        if self._meter is None or not steps:
            return
        with self._meter.phase("overhead"):
            costs = total_costs(self._meter)
        from_start, from_previous = story.changes
        spent = costs.training - story.began.training
        last = story.evaluations[-1] if story.evaluations else None
        rows = steps * args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        story.epochs.append(
            Epoch(
                epoch=float(state.epoch or 0.0),
                steps=steps,
                train_loss=_mean(story.epoch_losses),
                eval_loss=last.eval_loss if last else None,
                eval_accuracy=last.eval_accuracy if last else None,
                grad_norm=_mean(story.norms),
                grad_norm_last=story.norms[-1] if story.norms else None,
                grad_norm_steps=len(story.norms),
                **change_fields("start", from_start),
                **change_fields("previous", from_previous),
                learning_rate=_logged(state, "learning_rate"),
                seconds=spent.seconds,
                seconds_waiting=None,
                samples_per_second=rows / spent.seconds if spent.seconds else None,
                energy_kwh=spent.energy.total,
                peak_memory_host_bytes=peak_host_memory(),
                peak_memory_device_bytes=peak_device_memory(),
            )
        )
        story.epoch_losses, story.norms = [], []
        story.began, story.step = costs, state.global_step

    def _make_record(
        self, args: TrainingArguments, state: TrainerState, costs: Costs, given: dict[str, Any]
    ) -> CostRecord:
        found = self._story.evaluations
        target = None
        if self._target is not None:
            target = TargetPart("accuracy", self._target, self._target)
        met = bool(target and found and (found[-1].eval_accuracy or 0.0) >= target.accuracy)
        rule = "target" if met else "epochs" if state.global_step >= state.max_steps else "trainer"
        train = given["train_dataloader"]
        training = _training_part(args, state, given["model"], self._model, train)
        limit = args.num_train_epochs
        if args.max_steps > 0:  # which overrides the epochs
            limit = args.max_steps / training.steps_per_epoch
        text = getattr(given["model"], "main_input_name", "") == "input_ids"
        flops = float(state.total_flos) if text and state.total_flos else None
        return CostRecord(
            schema_version=SCHEMA_VERSION,
            run_id=uuid.uuid4().hex,
            measure="trainer",
            model=self._model,
            data=_data_part(train, given.get("eval_dataloader"), given["model"]),
            training=training,
            target=target,
            epochs_limit=float(limit),
            patience=(),
            rule=rule,
            **outcome_fields(rule, found, target),
            diverged_at_step=None,
            epochs=tuple(self._story.epochs),
            flops=flops,
            flops_method="Trainer: 6 × tokens × parameters" if flops else None,
            **cost_fields(costs, Spent(), self._rates, args.world_size) | {"seconds_waiting": None},
            resumes=int(self._resumed_at > 0),
            host=describe_host(),
            command=TOKEN.sub("<token>", " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
            started=self._started,
            ended=run_folder.utc_now(),
            notes=self._notes(args),
        )

    def _notes(self, args: TrainingArguments) -> tuple[str, ...]:
        every = f"gradient norms are those of every {args.logging_steps:g} steps, as Trainer logs"
        if not self._resumed_at:
            return (every,)
        return (
            every,
            f"Trainer went on from step {self._resumed_at}: what came before is not in this record",
        )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _logged(state: TrainerState, name: str) -> float | None:
    found = [entry[name] for entry in state.log_history if name in entry]
    return float(found[-1]) if found else None


def _model_part(model: Any, trained: dict[str, torch.nn.Parameter]) -> ModelPart:
    config = getattr(model, "config", None)
    return ModelPart(
        name=str(getattr(config, "_name_or_path", "") or type(model).__name__),
        revision=getattr(config, "_commit_hash", None),
        weights=digest_of(model),
        parameters=sum(p.numel() for p in model.parameters()),
        parameters_trained=sum(p.numel() for p in trained.values()),
        new_head=None,
    )


def _data_part(train: Any, evaluation: Any, model: Any) -> DataPart:
    rows, eval_rows = (getattr(x, "dataset", None) for x in (train, evaluation))
    labels = getattr(getattr(model, "config", None), "num_labels", None)
    return DataPart(
        dataset=_name_of(rows),
        revision=None,
        fingerprint=getattr(rows, "_fingerprint", None),
        rows=_size(rows),
        eval_dataset=None if eval_rows is None else _name_of(eval_rows),
        eval_fingerprint=getattr(eval_rows, "_fingerprint", None),
        eval_rows=_size(eval_rows),
        classes=labels,
    )


def _name_of(rows: Any) -> str:
    info = getattr(rows, "info", None)
    name = getattr(info, "dataset_name", None) or f"<{type(rows).__name__}>"
    split = getattr(rows, "split", None)
    return f"{name}#{split}" if split else str(name)


def _size(rows: Any) -> int:
    """Return a length, 0 where there is none: of streams, and of loaders over them."""
    try:
        return len(rows)
    except TypeError:
        return 0


def _training_part(
    args: TrainingArguments, state: TrainerState, model: Any, part: ModelPart, train: Any
) -> TrainingPart:
    adapters = getattr(model, "peft_config", None)
    whole = part.parameters == part.parameters_trained
    accumulation = args.gradient_accumulation_steps
    nodes = args.world_size // max(1, local_world_size(args.world_size))
    steps = math.ceil(_size(train) / accumulation) or state.max_steps  # a stream is one epoch
    return TrainingPart(
        strategy="lora" if adapters else "full" if whole else "partial",
        lora_rank=getattr(next(iter(adapters.values())), "r", None) if adapters else None,
        optimizer=str(getattr(args.optim, "value", args.optim)),
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        momentum=None,
        schedule=str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        warmup_steps=args.get_warmup_steps(state.max_steps),
        clip_norm=args.max_grad_norm or None,
        batch_size=args.train_batch_size,
        gradient_accumulation=accumulation,
        world_size=args.world_size,
        nodes=max(1, nodes),
        effective_batch_size=args.train_batch_size * accumulation * args.world_size,
        precision="bf16" if args.bf16 else "fp16" if args.fp16 else "no",
        gradient_checkpointing=bool(args.gradient_checkpointing),
        compiled=args.torch_compile,
        eval_every=int(state.eval_steps) if args.eval_strategy == "steps" else None,
        steps_per_epoch=max(1, steps),
        seed=args.seed,
    )
