"""What a run leaves on the disk of its weights: checkpoints to go on from, and the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from resque.files import write_folder
from resque.processes import together
from resque.progress import Progress
from resque.strategies import merged


def _file_of_previous(accelerator: Accelerator) -> str:
    return f"previous_epoch_{accelerator.process_index}.safetensors"


def save_state(
    accelerator: Accelerator, folder: Path, previous: dict[str, torch.Tensor] | None
) -> None:
    """Write the states of everything that was prepared; each process calls it.

    Args:
        accelerator: knows the model, optimizer, schedule and random numbers.
        folder: a new folder.
        previous: this process's weights at the end of the epoch before, where they are needed.
    """
    from safetensors.torch import save_file

    accelerator.save_state(str(folder))
    if previous is not None:
        tensors = {name: x.contiguous() for name, x in previous.items()}
        save_file(tensors, folder / _file_of_previous(accelerator))


def load_state(
    accelerator: Accelerator, folder: Path, device: torch.device | str
) -> tuple[Progress, dict[str, torch.Tensor] | None]:
    """Restore what `save_state` wrote.

    Args:
        accelerator: the model, optimizer and schedule are prepared in it.
        folder: a whole checkpoint.
        device: where the weights of the epoch before shall lie.

    Returns:
        How far the run was, and the weights of the epoch before where there are any.
    """
    from safetensors.torch import load_file

    accelerator.load_state(str(folder))
    text = (folder / "progress.json").read_text(encoding="utf-8")
    file, previous = folder / _file_of_previous(accelerator), None
    if file.is_file():  # `.to`, since safetensors does not know the device "cpu:0"
        previous = {name: x.to(device) for name, x in load_file(file).items()}
    return Progress.from_dict(json.loads(text)), previous


def save_model(
    accelerator: Accelerator, module: nn.Module, processor: Any | None, folder: Path
) -> None:
    """Leave the model and its processor in `folder`, whole or not at all; each process calls it.

    Args:
        accelerator: gathers the weights where they are in parts.
        module: the prepared model; LoRA's weights are merged in.
        processor: what `from_pretrained` needs beside the weights, if anything.
        folder: written by the main process.

    Raises:
        ResqueError: where it cannot be written.
    """
    in_parts = accelerator.distributed_type in ("FSDP", "DEEPSPEED")
    state = accelerator.get_state_dict(module) if in_parts else None
    inner = accelerator.unwrap_model(module)
    inner = getattr(inner, "_orig_mod", inner)  # torch.compile's wrapper

    def write(path: Path) -> None:
        merged(inner).save_pretrained(path, state_dict=state)
        if processor is not None:
            processor.save_pretrained(path)

    together(lambda: write_folder(folder, write) if accelerator.is_main_process else None)
