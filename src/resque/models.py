"""Loads a model with the processor that its checkpoint brings, and chooses device and precision."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from resque.errors import ResqueError, UsageError, explain, first_line
from resque.labels import real_names
from resque.pretrained import classifies, commit_of, load_module, quiet, split_revision

Dtype = Literal["auto", "float32", "float16", "bfloat16"]
MODALITIES = {
    "pixel_values": "image",
    "input_ids": "text",
    "input_values": "audio",
    "input_features": "audio",
}


@dataclass(frozen=True)
class Model:
    """A model ready to run.

    Attributes:
        module: in evaluation mode, on its device.
        name: id, folder or class name.
        revision: commit on the Hub, where known.
        modality: "image", "text", "audio", or "tensor" for modules that take plain tensors.
        processor: image processor, tokenizer or feature extractor; None for plain tensors.
        weights: digest of a sample of the weights, which tells models apart.
        preprocessing: the processor's class and a digest of its settings.
        class_names: names of its classes, or None.
        n_classes: number of its classes; None without a classifier head.
        device: where it runs.
        dtype: what it computes in: "float32", "float16" or "bfloat16".
        notes: what was chosen automatically, a line each.
    """

    module: nn.Module
    name: str
    revision: str | None
    modality: str
    processor: Any
    weights: str
    preprocessing: str
    class_names: tuple[str, ...] | None
    n_classes: int | None
    device: torch.device
    dtype: str
    notes: tuple[str, ...]

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """Run without gradients, in the chosen precision."""
        reduced = None if self.dtype == "float32" else getattr(torch, self.dtype)
        kind = self.device.type
        with torch.inference_mode(), torch.autocast(kind, reduced, enabled=reduced is not None):
            yield


@contextlib.contextmanager
def lent(model: Any) -> Iterator[None]:
    """Give a loaded module its modes, precision and device back, in the midst of training say.

    Args:
        model: as for `load_model`; there is nothing to give back to a name.
    """
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    own = [(part, part.training, dict(part._parameters), dict(part._buffers)) for part in parts]
    values = [
        (p, p.data) for _, _, parameters, _ in own for p in parameters.values() if p is not None
    ]
    try:
        yield
    finally:
        for part, training, parameters, buffers in own:
            part.training = training
            part._parameters.update(parameters)
            part._buffers.update(buffers)
        for parameter, value in values:
            parameter.data = value


def load_model(
    model: str | Path | nn.Module,
    *,
    processor: Any = None,
    device: str | torch.device = "auto",
    dtype: Dtype = "auto",
    trust_remote_code: bool = False,
    token: str | None = None,
) -> Model:
    """Load a model by `ID_OR_FOLDER[@REVISION]`, or take a loaded module, which is changed.

    Args:
        model: an id on the Hub, a folder, or a module; out of DataParallel and the like, and not
            compiled, as layers are read by hooks.
        processor: in place of the checkpoint's own; for a module that has none.
        device: "auto" takes the accelerator where there is one.
        dtype: "auto" computes in bfloat16 on accelerators that have it, else in float32.
        trust_remote_code: run code that the repository brings.
        token: for the Hub.

    Raises:
        ResqueError: where there is no such model, or it cannot be loaded safely.
        TypeError: where model is neither a name nor a module.
    """
    from accelerate.utils import extract_model_from_parallel

    if isinstance(model, nn.Module):
        module: Any = extract_model_from_parallel(model, keep_torch_compile=False)
        name, revision, folder_revision = _name_of(module), None, None
        source = getattr(getattr(module, "config", None), "_name_or_path", "")
    elif isinstance(model, str | Path):
        source, folder_revision = split_revision(str(model))
        module = load_module(source, folder_revision, trust_remote_code, token)
        name, revision = source, commit_of(source, folder_revision)
    else:
        raise TypeError(
            f"the model is a {type(model).__name__}; expected an id, a folder or a torch module"
        )
    modality = _modality(module)
    if processor is None and modality != "tensor" and source:
        processor = _load_processor(source, folder_revision, modality, trust_remote_code, token)
    where, computes, note = _place(device, dtype)
    module = module.to(where).eval()
    if where.type == "cpu" or computes == "float32":
        module = module.float()
    config = getattr(module, "config", None)
    n_classes = _n_classes(module)
    names = real_names(getattr(config, "id2label", None)) if n_classes else None
    _set_padding(module, processor)
    return Model(
        module=module,
        name=name,
        revision=revision,
        modality=modality,
        processor=processor,
        weights=digest_of(module),
        preprocessing=_describe(processor),
        class_names=names,
        n_classes=n_classes,
        device=where,
        dtype=computes,
        notes=(note,),
    )


def _name_of(module: nn.Module) -> str:
    return getattr(getattr(module, "config", None), "_name_or_path", "") or type(module).__name__


def _modality(module: nn.Module) -> str:
    if not hasattr(module, "config"):
        return "tensor"
    return MODALITIES.get(getattr(module, "main_input_name", ""), "tensor")


def _load_processor(
    source: str, revision: str | None, modality: str, trust: bool, token: str | None
) -> Any:
    import transformers

    auto: Any = {
        "image": transformers.AutoImageProcessor,
        "text": transformers.AutoTokenizer,
        "audio": transformers.AutoFeatureExtractor,
    }[modality]
    try:
        with quiet():
            return auto.from_pretrained(
                source, revision=revision, trust_remote_code=trust, token=token
            )
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise explain(error, "model", source) from error
        raise ResqueError(
            f"model {source!r} brings no {modality} processor that can be loaded "
            f"({first_line(error)}); give one with processor="
        ) from error


def _n_classes(module: nn.Module) -> int | None:
    """Return the number of outputs of the classifier head; None without one or for regression."""
    head = find_head(module)
    n = int(module.get_submodule(head).out_features) if head else 0  # type: ignore[arg-type]
    return n if n > 1 else None


def digest_of(module: nn.Module) -> str:
    """Return a digest of names, shapes and at most 127 evenly spaced values a parameter."""
    digest = hashlib.sha256()
    for name, tensor in module.named_parameters():
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, flat.numel() // 64)].float().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} ".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def find_head(module: nn.Module) -> str | None:
    """Return the name of the classifier head: the last linear layer with an output a class.

    A module without a configuration has its last linear layer as head. Adapters (LoRA) are parts
    of a layer, and none of their own.
    """
    config = getattr(module, "config", None)
    if config is not None and not classifies(module):
        return None
    n = None if config is None else getattr(config, "num_labels", None)
    names = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and name and n in (None, part.out_features)
        if ".lora_" not in name
    ]
    return names[-1] if names else None


def _place(device: str | torch.device, dtype: str) -> tuple[torch.device, str, str]:
    """Choose device and precision, with a line that says so."""
    from accelerate import PartialState

    if dtype not in ("auto", "float32", "float16", "bfloat16"):
        raise UsageError(f"dtype is {dtype!r}; expected auto, float32, float16 or bfloat16")
    _check_device(str(device))
    cpu = not torch.accelerator.is_available() or str(device) == "cpu"
    state = PartialState(cpu=True) if cpu else PartialState()
    where = state.device if str(device) == "auto" else torch.device(device)
    if dtype == "auto":
        modern = where.type == "cuda" and torch.cuda.is_bf16_supported()
        dtype = "bfloat16" if modern else "float32"
        return where, dtype, f"runs on {where} in {dtype} (chosen automatically)"
    return where, dtype, f"runs on {where} in {dtype}"


def _check_device(device: str) -> None:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    known = ("auto", "cpu", *([found.type] if found else []))
    if device.split(":")[0] not in known:
        raise UsageError(f"device is {device!r}; this machine has {', '.join(known)}")


def _set_padding(module: nn.Module, processor: Any) -> None:
    """Give a tokenizer without a padding token (GPT-2, Llama) its end token; the mask hides it."""
    if processor is None or not hasattr(processor, "pad_token"):
        return
    if processor.pad_token is None:
        processor.pad_token = processor.eos_token or processor.unk_token
    config = getattr(module, "config", None)
    if config is not None and getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = processor.pad_token_id


def _describe(processor: Any) -> str:
    if processor is None:
        return "none"
    if hasattr(processor, "backend_tokenizer"):
        text = processor.backend_tokenizer.to_str()
    elif hasattr(processor, "to_json_string"):
        text = processor.to_json_string()
    else:
        text = type(processor).__qualname__
    text = _settings(text)
    return f"{type(processor).__name__} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _settings(text: str) -> str:
    """Return a processor's settings without what calls change (padding) or folders name."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    for name in ("padding", "truncation", "_name_or_path", "name_or_path", "transformers_version"):
        found.pop(name, None)
    return json.dumps(found, sort_keys=True)
