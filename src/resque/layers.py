"""Chooses which layers of a model to read, and turns a layer's output into a vector a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from resque.errors import ResqueError, UsageError, near
from resque.models import Model, find_head

LAST = "last_hidden_state"
POOLINGS = ("auto", "mean", "cls", "last", "official")


@dataclass(frozen=True)
class Layer:
    """A layer to read.

    Attributes:
        name: what reports call it.
        module: name of the module that the hook sits on; "" for the model itself.
        entering: whether the module's input is read rather than its output.
        pooling: for (N, tokens, features): "mean" under the attention mask, "cls" the first
            token, "last" the last real token, "official" the mean over features. (N, C, H, W)
            is averaged over space by each of them. "none" leaves the tokens to `resque.words`.
        why: one line that says why it was chosen; two ways to the same layer are one layer.
    """

    name: str
    module: str
    entering: bool
    pooling: str
    why: str = field(compare=False)


def choose_layers(
    model: Model, layers: Sequence[str | int] | str | int | None = None, pooling: str = "auto"
) -> tuple[Layer, ...]:
    """Choose the layers to read, the main one first.

    Args:
        model: the model.
        layers: None for the representation that enters the classifier head (without a head, the
            last hidden state); else names of modules, negative indices into the hidden layers
            (−1 is the last), or "all".
        pooling: one of `POOLINGS`.

    Raises:
        ResqueError: where there is no such layer or pooling, or no layer at all.
    """
    if pooling not in POOLINGS:
        raise UsageError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
    hidden = hidden_layers(model.module)
    if layers is None:
        return (_automatic(model, hidden, pooling),)
    if isinstance(layers, str | int):
        layers = [layers]
    chosen: list[Layer] = []
    for layer in layers:
        if layer == "all":
            chosen.append(_automatic(model, hidden, pooling))
            chosen += [_named(model, name, pooling, "all layers") for name in hidden]
        else:
            chosen.append(_one(model, hidden, layer, pooling))
    if not chosen:
        raise UsageError("layers is empty; expected names or indices, or None to choose one")
    return tuple(dict.fromkeys(chosen))


def _automatic(model: Model, hidden: list[str], pooling: str) -> Layer:
    head = find_head(model.module)
    how = _pooling_of(model, pooling)
    if head:
        return Layer(f"{head}.input", head, True, how, "it enters the classifier head")
    if hasattr(model.module, "config"):
        base = _base_name(model.module)
        return Layer(LAST, base, False, how, "the model has no classifier head")
    return _named(model, hidden[-1], pooling, "the model's last layer")


def _base_name(module: nn.Module) -> str:
    """Return the name of the part under a head that is no classifier, such as a language model's.

    "" where the module is that part itself.
    """
    name = getattr(module, "base_model_prefix", "")
    return name if name and isinstance(getattr(module, name, None), nn.Module) else ""


def _one(model: Model, hidden: list[str], layer: str | int, pooling: str) -> Layer:
    if isinstance(layer, str) and layer.lstrip("-").isdigit():
        layer = int(layer)
    if isinstance(layer, int):
        if not -len(hidden) <= layer < len(hidden):
            raise UsageError(
                f"layer {layer} is out of range; the model has {len(hidden)} hidden layers, "
                f"-{len(hidden)} to -1: {', '.join(hidden)}"
            )
        return _named(model, hidden[layer], pooling, f"hidden layer {layer}")
    automatic = _automatic(model, hidden, pooling)
    if layer == automatic.name:
        return automatic
    names = [name for name, _ in model.module.named_modules() if name]
    if layer.removesuffix(".input") in names and layer not in names:
        module = layer.removesuffix(".input")
        return Layer(layer, module, True, _pooling_of(model, pooling), "it was asked for")
    if layer not in names:
        like = near(layer, [*names, automatic.name]) or hidden
        raise UsageError(f"the model has no layer {layer!r}; near it: {', '.join(like)}")
    return _named(model, layer, pooling, "it was asked for")


def _named(model: Model, name: str, pooling: str, why: str) -> Layer:
    return Layer(name, name, False, _pooling_of(model, pooling), why)


def hidden_layers(module: nn.Module) -> list[str]:
    """Return the names of a model's hidden layers, in order.

    They are the members of its last outermost `ModuleList` (the blocks of a transformer, the
    stages of a ResNet), or else the children of its outermost module that has several.
    """
    lists = [
        (name, part)
        for name, part in module.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) > 1
    ]
    outer = [
        (name, part)
        for name, part in lists
        if not any(name.startswith(other + ".") for other, _ in lists)
    ]
    if outer:
        name, part = outer[-1]
        return [f"{name}.{i}" for i in range(len(part))]
    prefix = ""
    while len(children := list(module.named_children())) == 1:
        prefix, module = f"{prefix}{children[0][0]}.", children[0][1]
    return [prefix + name for name, _ in children] or [prefix.rstrip(".")]


def _pooling_of(model: Model, pooling: str) -> str:
    """Return the pooling of token sequences that the model's own head uses."""
    if pooling != "auto":
        return pooling
    module = model.module
    if model.modality == "tensor" and not hasattr(module, "config"):
        return "channels"
    if any(name.split(".")[-1] == "cls_token" for name, _ in module.named_parameters()):
        return "cls"
    if model.modality != "text":
        return "mean"
    if any(getattr(part, "is_causal", False) for part in module.modules()):
        return "last"
    return "cls" if model.n_classes is not None else "mean"


def pool(x: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """Turn a layer's output into one float32 vector a sample.

    Args:
        x: (N, D), (N, tokens, features), (N, C, H, W), or (N, C, …).
        mask: (N, tokens), 1 for real tokens; None, or of another length, counts all as real.
        pooling: as in `Layer`; "channels" averages every axis after the second; "flatten"
            averages nothing, and "none" leaves x as it is.

    Returns:
        (N, D) float32; x with "none".
    """
    if pooling == "none":
        return x
    if x.ndim == 2 or pooling == "flatten":
        return x.flatten(1).float()
    if x.ndim != 3 or pooling in ("channels", "official"):
        return x.flatten(2).mean(dim=2, dtype=torch.float32)
    if pooling == "cls":
        return x[:, 0].float()
    if mask is None or mask.shape != x.shape[:2]:
        return x[:, -1].float() if pooling == "last" else x.mean(dim=1, dtype=torch.float32)
    if pooling == "last":
        positions = torch.arange(mask.shape[1], device=mask.device)
        last = (positions * (mask != 0)).argmax(dim=1)
        return x[torch.arange(len(x), device=x.device), last].float()
    weights = (mask != 0).to(torch.float32)
    total = torch.einsum("ntd,nt->nd", x.float(), weights)
    return total / weights.sum(dim=1, keepdim=True).clamp(min=1)


class Taps:
    """Hooks that pool the chosen layers as the model runs and keep nothing else.

    Use as a context manager; `take()` after each forward pass returns its vectors.
    """

    def __init__(self, model: Model, layers: Sequence[Layer]) -> None:
        self._model = model
        self._layers = layers
        self._mask: Tensor | None = None
        self._found: dict[str, Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Taps:
        for layer in self._layers:
            module = self._model.module.get_submodule(layer.module)
            if layer.entering:
                handle = module.register_forward_pre_hook(self._before(layer), with_kwargs=True)
            else:
                handle = module.register_forward_hook(self._after(layer))
            self._handles.append(handle)
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def expect(self, mask: Tensor | None) -> None:
        """Say the attention mask of the pass to come."""
        self._mask = mask
        self._found = {}

    def take(self) -> dict[str, Tensor]:
        """Return the (N, D) vectors of the last pass, by layer.

        Raises:
            ResqueError: where a layer was not reached.
        """
        for layer in self._layers:
            if layer.name not in self._found:
                raise ResqueError(f"the model does not run layer {layer.name!r} on this input")
        return self._found

    def _before(self, layer: Layer) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(layer, args[0] if args else next(iter(kwargs.values())))

        return hook

    def _after(self, layer: Layer) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, output: Any) -> None:
            self._keep(layer, output)

        return hook

    def _keep(self, layer: Layer, output: Any) -> None:
        x = _tensor_of(output)
        if layer.name == LAST and x is not None and x is getattr(output, "logits", None):
            raise ResqueError(
                f"{type(self._model.module).__name__} gives logits, and no hidden state; name a "
                "layer with --layer (layers=)"
            )
        if x is None:
            raise ResqueError(
                f"layer {layer.name!r} gives a {type(output).__name__}, no tensor; choose another"
            )
        self._found[layer.name] = pool(x, self._mask_for(x), layer.pooling)

    def _mask_for(self, x: Tensor) -> Tensor | None:
        """Return the mask at the layer's own length: sound is shortened by convolutions."""
        mask = self._mask
        shorten = getattr(self._model.module, "_get_feature_vector_attention_mask", None)
        base = getattr(self._model.module, "base_model", None)
        shorten = shorten or getattr(base, "_get_feature_vector_attention_mask", None)
        if mask is None or x.ndim != 3 or mask.shape[1] == x.shape[1] or shorten is None:
            return mask
        short: Tensor = shorten(x.shape[1], mask)
        return short


def _tensor_of(output: Any) -> Tensor | None:
    """Return the hidden state in a layer's output: a tensor, the first of a tuple, or by name."""
    if isinstance(output, Tensor):
        return output
    for name in (LAST, "logits"):
        found = getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    if isinstance(output, tuple | list) and output:
        return _tensor_of(output[0])
    return None
