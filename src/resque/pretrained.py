"""Opens a checkpoint of transformers in its own class, and says what is wrong with it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from resque.errors import ResqueError, UsageError, explain, first_line
from resque.hub import limit_requests

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "model.ckpt.index")


def split_revision(text: str) -> tuple[str, str | None]:
    """Read `ID_OR_FOLDER[@REVISION]`; a path that exists is taken whole.

    Raises:
        UsageError: for a revision of a folder.
    """
    if Path(text).expanduser().exists():
        return str(Path(text).expanduser()), None
    name, _, revision = text.partition("@")
    if revision and Path(name).expanduser().exists():
        raise UsageError(f"{name} is a folder here, which has no revisions: leave out @{revision}")
    return name, revision or None


def commit_of(source: str, revision: str | None) -> str | None:
    """Return the commit that a model was loaded from: its folder's name in the Hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).exists():
        return None
    path = try_to_load_from_cache(source, "config.json", revision=revision)
    return Path(path).parent.name if isinstance(path, str) else revision


def load_module(source: str, revision: str | None, trust: bool, token: str | None) -> Any:
    """Load a checkpoint in its own class; of an encoder-decoder without a classifier, the encoder.

    Args:
        source: id or folder.
        revision: branch, tag or commit; None for main.
        trust: run code that the repository brings.
        token: for the Hub.

    Raises:
        ResqueError: where there is none, or it cannot be loaded safely.
    """
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # asks the Hub behind our back
    options = {"revision": revision, "trust_remote_code": trust, "token": token}
    with _explained(source):
        config = _open_config(source, options)
        loader = _class_of(config, trust)
        module, info = loader.from_pretrained(
            source, config=config, use_safetensors=True, output_loading_info=True, **options
        )
    _check_loaded(source, info)
    if getattr(config, "is_encoder_decoder", False) and not classifies(module):
        return module.get_encoder()  # a decoder waits for texts that nobody has written yet
    return module


def main_input_of(model: str) -> str | None:
    """Return the name of a model's main input; its weights are neither read nor fetched.

    Args:
        model: `ID_OR_FOLDER[@REVISION]`.

    Returns:
        "pixel_values", "input_ids", …; None where the configuration alone does not tell.

    Raises:
        ResqueError: where there is no such model, or a folder without weights.
    """
    import transformers

    source, revision = split_revision(model)
    with _explained(source):
        config = _open_config(source, {"revision": revision})
        kind = _class_of(config, trust=False)
        if kind is transformers.AutoModel:
            kind = transformers.MODEL_MAPPING.get(type(config), None)
    if problem := _without_weights(Path(source)):
        raise problem
    return getattr(kind, "main_input_name", None)


def _open_config(source: str, options: dict[str, Any]) -> Any:
    import transformers

    local = Path(source)
    if local.is_dir() and not (local / "config.json").is_file():
        if (local / "adapter_config.json").is_file():
            raise ResqueError(
                f"{source} holds a peft adapter without its model: merge_and_unload() it into "
                "that, and save the whole"
            )
        raise ResqueError(f"{source} holds no config.json: it is not a transformers model")
    if not local.exists() and (local.is_absolute() or source.startswith((".", "~"))):
        raise ResqueError(f"there is no model folder {source!r}")
    if not local.exists():
        limit_requests()
    return transformers.AutoConfig.from_pretrained(source, **options)


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    """Silence transformers, and turn what it raises into a sentence."""
    with quiet():
        try:
            yield
        except ResqueError:
            raise
        except Exception as error:
            raise _explain_weights(error, source) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' loading bars and its table of keys: what matters is raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _class_of(config: Any, trust: bool) -> Any:
    """Return the class that the checkpoint was saved from, with its head; else AutoModel."""
    import transformers

    name = (config.architectures or [""])[0]
    if re.search("For(MaskedLM|CausalLM|PreTraining)$|LMHeadModel$", name):
        name = "AutoModel"  # a language model's head costs as much as the rest and is not read
    remote = getattr(config, "auto_map", None) or {}
    for auto, path in remote.items():
        if trust and path.split(".")[-1] == name:
            return getattr(transformers, auto)
    return getattr(transformers, name, transformers.AutoModel)


def _explain_weights(error: Exception, source: str) -> ResqueError:
    folder = Path(source)
    text = str(error)
    if "trust_remote_code" in text:
        return explain(error, "model", source)
    if folder.is_dir():
        if problem := _without_weights(folder):
            return problem
        if "safetensor" in text.lower() or type(error).__name__ == "SafetensorError":
            return ResqueError(f"the weights in {source} are damaged: {first_line(error)}")
    elif "safetensors" in text and "does not appear to have" in text:
        if "pytorch_model.bin" in text or ".bin" in text:
            return _pickled(source, "pytorch_model.bin")
        return ResqueError(f"model {source!r} holds no weights in the safetensors format")
    return explain(error, "model", source)


def _without_weights(folder: Path) -> ResqueError | None:
    """Return the error of a folder that has no weights which can be loaded safely."""
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return None
    pickled = next((name for name in PICKLES if (folder / name).is_file()), None)
    if pickled:
        return _pickled(str(folder), pickled)
    return ResqueError(f"{folder} holds no weights (no model.safetensors)")


def _pickled(source: str, name: str) -> ResqueError:
    return ResqueError(
        f"model {source!r} has pickled weights only ({name}), which can run any code when they "
        "are opened. Convert them once, where you trust them: `AutoModel….from_pretrained(…)"
        ".save_pretrained(FOLDER)` writes model.safetensors; the Space "
        "safetensors/convert does so for a repository"
    )


def _check_loaded(source: str, info: dict[str, Any]) -> None:
    """Refuse a head that the checkpoint lacks: its predictions would be random."""
    missing = sorted(k for k in info.get("missing_keys", ()) if "pooler" not in k)
    if missing:
        raise ResqueError(
            f"model {source!r} lacks weights that its class needs, which would be random: "
            f"{', '.join(missing[:4])}{', …' if len(missing) > 4 else ''}"
        )


def classifies(module: nn.Module) -> bool:
    """Whether a model of transformers has a classifier head, by the name of its class.

    Of a model with peft's adapters, the class within counts.
    """
    within = getattr(module, "get_base_model", None)
    return (
        re.search("For.*Classification", type(within() if within else module).__name__) is not None
    )
