"""The training loop: steps, evaluations, stopping, checkpoints, and the record of it all."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resque import run_folder
from resque.changes import Change, gradient_norm, parameter_change, snapshot, whole
from resque.checkpoints import load_state, save_model, save_state
from resque.costs import CostMeter, Costs
from resque.documents import plain
from resque.energy import foreign_tracker
from resque.errors import Stopped
from resque.evaluation import evaluate
from resque.preparation import Setup, total_steps
from resque.processes import together
from resque.progress import EpochSums, Progress, Tally
from resque.recording import Rates, interval_of, peak_device_memory, peak_host_memory, total_costs
from resque.records import (
    FILE_NAME,
    CostRecord,
    Epoch,
    Evaluation,
    Probe,
    append_record,
)
from resque.run_folder import Attempt
from resque.run_record import change_fields, make_record, settings_to_track
from resque.safeguard import Safeguard, StopRequest
from resque.strategies import set_training
from resque.targets import stopping_rule

log = logging.getLogger(__name__)
PROBE_WARMUP, PROBE_BLOCKS = 10, 8


class Run:
    """A run from its first to its last step."""

    def __init__(
        self,
        setup: Setup,
        attempt: Attempt,
        folder: Path,
        meter: CostMeter,
        rates: Rates,
        command: str,
        note: str,
    ) -> None:
        self.setup, self.use, self.attempt = setup, setup.use, attempt
        self.accelerator = setup.accelerator
        self.folder, self.meter, self.rates, self.command = folder, meter, rates, command
        self.steps = total_steps(self.use, setup.steps_per_epoch)
        self.progress = Progress(epoch_began=attempt.base)
        self.stop = StopRequest()
        foreign = foreign_tracker()
        grid = rates.grid
        self.notes = (
            *setup.notes,
            note,
            f"carbon: {grid.intensity:g} g CO2eq/kWh, {grid.source}",
            *([foreign] if foreign else []),
            *attempt.notes,
        )
        sharded = any(hasattr(p, "placements") for p in setup.parameters.values())
        partitioned = any(hasattr(p, "ds_id") for p in setup.parameters.values())
        tracks = (sharded or self.accelerator.is_main_process) and not partitioned
        self.start = snapshot(setup.parameters, setup.snapshot_device) if tracks else None
        self.previous = self.start
        self.next_agreement, self.first_step, self.began = 0, 0, time.monotonic()
        self.diverged_at: int | None = None
        self.guard = self._make_guard()

    def go(self) -> CostRecord:
        """Run to the end and write the record and the model.

        Raises:
            Stopped: where the run was asked to stop; a checkpoint is saved then.
        """
        if self.attempt.checkpoint:
            folder, device = Path(self.attempt.checkpoint), self.setup.snapshot_device
            self.progress, previous = load_state(self.accelerator, folder, device)
            self.previous = previous or self.start
        self.first_step = self.progress.step
        self.tally = Tally(self.accelerator.device, self.progress.tally)
        self._introduce()
        with self.stop.listening(), self.guard, self._bar() as self.bar:
            self._beat("running")
            try:
                if self.use.measure == "probe":
                    return self._finish("probe", self._probe())
                return self._finish(self._train(), None)
            except BaseException as error:
                with contextlib.suppress(Exception):  # the error itself matters more
                    self._beat("stopped" if isinstance(error, Stopped) else "failed")
                raise

    def _train(self) -> str:
        """Evaluate, and train until a rule ends the run; return its name."""
        if not self.progress.evaluations and (rule := self._evaluate()):
            return rule
        while self.progress.step < self.steps:
            for _ in self._epoch_steps(self.progress.step // self.setup.steps_per_epoch):
                if rule := self._after_step():
                    return rule
                if self.progress.step >= self.steps:
                    break
        return "epochs"

    def _epoch_steps(self, epoch: int) -> Iterator[None]:
        """Take the steps of an epoch that are left; yields after each."""
        setup, use = self.setup, self.use
        done = self.progress.step - epoch * setup.steps_per_epoch
        setup.sampler.start(epoch, done * setup.effective_batch_size)
        self._train_mode()
        self.meter.switch("training")
        batches = iter(setup.train_loader)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.meter.wait(time.perf_counter() - began)
            if batch is None:
                return
            with self.accelerator.accumulate(setup.module):
                logits = setup.module(**batch["inputs"]).logits.float()
                loss = nn.functional.cross_entropy(logits, batch["targets"])
                self.accelerator.backward(loss)
                self.tally.add_loss(loss, self.progress.step + 1)
                if self.accelerator.sync_gradients:
                    self._count_norm(use.clip_norm)
                setup.optimizer.step()
                if self.accelerator.sync_gradients and not setup.optimizer.step_was_skipped:
                    setup.scheduler.step()
                setup.optimizer.zero_grad()
            if self.accelerator.sync_gradients:
                self.progress.step += 1
                self.guard.progress()
                yield

    def _train_mode(self) -> None:
        self.setup.module.train()
        set_training(self.setup.inner, self.use.strategy)

    def _count_norm(self, clip: float | None) -> None:
        """Add the gradients' norm before clipping, and clip where asked; nothing is waited for."""
        kind = self.accelerator.distributed_type
        parameters = list(self.setup.parameters.values())
        if clip is not None or kind in ("DEEPSPEED", "FSDP"):
            norm = self.accelerator.clip_grad_norm_(parameters, clip or math.inf)
        else:
            self.accelerator.unscale_gradients()
            norm = gradient_norm(parameters)
        if norm is not None:  # DeepSpeed may not know it yet
            self.tally.add_norm(whole(norm).to(self.accelerator.device))

    def _after_step(self) -> str | None:
        """Evaluate, end the epoch, save or stop where it is time to; return the rule that ends."""
        step, whole_epoch = self.progress.step, self.progress.step % self.setup.steps_per_epoch == 0
        rule = None
        if step % (self.use.eval_every or 1) == 0 or whole_epoch or step == self.steps:
            rule = self._evaluate()
        if whole_epoch or rule or step == self.steps:
            self._close_epoch()
        if rule is None and step < self.steps:
            asked = self._asked_to_stop()
            if asked or step % (self.use.checkpoint_every or 1) == 0:
                self._save()
            if asked:
                raise Stopped(asked, f"saved at step {step} of {self.folder}; --resume goes on")
        self.bar.update(1)
        return rule

    def _evaluate(self) -> str | None:
        """Evaluate and read what the device counted; return the rule that ends the run, if any."""
        p, setup = self.progress, self.setup
        loss_sum, losses, norms, n_norms, last, bad = self._read_tally()
        with self.meter.phase("evaluation"):
            loss, accuracy = evaluate(
                self.accelerator, setup.module, setup.eval_loader, self.guard.progress
            )
        self._train_mode()
        steps = losses / self.use.gradient_accumulation
        mean = loss_sum / losses if losses else None
        epoch = p.step / setup.steps_per_epoch
        p.evaluations.append(Evaluation(p.step, epoch, mean, loss, accuracy))
        if mean is not None:
            e = p.in_epoch
            p.in_epoch = EpochSums(
                e.steps + steps,
                e.losses + mean * steps,
                e.norms + norms,
                e.n_norms + n_norms,
                last if n_norms else e.last,
            )
        self.tally = Tally(self.accelerator.device, [0.0] * 6)
        self._show(p.evaluations[-1])
        if bad:
            self.diverged_at = int(bad)
            log.warning("the loss of step %d is no number: the run ends", int(bad))
            return "diverged"
        target = setup.target.accuracy if setup.target else None
        history = [(e.epoch, e.eval_accuracy or 0.0) for e in p.evaluations]
        return stopping_rule(history, target, self.use.patience)

    def _read_tally(self) -> list[float]:
        """Return the tally over all processes: their mean loss; the rest is the same on each."""
        found = self.accelerator.gather(self.tally.values[None])
        values: list[float] = found[0].tolist()
        values[0] = float(found[:, 0].mean())
        bad = [step for step in found[:, 5].tolist() if step > 0]
        values[5] = min(bad) if bad else 0.0
        return values

    def _close_epoch(self) -> None:
        """Record the epoch, or the part of it that was run."""
        p, setup = self.progress, self.setup
        costs = self._costs()
        spent = costs.training - p.epoch_began.training
        sums = p.in_epoch
        from_start, from_previous = self._changes()
        final = p.evaluations[-1]
        rows = sums.steps * setup.effective_batch_size
        p.epochs.append(
            Epoch(
                epoch=final.epoch,
                steps=round(sums.steps),
                train_loss=sums.losses / sums.steps if sums.steps else None,
                eval_loss=final.eval_loss,
                eval_accuracy=final.eval_accuracy,
                grad_norm=sums.norms / sums.n_norms if sums.n_norms else None,
                grad_norm_last=sums.last if sums.n_norms else None,
                grad_norm_steps=round(sums.n_norms),
                **change_fields("start", from_start),
                **change_fields("previous", from_previous),
                learning_rate=float(setup.scheduler.get_last_lr()[0]),
                seconds=spent.seconds,
                seconds_waiting=costs.waiting - p.epoch_began.waiting,
                samples_per_second=rows / spent.seconds if spent.seconds else None,
                energy_kwh=spent.energy.total,
                peak_memory_host_bytes=peak_host_memory(),
                peak_memory_device_bytes=peak_device_memory(),
            )
        )
        p.in_epoch, p.epoch_began = EpochSums(), costs

    def _changes(self) -> tuple[Change | None, Change | None]:
        """Measure how far the weights moved since the start and since the epoch before."""
        if self.start is None or self.previous is None:
            return None, None
        with self.meter.phase("overhead"):
            now = self.setup.parameters
            found = parameter_change(self.start, now), parameter_change(self.previous, now)
            self.previous = snapshot(now, self.setup.snapshot_device)
        return found

    def _costs(self) -> Costs:
        """Return the useful costs so far, the energy of all machines; every process calls it."""
        return self.attempt.base + total_costs(self.meter)

    def _asked_to_stop(self) -> int:
        """Return the signal that asks the run to stop, or 0; all processes agree on the step.

        Several processes ask each other about once a second.
        """
        if self.accelerator.num_processes == 1:
            return self.stop.signal
        if self.progress.step < self.next_agreement:
            return 0
        steps = max(1, self.progress.step - self.first_step)
        pace = (time.monotonic() - self.began) / steps
        told = torch.tensor([[float(self.stop.signal), pace]], device=self.accelerator.device)
        found = self.accelerator.gather(told)
        every = int(min(max(1.0 / max(float(found[0, 1]), 1e-6), 1), 100))
        self.next_agreement = self.progress.step + every
        return int(found[:, 0].max())

    def _save(self) -> None:
        """Save a checkpoint: weights, states of optimizer, schedule and random numbers, progress.

        Raises:
            ResqueError: where it cannot be written; the one before is kept.
        """
        with self.meter.phase("overhead"):
            p, main = self.progress, self.accelerator.is_main_process
            costs, p.tally = self._costs(), self._read_tally()
            if p.tally[5]:
                return  # the loss is no number any more: the last good checkpoint stays
            document = plain({**asdict(p), "costs": asdict(costs)})
            staged = run_folder.staging(self.folder)
            previous = None if self.previous is self.start else self.previous
            try:
                together(lambda: run_folder.clear_staging(self.folder) if main else None)
                together(lambda: save_state(self.accelerator, staged, previous))
                together(lambda: run_folder.seal(self.folder, p.step, document) if main else None)
            except Exception as error:
                raise run_folder.cannot_save(self.folder, p.step, error) from error
        if self.accelerator.is_local_main_process:
            self._beat("running")

    def _probe(self) -> Probe:
        """Time blocks of steps after a warm-up; the weights that come out are not kept."""
        size = -(-self.use.probe_steps // PROBE_BLOCKS)
        blocks = -(-self.use.probe_steps // size)
        epochs = itertools.count(self.progress.step // self.setup.steps_per_epoch)
        steps = (None for epoch in epochs for _ in self._epoch_steps(epoch))
        for _ in itertools.islice(steps, PROBE_WARMUP):
            self.bar.update(1)
        readings = [self._costs().training]
        for _ in range(blocks):
            for _ in itertools.islice(steps, size):
                self.bar.update(1)
            readings.append(self._costs().training)
        spent = [(b - a) for a, b in itertools.pairwise(readings)]
        return Probe(
            warmup_steps=PROBE_WARMUP,
            steps=blocks * size,
            blocks=blocks,
            seconds_per_step=interval_of([x.seconds / size for x in spent]),
            energy_kwh_per_step=interval_of([x.energy.total / size for x in spent]),
        )

    def _finish(self, rule: str, probe: Probe | None) -> CostRecord:
        """Save the model, then write the record."""
        main = self.accelerator.is_main_process
        with self.meter.phase("overhead"):
            if probe is None and rule != "diverged":
                setup = self.setup
                processor = setup.model.processor
                save_model(self.accelerator, setup.module, processor, self.folder / "model")
            record = make_record(
                self.setup,
                self.progress,
                self.attempt,
                rule,
                self._costs(),
                self.rates,
                diverged_at=self.diverged_at,
                probe=probe,
                command=self.command,
                notes=self.notes,
            )
            path = self.folder / FILE_NAME
            together(lambda: append_record(record, path) if main else None)
        self._beat("finished")
        return record

    def _make_guard(self) -> Safeguard:
        beats = self.accelerator.is_local_main_process
        launched = "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
        beat = partial(self._beat, "running") if beats else None
        return Safeguard(beat, self.stop, self.use.timeout, launched)

    def _beat(self, status: str) -> None:
        """Leave a heartbeat of this machine on the disk."""
        if self.accelerator.is_local_main_process:
            node = int(os.environ.get("GROUP_RANK", 0))
            costs, step = self.meter.costs(), self.progress.step
            run_folder.write_heartbeat(self.folder, self.attempt, node, costs, step, status)

    def _introduce(self) -> None:
        """Say what will run, on what, and each choice with its reason."""
        setup, data = self.setup, self.setup.data
        world, target = self.accelerator.num_processes, setup.target
        goal = f"to accuracy {target.accuracy:.4g}" if target else "without a target"
        first = (
            f"{self.use.measure} {setup.model.name} ({self.use.strategy}: {setup.n_trained:,} of "
            f"{setup.n_parameters:,} parameters) on {len(data.train):,} rows of {data.names[0]}, "
            f"{goal}, at most {self.use.epochs:g} epochs; {world} process"
            f"{'es' if world > 1 else ''} on {self.accelerator.device}"
        )
        if self.accelerator.is_main_process:
            for line in (first, *self.notes):
                log.info(line)
        self.accelerator.init_trackers("resque", config=settings_to_track(self.setup))

    def _bar(self) -> Any:
        from tqdm.auto import tqdm

        total = self.steps
        if self.use.measure == "probe":
            total = PROBE_WARMUP + self.use.probe_steps
        hide = None if self.use.progress and self.accelerator.is_main_process else True
        return tqdm(total=total, initial=self.progress.step, disable=hide, unit="step")

    def _show(self, found: Evaluation) -> None:
        """Show an evaluation on the bar and send it to the tracker."""
        values = {k: v for k, v in asdict(found).items() if v is not None and k != "step"}
        self.accelerator.log(values, step=found.step)
        if self.bar.disable:
            return
        target = f" of {self.setup.target.accuracy:.3f}" if self.setup.target else ""
        loss = "" if found.train_loss is None else f"loss {found.train_loss:.3f}, "
        kwh = (self.attempt.base.total + self.meter.costs().total).energy.total
        self.bar.set_postfix_str(f"{loss}accuracy {found.eval_accuracy:.3f}{target}, {kwh:.2g} kWh")
