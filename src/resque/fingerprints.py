"""The fingerprint: what an index needs of a data set, seen by a model, in one file that adds up."""

from __future__ import annotations

import datetime
import json
import tempfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from resque.errors import ResqueError, UsageError, explain
from resque.files import write_whole
from resque.indices import Score, resque_dist_of_sums
from resque.sums import ClassSums, Label

FILE_NAME = "resque.safetensors"
FORMAT_VERSION = 1
GROUPS = 16  # random groups a class: 1,000 classes × 768 dimensions take 98.4 MB


@dataclass(frozen=True)
class Counts:
    """What happened to the samples of a pass.

    Attributes:
        samples: samples that the model saw.
        scored: those of them whose label is a class of the model.
        correct: those of the scored ones that the model predicted.
        loss_sum: sum of the scored ones' cross-entropy, in nats.
        unlabelled: left out because they have no label.
        bad: left out because they cannot be read.
        empty: left out because their text is empty.
        truncated: texts or sounds cut to what the model takes.
    """

    samples: int = 0
    scored: int = 0
    correct: int = 0
    loss_sum: float = 0.0
    unlabelled: int = 0
    bad: int = 0
    empty: int = 0
    truncated: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both."""
        return Counts(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    @property
    def accuracy(self) -> float | None:
        """Accuracy in [0, 1] over the scored samples, or None."""
        return self.correct / self.scored if self.scored else None

    @property
    def loss(self) -> float | None:
        """Mean cross-entropy over the scored samples, in nats, or None."""
        return self.loss_sum / self.scored if self.scored else None


@dataclass(frozen=True)
class Source:
    """A data set, or a part of one, that a fingerprint was made of.

    Attributes:
        dataset: its id or folder.
        revision: its commit, where known.
        config: its configuration, or None.
        split: its split, or None.
        shard: "i/n".
        max_samples: how many rows were drawn, or None for all.
        seed: of that draw and of the corruption.
    """

    dataset: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    shard: str = "1/1"
    max_samples: int | None = None
    seed: int = 0

    def __str__(self) -> str:
        parts = (("@", self.revision), (":", self.config), ("#", self.split))
        name = self.dataset + "".join(mark + part for mark, part in parts if part)
        return name if self.shard == "1/1" else f"{name} (shard {self.shard})"


@dataclass(frozen=True)
class Header:
    """What the sums are of. Two fingerprints add where all but sources, counts and date agree.

    Attributes:
        model: id or folder.
        model_revision: commit, where known.
        weights: digest of a sample of the weights.
        layers: names of the layers, the main one first.
        pooling: how each layer's output became one vector a sample.
        preprocessing: the processor's class and a digest of its settings.
        dtype: what the model computed in.
        labels: "data" or "predicted".
        corruption: "NAME:LEVEL", or None.
        class_names: names of the class ids, or None.
        sources: the data.
        counts: what happened to its samples.
        versions: of the libraries.
        date: ISO date.
    """

    model: str
    model_revision: str | None
    weights: str
    layers: tuple[str, ...]
    pooling: tuple[str, ...]
    preprocessing: str
    dtype: str
    labels: str
    corruption: str | None
    class_names: tuple[str, ...] | None
    sources: tuple[Source, ...]
    counts: Counts
    versions: dict[str, str] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())


# A published model keeps its weights and changes its name, so these alone tell models apart.
COMPARED = ("weights", "preprocessing", "labels")
ADDED = ("model", "model_revision", *COMPARED, "layers", "pooling", "dtype", "corruption")


@dataclass(frozen=True)
class Fingerprint:
    """Per layer and class: counts and sum vectors, over random groups. They add.

    Attributes:
        header: what the sums are of.
        sums: class sums by layer.
    """

    header: Header
    sums: dict[str, ClassSums]

    def __add__(self, other: Fingerprint) -> Fingerprint:
        """Return the fingerprint of both data sets.

        Raises:
            ResqueError: where they differ in model, revision, layers or preprocessing, or hold
                the same data.
        """
        if not isinstance(other, Fingerprint):
            return NotImplemented
        _check_same(self.header, other.header, ADDED, "add")
        twice = [s for s in other.header.sources if s in self.header.sources]
        if twice and not twice[0].dataset.startswith("<"):
            raise ResqueError(f"both fingerprints hold {twice[0]}: its samples would count twice")
        sums = {layer: self.sums[layer] + other.sums[layer] for layer in self.header.layers}
        header = replace(
            self.header,
            sources=tuple(sorted((*self.header.sources, *other.header.sources), key=str)),
            counts=self.header.counts + other.header.counts,
            class_names=self.header.class_names or other.header.class_names,
            date=max(self.header.date, other.header.date),
        )
        return Fingerprint(header, sums)

    @property
    def class_counts(self) -> dict[Label, int]:
        """Samples per class."""
        return self.sums[self.header.layers[0]].class_counts

    def resque_dist(
        self, shifted: Fingerprint, layer: str | None = None, *, paired: bool = False
    ) -> Score:
        """Return RESQUE_dist between this data (the original) and the shifted data.

        Args:
            shifted: fingerprint of the shifted data, by the same model.
            layer: one of `header.layers`; the first by default.
            paired: both are of the same samples, before and after a corruption.

        Raises:
            ResqueError: where the fingerprints are not of the same model and layer.
        """
        _check_same(self.header, shifted.header, COMPARED, "compare")
        layer = layer or self.header.layers[0]
        _check_pooling(self.header, shifted.header, layer)
        for name, part in (("original", self), ("shifted", shifted)):
            if layer not in part.sums:
                raise ResqueError(
                    f"the {name} fingerprint has no layer {layer!r}; it has "
                    f"{', '.join(part.header.layers)}"
                )
        names = self.header.class_names or shifted.header.class_names
        a, b = (_named(part.sums[layer], names) for part in (self, shifted))
        return resque_dist_of_sums(a, b, paired=paired)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `resque.safetensors` into a folder, whole or not at all; return its path.

        Raises:
            ResqueError: where it cannot be written.
        """
        from safetensors.numpy import save_file

        target = Path(folder) / FILE_NAME
        tensors, metadata = self._pack()
        return write_whole(target, lambda path: save_file(tensors, path, metadata=metadata))

    def _pack(self) -> tuple[dict[str, Any], dict[str, str]]:
        header = asdict(self.header) | {"format_version": FORMAT_VERSION}
        header["groups"] = self.sums[self.header.layers[0]].n_groups
        header["classes"] = {layer: self.sums[layer].labels for layer in self.header.layers}
        tensors = {}
        for i, layer in enumerate(self.header.layers):
            tensors[f"{i}.counts"] = np.ascontiguousarray(self.sums[layer].counts)
            tensors[f"{i}.sums"] = np.ascontiguousarray(self.sums[layer].sums)
        return tensors, {"resque": json.dumps(header, sort_keys=True)}

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, revision: str | None = None, token: str | None = None
    ) -> Fingerprint:
        """Load a fingerprint from a folder, a file or a model repository on the Hub.

        Raises:
            ResqueError: where there is none, or the file is truncated, foreign, newer or altered.
        """
        path = Path(source).expanduser()
        if path.is_dir():
            path = path / FILE_NAME
            if not path.is_file():
                raise ResqueError(f"{source} holds no {FILE_NAME}: it is not a fingerprint")
        elif not path.is_file():
            path = _download(str(source), revision, token)
        return _read(path)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | None = None,
        private: bool | None = None,
        create_pr: bool = False,
        commit_message: str = "Add the RESQUE fingerprint",
    ) -> str:
        """Upload `resque.safetensors` to a model repository, made where it is missing.

        Returns:
            The commit's (or the pull request's) address.

        Raises:
            ResqueError: where the Hub cannot be reached or refuses.
        """
        from huggingface_hub import HfApi

        check_repo_id(repo_id)
        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as folder:
            path = self.save_pretrained(folder)
            try:
                api.create_repo(repo_id, private=private, exist_ok=True)
                commit = api.upload_file(
                    path_or_fileobj=path,
                    path_in_repo=FILE_NAME,
                    repo_id=repo_id,
                    create_pr=create_pr,
                    commit_message=commit_message,
                )
            except Exception as error:
                raise explain(error, "repository", repo_id) from error
        return str(commit.pr_url if create_pr else commit.commit_url)


def check_repo_id(repo_id: str) -> None:
    """Raise UsageError where this cannot be a repository's id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(str(error)) from error


def _check_same(a: Header, b: Header, names: tuple[str, ...], verb: str) -> None:
    for name in names:
        x, y = getattr(a, name), getattr(b, name)
        if x != y:
            what = "model weights" if name == "weights" else name.replace("_", " ")
            x, y = (f"{z} (of {h.model})" if name == "weights" else z for z, h in ((x, a), (y, b)))
            raise ResqueError(f"cannot {verb} fingerprints of different {what}: {x} and {y}")


def _check_pooling(a: Header, b: Header, layer: str) -> None:
    how = [dict(zip(h.layers, h.pooling, strict=True)).get(layer) for h in (a, b)]
    if None not in how and how[0] != how[1]:
        raise ResqueError(
            f"cannot compare layer {layer} of different pooling: {how[0]} and {how[1]}"
        )


def _named(sums: ClassSums, names: tuple[str, ...] | None) -> ClassSums:
    """Return the sums with class ids replaced by their names, where these are known."""
    if not names or not all(isinstance(x, int) and 0 <= x < len(names) for x in sums.labels):
        return sums
    labels: list[Label] = [names[int(x)] for x in sums.labels]
    return replace(sums, labels=labels)


def _download(repo_id: str, revision: str | None, token: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        return Path(hf_hub_download(repo_id, FILE_NAME, revision=revision, token=token))
    except HFValidationError:
        raise ResqueError(f"there is no folder {repo_id!r}, and it is no id on the Hub") from None
    except EntryNotFoundError as error:
        if type(error).__name__ == "EntryNotFoundError" or "Remote" in type(error).__name__:
            raise ResqueError(f"{repo_id!r} holds no {FILE_NAME}: no fingerprint yet") from None
        raise explain(error, "model", repo_id) from error
    except Exception as error:
        raise explain(error, "model", repo_id) from error


def _read(path: Path) -> Fingerprint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ResqueError(f"{path} is truncated or not a safetensors file: {error}") from error
    if "resque" not in metadata:
        raise ResqueError(f"{path} is a safetensors file, but not a fingerprint")
    try:
        return _unpack(json.loads(metadata["resque"]), arrays)
    except ResqueError as error:
        raise ResqueError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResqueError(f"{path} has a damaged header: {error!r}") from error


def _unpack(raw: dict[str, Any], arrays: dict[str, Any]) -> Fingerprint:
    version = raw["format_version"]
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise ResqueError(
            f"format version {version}; this resque reads up to {FORMAT_VERSION}. Upgrade resque"
        )
    known = {f.name: raw[f.name] for f in fields(Header)}
    for name in ("layers", "pooling"):
        known[name] = tuple(known[name])
    known["class_names"] = tuple(known["class_names"]) if known["class_names"] else None
    known["sources"] = tuple(Source(**source) for source in known["sources"])
    known["counts"] = Counts(**known["counts"])
    header = Header(**known)
    sums = {}
    for i, layer in enumerate(header.layers):
        labels = raw["classes"][layer]
        counts, vectors = arrays[f"{i}.counts"], arrays[f"{i}.sums"]
        _check_arrays(layer, labels, raw["groups"], counts, vectors)
        sums[layer] = ClassSums(raw["groups"], labels, counts, vectors)
    return Fingerprint(header, sums)


def _check_arrays(layer: str, labels: list[Label], groups: int, counts: Any, sums: Any) -> None:
    shape = (len(labels), groups)
    if counts.dtype != np.int64 or sums.dtype != np.float64:
        raise ResqueError(f"layer {layer} holds {counts.dtype} counts and {sums.dtype} sums")
    if counts.shape != shape or sums.ndim != 3 or sums.shape[:2] != shape:
        raise ResqueError(
            f"layer {layer} has counts {counts.shape}, sums {sums.shape}; its header says {shape}"
        )
    if not all(isinstance(x, str | int) for x in labels) or len(set(labels)) < len(labels):
        raise ResqueError(f"layer {layer} has class names that are no names, or twice the same")
    if (counts < 0).any():
        raise ResqueError(f"layer {layer} has negative counts")
    if not np.isfinite(sums).all():
        raise ResqueError(f"layer {layer} has NaN or infinite sums")
    if sums[counts == 0].any():
        raise ResqueError(f"layer {layer} has sums over no samples")
