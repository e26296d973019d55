"""RESQUE as an `evaluate` metric: it holds the arrays in memory and calls the package `resque`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import evaluate
import numpy as np

_CITATION = """\
@inproceedings{sangarya2025resque,
  title = {RESQUE: Quantifying Estimator to Task and Distribution Shift for Sustainable Model
           Reusability},
  author = {Sangarya, Vishwesh and Kim, Jung-Eun},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  year = {2025},
  eprint = {2412.15511},
  archivePrefix = {arXiv},
}
"""

_DESCRIPTION = """\
RESQUE estimates from forward passes alone what it will cost to retrain a model, for a distribution
shift or for a new task. It compares hidden states: the input of a model's classifier head, say.

RESQUE_dist (configuration `dist`, the default): each class's hidden states are summed over the
original and over the shifted data; the angle between the two sums, divided by pi, is the class's
score, and the mean over the classes is the index, in [0, 1].

RESQUE_task (configuration `task`): the hidden states of the new task's data are clustered with
k-means into as many clusters as there are classes; the index is 1 - adjusted Rand index, in
[0, 1.5].

Both come with a 95 % interval and a noise floor: the index expected with no shift (or with a
clustering that finds what it can) at this sample size. Lower means cheaper to reuse.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: hidden states of the shifted data (`dist`) or of the new task's data (`task`):
        (N, D) or (N, C, ...), where every axis after the channel axis is averaged; numpy arrays,
        torch tensors or lists. Not class predictions.
    references: (N,) class labels of those rows, ints or strings.
    original_predictions (`dist` only): hidden states of the original data, (M, D) or (M, C, ...).
    original_references (`dist` only): (M,) class labels of those rows. M and N may differ.
    model_id: instead of the arrays: a model's id on the Hub, a folder, or a loaded module. The
        metric then runs the model over `original` and `shifted`, or over `task`.
    original: the original data for `model_id`: `name[@revision][:config][#split]`, a folder, a
        data set, or a fingerprint.
    shifted: the shifted data for `model_id`.
    task: the new task's data for `model_id`.
    **options: passed on to `resque.resque_dist`, `resque.resque_task` (`init="centroids"` or
        `"k-means++"`) or `resque.estimate`.

Returns:
    resque_dist (float): the index, in [0, 1], with the configuration `dist`.
    resque_task (float): the index, in [0, 1.5], with the configuration `task`.
    interval (list of 2 floats): 95 % confidence interval, [low, high].
    noise_floor (float): the index expected with no shift at this sample size.
    debiased (float, `dist`): the index with the sampling bias taken out.
    p_value (float, `dist`): probability of so large an index with no shift.
    per_class (dict, `dist`): each class's score.

Examples:
    >>> import numpy as np
    >>> metric = evaluate.load("resque")
    >>> hidden = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> result = metric.compute(
    ...     predictions=-hidden, references=["a", "a", "b", "b"],
    ...     original_predictions=hidden, original_references=["a", "a", "b", "b"])
    >>> result["resque_dist"]
    1.0
"""

CONFIGS = ("dist", "task")


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Resque(evaluate.Metric):
    """RESQUE_dist and RESQUE_task, computed by the package `resque`."""

    def __init__(
        self,
        config_name: str | None = None,
        *args: Any,
        predictions_name: str = "predictions",
        **kwargs: Any,
    ) -> None:
        """Prepare the metric; `evaluate.load` calls this.

        Args:
            config_name: `dist` (also when None) or `task`.
            *args: evaluate's own.
            predictions_name: the argument that carries the hidden states. `evaluate.combine` gives
                all metrics the same `predictions`: with accuracy, which wants class ids there, say
                `hidden_states` here.
            **kwargs: evaluate's own.

        Raises:
            ValueError: for an unknown configuration, or several processes.
        """
        if config_name not in (None, "default", *CONFIGS):
            raise ValueError(
                f"unknown configuration {config_name!r}: the metric resque has 'dist' "
                "(a distribution shift, the default) and 'task' (a new task)"
            )
        self._input_names = _input_names(predictions_name, config_name == "task")
        self._held: dict[str, list[Any]] = {}
        name = "task" if config_name == "task" else "dist"
        super().__init__(name, *args, **kwargs)
        if self.num_process > 1:
            raise ValueError(
                f"num_process={self.num_process}: the metric resque holds its arrays in one "
                "process. Gather them first (accelerate's gather_for_metrics), or add up the "
                "processes' fingerprints (resque.Fingerprint)"
            )

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[_features(self._input_names, dtype) for dtype in ("int64", "string")],
            license="Apache-2.0",
            reference_urls=["https://arxiv.org/abs/2412.15511"],
        )

    def __len__(self) -> int:
        """Return how many rows of `predictions` are held."""
        return sum(len(batch) for batch in self._held.get(self._input_names[0], []))

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one sample's hidden state and label.

        Args:
            prediction: (D,) or (C, ...) hidden state of one sample.
            reference: its class label.
            **kwargs: `original_prediction` and `original_reference`, likewise.
        """
        sample = {"predictions": prediction, "references": reference}
        sample |= {name if name.endswith("s") else name + "s": x for name, x in kwargs.items()}
        self.add_batch(**{name: _one(x) for name, x in sample.items()})

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add a batch of hidden states and labels, of the one side or of both.

        The batch is copied, so that its buffer may be used again.

        Args:
            predictions: (n, D) or (n, C, ...) hidden states.
            references: (n,) class labels.
            **kwargs: `original_predictions` and `original_references`, likewise.

        Raises:
            ValueError: for inputs that the configuration lacks, or of unequal lengths.
        """
        given = {"predictions": predictions, "references": references, **kwargs}
        unknown = sorted(set(kwargs) - set(self._input_names))
        if unknown:
            raise ValueError(
                f"configuration '{self.config_name}' has no input {', '.join(unknown)}; "
                f"its inputs are {', '.join(self._input_names)}"
            )
        for name, array in self._take(given).items():
            self._held.setdefault(name, []).append(_copy(array))

    def compute(
        self, *, predictions: Any = None, references: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Compute the index of the arrays given here after those added before, or of a model.

        Args:
            predictions: (N, D) or (N, C, ...) hidden states.
            references: (N,) class labels.
            **kwargs: `original_predictions`, `original_references`; or `model_id` with its data.

        Raises:
            ValueError: where an input is missing or does not fit the others.
        """
        if kwargs.get("model_id") is not None:
            return self._run_model(predictions, references, kwargs)
        given = {"predictions": predictions, "references": references, **kwargs}
        self._refuse(kwargs)
        options = {
            name: value
            for name, value in kwargs.items()
            if name not in self._input_names and not (name == "model_id" and value is None)
        }
        now = self._take(given)
        self._check_complete(now)
        arrays = [_join(self._held.pop(n, []), now.pop(n, None)) for n in self._input_names]
        return self._compute(arrays, **options)

    def _compute(self, arrays: list[Any], **options: Any) -> dict[str, Any]:
        if self.config_name == "task":
            return _result("resque_task", _package().resque_task(*arrays, **options))
        shifted, shifted_labels, original, original_labels = arrays
        score = _package().resque_dist(
            original, original_labels, shifted, shifted_labels, **options
        )
        return _result("resque_dist", score)

    def _run_model(self, predictions: Any, references: Any, kwargs: Any) -> dict[str, Any]:
        arrays = {"predictions": predictions, "references": references, **kwargs}
        arrays = {name: arrays.get(name) for name in self._input_names}
        if self._held or any(x is not None for x in arrays.values()):
            raise ValueError(
                "give either model_id and its data, or arrays (predictions, references, ...), "
                "not both"
            )
        options = {name: value for name, value in kwargs.items() if name not in arrays}
        model = options.pop("model_id")
        key = "resque_dist" if options.get("task") is None else "resque_task"
        return _result(key, _package().estimate(model, **options).score)

    def _take(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs that were given, as arrays and lists of labels that fit together."""
        taken = {n: given[n] for n in self._input_names if given.get(n) is not None}
        for states, labels in zip(self._input_names[::2], self._input_names[1::2], strict=True):
            if states in taken:
                taken[states] = _as_array(states, taken[states])
            if labels in taken:
                taken[labels] = _as_labels(taken[labels])
            if (states in taken) != (labels in taken):
                absent, there = (labels, states) if states in taken else (states, labels)
                raise ValueError(f"{absent} is missing: {there} was given without it")
            if states in taken and len(taken[states]) != len(taken[labels]):
                raise ValueError(
                    f"{states} has {len(taken[states])} rows, but {labels} has "
                    f"{len(taken[labels])} labels: give one label a row"
                )
        return taken

    def _check_complete(self, now: dict[str, Any]) -> None:
        missing = [n for n in self._input_names if n not in now and n not in self._held]
        if missing:
            raise ValueError(
                f"RESQUE_{self.config_name} needs {', '.join(self._input_names)}; missing: "
                f"{', '.join(missing)}. Give them to add_batch or compute, or give model_id with "
                "original and shifted (or task), and the metric runs the model"
            )

    def _refuse(self, kwargs: dict[str, Any]) -> None:
        """Refuse what belongs to the other configuration, or to a model that was not named."""
        foreign = {"original_predictions", "original_references"} - set(self._input_names)
        found = sorted(name for name in foreign if kwargs.get(name) is not None)
        if found and self.config_name == "task":
            raise ValueError(
                f"configuration 'task' has no input {', '.join(found)}: for a distribution shift "
                "use evaluate.load('resque')"
            )
        data = [n for n in ("original", "shifted", "task") if kwargs.get(n) is not None]
        if data:
            raise ValueError(
                f"{', '.join(data)} needs model_id, the model to run over it; hidden states are "
                f"given as {', '.join(self._input_names)}"
            )


def _input_names(states: str, is_task: bool) -> tuple[str, ...]:
    here = (states, "references")
    return here if is_task else (*here, f"original_{states}", "original_references")


def _features(names: tuple[str, ...], label_dtype: str) -> datasets.Features:
    return datasets.Features(
        {
            name: datasets.Value(label_dtype)
            if name.endswith("references")
            else datasets.Sequence(datasets.Value("float32"))
            for name in names
        }
    )


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "torch"


def _as_array(name: str, value: Any) -> Any:
    """Return a torch tensor on the CPU or a numpy array, uncopied where it is one already."""
    if isinstance(value, (list, tuple)) and value and _is_tensor(value[0]):
        value = importlib.import_module("torch").stack(list(value))
    if _is_tensor(value):
        array = value.detach().cpu()
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ValueError(
                f"{name} must be an array, but its rows differ in shape: {error}"
            ) from None
    if array.ndim < 2:
        raise ValueError(
            f"{name} must be hidden states, (N, D) or (N, C, ...), but has shape "
            f"{tuple(array.shape)}. Where class ids take the name 'predictions' (evaluate.combine "
            "with accuracy), use evaluate.load('resque', predictions_name='hidden_states')"
        )
    return array


def _as_labels(value: Any) -> list[Any]:
    return list(value.tolist() if hasattr(value, "tolist") else value)


def _one(sample: Any) -> Any:
    """Return a batch of one."""
    if sample is None:
        return None
    return sample[None] if getattr(sample, "ndim", 0) else [sample]


def _copy(batch: Any) -> Any:
    return batch.clone() if _is_tensor(batch) else batch.copy()


def _join(held: list[Any], last: Any) -> Any:
    """Join the batches held and the last; the only one is returned as it is."""
    batches = held if last is None else [*held, last]
    if len(batches) == 1:
        return batches[0]
    if isinstance(batches[0], list):
        return [label for batch in batches for label in batch]
    shapes = sorted({tuple(batch.shape[1:]) for batch in batches})
    if len(shapes) > 1:
        raise ValueError(
            f"the batches' rows differ in shape: {shapes}. Give each batch the same layer and "
            "pooling (average sequences of different lengths first)"
        )
    if all(_is_tensor(batch) for batch in batches):
        return importlib.import_module("torch").cat(batches)
    return np.concatenate([_as_numpy(batch) for batch in batches])


def _as_numpy(batch: Any) -> Any:
    if not _is_tensor(batch):
        return batch
    return (batch.float() if str(batch.dtype) == "torch.bfloat16" else batch).numpy()


def _result(key: str, score: Any) -> dict[str, Any]:
    """Return a score as plain numbers."""
    numbers = score.to_dict()
    names = ["interval", "noise_floor"]
    if key == "resque_dist":
        names += ["debiased", "p_value", "per_class"]
    return {key: numbers["value"], **{name: numbers[name] for name in names}}


def _package() -> ModuleType:
    """Import the package, also where a file resque.py (such as this one) in the path hides it."""
    package = importlib.import_module("resque")
    if hasattr(package, "resque_dist"):
        return package
    path = list(sys.path)
    sys.path[:] = [folder for folder in path if not (Path(folder) / "resque.py").is_file()]
    hidden = sys.modules.pop("resque")
    try:
        return importlib.import_module("resque")
    except ImportError:
        sys.modules["resque"] = hidden
        raise ImportError(
            f"the package resque is not installed, or {getattr(hidden, '__file__', 'a folder')} "
            "hides it: `pip install resque`"
        ) from None
    finally:
        sys.path[:] = path
