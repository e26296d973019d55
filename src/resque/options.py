"""The options that `fingerprint` and `estimate` share, and the command-line flags that they are."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from resque.errors import UsageError, near
from resque.fingerprint_header import GROUPS

if TYPE_CHECKING:
    from resque.representations import Settings

LABELS = ("auto", "data", "predicted")
NOT_FLAGS = ("processor", "token", "progress", "workers")  # none changes a number


@dataclass(frozen=True)
class Options:
    """What `fingerprint` and `estimate` take beside model and data.

    Attributes:
        pooling: "auto", "mean", "cls", "last" or "official".
        labels: "data", "predicted", or "auto": the data's where every side has them, else the
            model's predictions on every side.
        groups: random groups a class, for the error; fewer make a smaller fingerprint.
        clip_norm: longer representations are shortened to this Euclidean norm, which noise for
            privacy needs; a fingerprint's is taken on from it.
        max_samples: draw so many rows at random.
        input_columns: one column, or two for a pair of texts; found where None.
        label_column: found where None.
        streaming: read the data as it goes.
        seed: of the draw, the corruption and the clustering.
        batch_size: samples at once, or "auto".
        workers: data-loader processes; chosen where None.
        skip_bad_rows: leave out and count rows that cannot be read.
        processor: in place of the checkpoint's own.
        device: "auto", "cpu", "cuda", …
        dtype: "auto", "float32", "float16" or "bfloat16".
        trust_remote_code: run code that a repository brings.
        token: for the Hub; never stored.
        progress: show a bar on terminals.
    """

    pooling: str = "auto"
    labels: str = "auto"
    groups: int = GROUPS
    clip_norm: float | None = None
    max_samples: int | None = None
    input_columns: str | Sequence[str] | None = None
    label_column: str | None = None
    streaming: bool = False
    seed: int = 0
    batch_size: int | str = 32
    workers: int | None = None
    skip_bad_rows: bool = False
    processor: Any = None
    device: str = "auto"
    dtype: str = "auto"
    trust_remote_code: bool = False
    token: str | None = field(default=None, repr=False)
    progress: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.input_columns, str):
            object.__setattr__(self, "input_columns", (self.input_columns,))
        if self.labels not in LABELS:
            raise UsageError(f"labels is {self.labels!r}; expected one of {', '.join(LABELS)}")
        if self.groups < 2:
            raise UsageError(f"groups is {self.groups}; the error needs at least 2")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise UsageError(f"clip_norm is {self.clip_norm}; expected a number above 0")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}; expected at least 0")

    @property
    def settings(self) -> Settings:
        """How a pass runs."""
        from resque.representations import Settings

        return Settings(self.batch_size, self.workers, self.skip_bad_rows, self.progress)


def make_options(given: dict[str, Any]) -> Options:
    """Return the options, or say which of them is unknown.

    Raises:
        TypeError: for an unknown option.
    """
    check_known(given, Options)
    return Options(**given)


def check_known(given: Iterable[str], kind: Any) -> None:
    """Raise TypeError, with the names near it, for one that is no field of a dataclass."""
    known = [f.name for f in fields(kind)]
    for name in given:
        if name not in known:
            like = near(name, known) or known
            raise TypeError(f"unknown option {name!r}; near it: {', '.join(like)}")


def flags_of(use: Any, left_out: Collection[str]) -> list[str]:
    """Return the options that are not the default, as command-line flags.

    Args:
        use: a dataclass of options.
        left_out: names of those that are no flags.
    """
    words: list[str] = []
    for f in fields(use):
        value = getattr(use, f.name)
        if value == f.default or f.name in left_out:
            continue
        flag = "--" + {"input_columns": "input-column"}.get(f.name, f.name.replace("_", "-"))
        if value is True:
            words.append(flag)
        else:
            for item in value if isinstance(value, list | tuple) else [value]:
                words += [flag, str(item)]
    return words


def command_line(
    model: str,
    revision: str | None,
    words: Mapping[str, str | None],
    layers: Sequence[str | int] | str | int | None,
    use: Options,
) -> str:
    """Return the command line that measures this again.

    Args:
        model: id or folder.
        revision: commit, where known.
        words: further flags with their values, left out where None.
        layers: as asked for.
        use: the options.
    """
    command = ["resque", "estimate", "--model", f"{model}@{revision}" if revision else model]
    for flag, value in words.items():
        if value is not None:
            command += [f"--{flag}", value]
    asked = [] if layers is None else [layers] if isinstance(layers, str | int) else layers
    command += [f"--layer={layer}" for layer in asked]
    return shlex.join([*command, *flags_of(use, NOT_FLAGS)])
