"""Retrains a model for real under accelerate, and records what that costs.

resque retrain --model M --dataset D --target-accuracy 0.85 --output-dir OUT
accelerate launch -m resque.retrain --model M --dataset D --target-accuracy 0.85 --output-dir OUT
torchrun --nproc_per_node 2 -m resque.retrain --model M --dataset D …
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn

from resque import run_folder
from resque.costs import CostMeter
from resque.energy import find_grid
from resque.errors import ResqueError, first_line
from resque.evaluation import evaluate
from resque.preparation import Setup, check_alike, make_accelerator, prepare
from resque.processes import is_out_of_memory, rank_and_world, together
from resque.recording import NO_ENERGY, Rates, command_of
from resque.records import CostRecord, read_records
from resque.retrain_options import RetrainOptions, make_retrain_options
from resque.run_folder import Attempt
from resque.training_loop import Run

log = logging.getLogger(__name__)


def retrain(
    model: Any,
    dataset: Any,
    output_dir: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> CostRecord:
    """Retrain a model and leave its cost record and the model in a folder.

    Under `accelerate launch` or `torchrun`, every process calls it; one record comes out.

    Args:
        model: `ID_OR_FOLDER[@REVISION]`, or a transformers classifier (changed in place).
        dataset: `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]` or a `datasets` object; without a
            split, its training split.
        output_dir: gets `records.jsonl`, `model/` and what a resume needs.
        resume: go on with the run in the folder; begin one where there is none.
        overwrite: begin anew in a folder that holds a run.
        **options: see `RetrainOptions`.

    Raises:
        ResqueError: where something does not fit; the text says what to do.
        Stopped: after SIGTERM or Ctrl-C, once all is saved.
        ImportError: without codecarbon (`pip install resque[retrain]`).
    """
    use = make_retrain_options(options)
    folder = Path(output_dir)
    rates = Rates(find_grid(use.country, use.grid_intensity), NO_ENERGY, use.price_per_hour)
    accelerator, note = make_accelerator(use, folder)
    lock = None
    try:
        lock = together(lambda: _lock(folder, accelerator, resume or overwrite))
        with CostMeter(measures_energy=accelerator.is_local_main_process) as meter:
            setup = _prepare(accelerator, model, dataset, use, meter)
            settings = _settings(setup, use)
            attempt = _begin(accelerator, folder, settings, resume, overwrite)
            if attempt.finished:
                log.warning("the run in %s is finished already: this is its record", folder)
                return read_records(folder)[-1]
            if meter.energy:
                rates = replace(rates, method=meter.energy.method)
            name = str(dataset) if isinstance(dataset, str | Path) else setup.data.names[0]
            command = command_of(setup.model.name, name, folder, use)
            record = Run(setup, attempt, folder, meter, rates, command, note).go()
            if accelerator.is_main_process:
                run_folder.finish(folder, attempt, settings)
            return record
    except RuntimeError as error:
        raise _explain(error, folder) from error
    finally:
        if lock is not None:
            lock.release()
        accelerator.end_training()


def _lock(folder: Path, accelerator: Any, may_hold_a_run: bool) -> Any:
    """Take the folder, before hours go into what it is for."""
    if not accelerator.is_main_process:
        return None
    lock = run_folder.lock_folder(folder)
    if not may_hold_a_run:
        run_folder.check_unused(folder)
    return lock


def _prepare(
    accelerator: Any, model: Any, dataset: Any, use: RetrainOptions, meter: CostMeter
) -> Setup:
    def measured(module: nn.Module, loader: Any) -> tuple[float, float]:
        with meter.phase("evaluation"):
            return evaluate(accelerator, module, loader)

    setup = prepare(accelerator, model, dataset, use, measured)
    check_alike(setup)
    return setup


def _begin(
    accelerator: Any, folder: Path, settings: dict[str, Any], resume: bool, overwrite: bool
) -> Attempt:
    """Begin on the main process and tell the others."""
    from accelerate.utils import broadcast_object_list

    main = accelerator.is_main_process
    begin = partial(run_folder.begin, folder, settings, resume, overwrite)
    box = [together(lambda: begin() if main else None)]
    if accelerator.num_processes > 1:
        broadcast_object_list(box)
    return cast(Attempt, box[0])


def _settings(setup: Setup, use: RetrainOptions) -> dict[str, Any]:
    """Return what determines a run, in words that a refusal to resume can print."""
    train, evaluation = setup.data.digests
    return {
        **use.identity(),
        "model": setup.model.name,
        "weights": setup.weights,
        "training data": f"{setup.data.names[0]} {train}",
        "evaluation data": f"{setup.data.names[1]} {evaluation}",
        "processes": setup.accelerator.num_processes,
        "precision": setup.accelerator.mixed_precision,
        "batch size": setup.use.batch_size,
    }


def _explain(error: RuntimeError, folder: Path) -> Exception:
    """Turn what torch raises when a process or the memory fails into a sentence."""
    text = str(error)
    if is_out_of_memory(error):
        return ResqueError(
            "out of memory: take a smaller --batch-size (with --gradient-accumulation for the "
            "same steps), --batch-size auto, or --gradient-checkpointing"
        )
    words = (
        "Timed out",
        "timeout",
        "Connection closed",
        "Connection reset",
        "peer",
        "gloo",
        "NCCL",
    )
    if rank_and_world()[1] > 1 and any(word in text for word in words):
        return ResqueError(
            f"another process ended or did not answer in time ({first_line(error)}). What was "
            f"spent is kept in {folder}; --resume goes on from its last checkpoint"
        )
    return error


if __name__ == "__main__":
    from resque.cli import leave, run

    leave(run(["retrain", *sys.argv[1:]]))
