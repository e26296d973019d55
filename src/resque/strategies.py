"""The ways to reuse a model, or not to: all weights, the head alone, adapters, or from scratch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from resque.errors import ResqueError, UsageError
from resque.models import find_head

if TYPE_CHECKING:
    from resque.models import Model

STRATEGIES = ("full", "head", "lora", "scratch")
CLASSIFIERS = {
    "image": "AutoModelForImageClassification",
    "text": "AutoModelForSequenceClassification",
    "audio": "AutoModelForAudioClassification",
}


def give_new_head(model: Model, names: Sequence[str]) -> nn.Module:
    """Return the module with a new, random classifier head for classes of these names.

    A checkpoint without a head gets the one that transformers has for its architecture.

    Raises:
        ResqueError: where transformers has none.
    """
    module: Any = model.module
    labels = dict(enumerate(names))
    if find_head(module) is None:
        module = _classifier(model, labels)
    else:
        _replace_head(module, len(names))
    module.config.id2label = labels
    module.config.label2id = {name: i for i, name in labels.items()}
    module.num_labels = len(names)
    return module  # type: ignore[no-any-return]


def _replace_head(module: Any, n: int) -> None:
    path = find_head(module) or ""
    old = module.get_submodule(path)
    new = nn.Linear(old.in_features, n, bias=old.bias is not None)
    deviation = getattr(module.config, "initializer_range", None) or old.in_features**-0.5
    nn.init.normal_(new.weight, std=deviation)
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, new.to(old.weight.device))


def _classifier(model: Model, labels: dict[int, str]) -> Any:
    import transformers

    kind = getattr(transformers, CLASSIFIERS.get(model.modality, ""), None)
    config = copy.deepcopy(getattr(model.module, "config", None))
    if kind is None or config is None:
        raise ResqueError(f"{model.name} is no transformers model that can have a classifier head")
    config.id2label, config.label2id = labels, {name: i for i, name in labels.items()}
    try:
        module = kind.from_config(config)
    except ValueError as error:
        raise ResqueError(f"transformers has no classifier for {model.name}: {error}") from error
    base: Any = model.module
    weights = getattr(base, "base_model", base).state_dict()
    module.base_model.load_state_dict(weights, strict=False)
    return module.to(model.device).float()


def prepare(module: nn.Module, strategy: str, lora_rank: int) -> nn.Module:
    """Freeze, wrap or re-initialise a module as the strategy says.

    Args:
        module: a classifier.
        strategy: one of `STRATEGIES`.
        lora_rank: rank of the adapters of "lora".

    Raises:
        UsageError: for an unknown strategy.
        ImportError: for "lora" without peft.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"strategy is {strategy!r}; expected one of {', '.join(STRATEGIES)}")
    if strategy == "scratch":
        device = next(module.parameters()).device
        kind, plain = type(module), cast(Any, module)
        scratch: nn.Module = kind(copy.deepcopy(plain.config)).to(device).float()
        return scratch
    if strategy == "lora":
        return _with_adapters(module, lora_rank)
    if strategy == "head":
        module.requires_grad_(False)
        module.get_submodule(head_part(module)).requires_grad_(True)
    return module


def head_part(module: nn.Module) -> str:
    """Return the name of the outermost module that holds the classifier head and nothing else.

    That is the linear layer itself where it lies within the base model, as in timm's models.

    Raises:
        ResqueError: where the model has no head.
    """
    head = find_head(module)
    if head is None:
        raise ResqueError(f"{type(module).__name__} has no classifier head to train alone")
    outermost = head.split(".")[0]
    return head if outermost == getattr(module, "base_model_prefix", "") else outermost


def set_training(module: nn.Module, strategy: str) -> None:
    """Switch to training: where the head alone is trained, all else stays as in evaluation."""
    if strategy == "head":
        module.eval()
        module.get_submodule(head_part(module)).train()
    else:
        module.train()


def _with_adapters(module: nn.Module, rank: int) -> nn.Module:
    try:
        import peft
    except ImportError:
        raise ImportError("LoRA needs peft: pip install 'resque[lora]'") from None
    if rank < 1:
        raise UsageError(f"--lora-rank is {rank}; expected at least 1")
    head = head_part(module)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=_adapted(module, head),
        modules_to_save=[head],
    )
    adapted: nn.Module = peft.get_peft_model(module, config)
    return adapted


def _adapted(module: nn.Module, head: str) -> list[str]:
    """Return the names of the layers that get adapters: linear ones, else convolutions."""
    from transformers.pytorch_utils import Conv1D

    body = [(n, m) for n, m in module.named_modules() if not f"{n}.".startswith(f"{head}.")]
    linear = [name for name, part in body if isinstance(part, nn.Linear | Conv1D)]
    convolutions = [n for n, m in body if isinstance(m, nn.Conv2d) and m.groups == 1]
    if not linear and not convolutions:
        raise ResqueError(f"{type(module).__name__} has no layer that can take adapters")
    return linear or convolutions


def merged(module: nn.Module) -> Any:
    """Return a plain transformers module: adapters are added into the weights."""
    plain: Any = module
    return plain.merge_and_unload() if hasattr(module, "merge_and_unload") else plain


def forward_flops(module: nn.Module, inputs: dict[str, torch.Tensor]) -> float:
    """Count the floating-point operations of one forward pass (matrix products, convolutions)."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    was_training = module.training
    module.eval()
    with torch.no_grad(), counter:
        module(**inputs)
    module.train(was_training)
    return float(counter.get_total_flops())
