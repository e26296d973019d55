"""The fingerprint: what an index needs of a data set, seen by a model, in one file that adds up."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

from resque.errors import ResqueError
from resque.fingerprint_file import choose_file, file_of, files_in, read_file, write_file
from resque.fingerprint_header import Header
from resque.indices import Score, resque_dist_of_sums
from resque.sums import ClassSums, Label

MIN_CLASS_COUNT = 5  # samples a class, of what is published
# A published model keeps its weights and changes its name, so these alone tell models apart.
COMPARED = ("weights", "preprocessing", "labels", "clip_norm")
ADDED = ("model", "model_revision", *COMPARED, "layers", "pooling", "dtype", "corruption", "noise")


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
        if self.header.noise:
            raise ResqueError("noise was added to these fingerprints: add them before it")
        for a, b in itertools.product(self.header.sources, other.header.sources):
            if a.shares_rows(b):
                what = f"both fingerprints hold {a}: its" if a == b else f"{b} is of {a}: some"
                raise ResqueError(f"{what} samples would count twice")
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

    def save_pretrained(self, folder: str | Path, *, name: str | None = None) -> Path:
        """Write `resque.safetensors` into a folder, whole or not at all; return its path.

        Args:
            folder: made where it is missing.
            name: tells several fingerprints of a folder apart: `resque/<name>.safetensors`.

        Raises:
            UsageError: where the name cannot be a file's.
            ResqueError: where it cannot be written.
        """
        return write_file(Path(folder) / file_of(name), self.header, self.sums)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        name: str | None = None,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Fingerprint:
        """Load a fingerprint from a folder, a file or a model repository on the Hub.

        Args:
            source: folder, file, or repository id.
            name: which of several: `resque/<name>.safetensors`. Without it:
                `resque.safetensors`, or the only one there is.
            revision: branch, tag or commit of the repository.
            token: in place of HF_TOKEN or that of `hf auth login`.
            cache_dir: in place of huggingface_hub's cache.
            local_files_only: look into the cache alone.

        Raises:
            UsageError: where the name cannot be a file's.
            ResqueError: where there is none, or the file is truncated, foreign, newer or altered.
        """
        path = Path(source).expanduser()
        if path.is_file():
            return cls(*read_file(path))
        if path.is_dir():
            return cls(*read_file(path / choose_file(name, files_in(path), str(source))))
        from resque.fingerprint_hub import pull

        return pull(
            str(source),
            name=name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        name: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = "Add the RESQUE fingerprint",
        min_class_count: int = MIN_CLASS_COUNT,
        epsilon: float | None = None,
        delta: float = 1e-5,
    ) -> str:
        """Upload the fingerprint to a model repository, made where it is missing.

        What is uploaded: the class sums, their counts, class and layer names, the model's and the
        data's ids (of local folders, no path), versions and date. See `resque.privacy`.

        Args:
            repo_id: of the model.
            name: tells several fingerprints apart: `resque/<name>.safetensors`.
            revision: branch, made where it is missing.
            create_pr: ask for it in a pull request.
            private: whether a new repository is private.
            token: in place of HF_TOKEN or that of `hf auth login`.
            commit_message: title of the commit.
            min_class_count: classes with fewer samples are left out.
            epsilon: adds noise for (epsilon, delta)-differential privacy; needs a fingerprint
                that was made with `clip_norm`.
            delta: of that noise.

        Returns:
            The commit's (or the pull request's) address.

        Raises:
            UsageError: where the id, the name or the noise is none.
            ResqueError: where the Hub cannot be reached or refuses, or no class is left.
        """
        from resque.fingerprint_hub import push
        from resque.hub import Target

        return push(
            self,
            Target(repo_id, "model", revision, create_pr, private, token),
            name=name,
            message=commit_message,
            min_class_count=min_class_count,
            epsilon=epsilon,
            delta=delta,
        )


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
