"""Opens a data set, from the Hub, a folder or memory, and reads its rows."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resque.columns import Columns, LabelUse, find_columns
from resque.errors import ResqueError, UsageError, explain
from resque.hub import limit_requests
from resque.sampling import draw_rows
from resque.sums import Ints

log = logging.getLogger(__name__)

SPLITS = ("test", "validation", "valid", "dev", "train")  # taken in this order
FILES = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}
REST = re.compile(r"(?:@(?P<revision>[^:#]+))?(?::(?P<config>[^#]+))?(?:#(?P<split>.+))?")
STREAM_SLICE = re.compile(r"(?P<split>[\w.-]+)\[(?P<start>\d*):(?P<stop>\d*)\]")
SHUFFLE_BUFFER = 10_000


@dataclass(frozen=True)
class DataSpec:
    """A data set in the notation `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]`."""

    path: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        parts = (("@", self.revision), (":", self.config), ("#", self.split))
        return self.path + "".join(mark + part for mark, part in parts if part)


@dataclass(frozen=True)
class Source:
    """A data set that was opened, before a split of it is chosen.

    Attributes:
        rows: its splits by name, or its only one.
        spec: where it is from.
    """

    rows: Any
    spec: DataSpec

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits; empty where it has one only."""
        return tuple(map(str, self.rows)) if isinstance(self.rows, dict) else ()

    def at(self, split: str | None) -> Source:
        """The same with another split chosen, as `NAME` or `NAME[START:STOP]`."""
        return replace(self, spec=replace(self.spec, split=split))


@dataclass(frozen=True)
class Data:
    """An opened data set.

    Attributes:
        rows: a `datasets.Dataset` or, streamed, an `IterableDataset`.
        spec: where it is from; the revision is the commit where that is known.
        columns: which columns are read.
        indices: (n,) positions in the split of the rows to read; None for a stream.
        n_rows: how many rows are read; None where a stream does not know.
        part: (i, n): the i-th of n shards; (1, 1) for all.
        first: position in the split of a stream's first row.
    """

    rows: Any
    spec: DataSpec
    columns: Columns
    indices: Ints | None
    n_rows: int | None
    part: tuple[int, int] = (1, 1)
    first: int = 0


def parse_spec(text: str) -> DataSpec:
    """Read `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]`; a path that exists is taken whole.

    Raises:
        ResqueError: where the text is not of that form.

    >>> parse_spec("org/pacs@main:photo#train[:10%]")
    DataSpec(path='org/pacs', revision='main', config='photo', split='train[:10%]')
    """
    ends = [len(text), *(m.start() for m in reversed(list(re.finditer("[@:#]", text))))]
    end = next((e for e in ends if e and Path(text[:e]).expanduser().exists()), None)
    if end is None:
        found = re.search("[@:#]", text)
        end = found.start() if found else len(text)
    path, rest = text[:end], REST.fullmatch(text[end:])
    if not path or rest is None:
        raise UsageError(
            f"data set {text!r} is not ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT], as in "
            "org/name:config#train"
        )
    return DataSpec(path, rest["revision"], rest["config"], rest["split"])


def open_source(data: Any, *, streaming: bool = False, token: str | None = None) -> Source:
    """Open a data set with all its splits.

    Args:
        data: a spec, folder, file, `Dataset`, `IterableDataset`, dict of these, or a `Source`.
        streaming: read from the Hub as it goes, keeping nothing.
        token: for the Hub.

    Raises:
        ResqueError: where it is not there, with what is.
        TypeError: where data is nothing of that.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, str | Path):
        spec = parse_spec(str(data))
        return Source(_load(spec, streaming, token), spec)
    if hasattr(data, "features") or isinstance(data, dict):
        return Source(data, DataSpec(f"<{type(data).__name__}>"))
    raise TypeError(
        f"the data set is a {type(data).__name__}; expected an id, a folder or a Dataset"
    )


def open_data(
    data: Any, *, streaming: bool = False, token: str | None = None
) -> tuple[Any, DataSpec, int]:
    """Open one split of a data set.

    Args:
        data: as for `open_source`.
        streaming: read from the Hub as it goes, keeping nothing.
        token: for the Hub.

    Returns:
        Rows, where they are from, and the position of the first row in its split.

    Raises:
        ResqueError: where it is not there, with what is.
        TypeError: where data is nothing of that.
    """
    source = open_source(data, streaming=streaming, token=token)
    rows, spec, start = _pick_split(source.rows, source.spec)
    return rows, replace(spec, revision=_commit(rows, spec)), start


def _load(spec: DataSpec, streaming: bool, token: str | None) -> Any:
    import datasets

    path = Path(spec.path).expanduser()
    if path.exists() and spec.revision:
        raise UsageError(f"{path} is here, which has no revisions: leave out @{spec.revision}")
    if path.is_file() and spec.config:
        raise UsageError(f"{path} is a file, which has no configs: leave out :{spec.config}")
    try:
        if path.is_dir() and any((path / f).exists() for f in ("state.json", "dataset_dict.json")):
            return datasets.load_from_disk(str(path))
        if path.is_file():
            return _load_file(path, streaming)
        if not path.exists() and (path.is_absolute() or spec.path.startswith((".", "~"))):
            raise ResqueError(f"there is no folder or file {spec.path!r}")
        if not path.exists():
            limit_requests()
        return datasets.load_dataset(
            str(path) if path.exists() else spec.path,
            spec.config,
            revision=spec.revision,
            streaming=streaming,
            token=token,
        )
    except ResqueError:
        raise
    except Exception as error:
        raise _explain_data(error, spec) from error


def _load_file(path: Path, streaming: bool) -> Any:
    import datasets

    if path.suffix not in FILES:
        raise ResqueError(f"{path.name} is not a data file; known: {', '.join(FILES)}")
    options = {"sep": "\t"} if path.suffix == ".tsv" else {}
    return datasets.load_dataset(
        FILES[path.suffix], data_files=str(path), streaming=streaming, **options
    )


def _explain_data(error: Exception, spec: DataSpec) -> ResqueError:
    text = str(error)
    if "Config name is missing" in text or "BuilderConfig" in text:
        configs = re.findall(r"'([^']+)'", text.split("available configs")[-1].split("Example")[0])
        listed = re.search(r"\[([^\]]*)\]", text)
        names = listed[1] if listed else ", ".join(configs)
        wanted = f"has no config {spec.config!r}" if spec.config else "has several configs"
        return ResqueError(
            f"data set {spec.path!r} {wanted}; choose {spec.path}:CONFIG from {names}"
        )
    if "corresponds to no data" in text:
        return ResqueError(f"{spec} has no rows")
    if type(error).__name__ in ("DataFilesNotFoundError", "EmptyDatasetError"):
        return ResqueError(f"{spec.path!r} holds no data files that datasets can read")
    return explain(error, "data set", spec.path)


def _pick_split(rows: Any, spec: DataSpec) -> tuple[Any, DataSpec, int]:
    """Return the rows of the split asked for, or of the default one, with their first position."""
    if not isinstance(rows, dict):
        if spec.split is None:
            return rows, spec, 0
        if getattr(rows, "split", None) is None:
            raise ResqueError(f"{spec.path!r} has one split only; leave out #{spec.split}")
        rows = {str(rows.split): rows}
    if not rows:
        raise ResqueError(f"{spec.path!r} has no split")
    if spec.split is None:
        name = next((s for s in SPLITS if s in rows), None) or next(iter(rows))
        return rows[name], replace(spec, split=name), 0
    if spec.split in rows:
        return rows[spec.split], spec, 0
    name = re.split(r"[\[+]", spec.split)[0]
    if name not in rows:
        raise ResqueError(
            f"data set {spec.path!r} has no split {name!r}; it has {', '.join(map(str, rows))}"
        )
    part, start = _slice(rows[name], name, spec)
    return part, spec, start


def _slice(rows: Any, name: str, spec: DataSpec) -> tuple[Any, int]:
    import datasets

    if not isinstance(rows, datasets.Dataset):
        found = STREAM_SLICE.fullmatch(spec.split or "")
        if not found:
            raise ResqueError(f"a stream takes #{name} or #{name}[START:STOP], not #{spec.split}")
        start = int(found["start"] or 0)
        rows = rows.skip(start)
        return (rows.take(max(int(found["stop"]) - start, 0)) if found["stop"] else rows), start
    try:
        parts = datasets.ReadInstruction.from_spec(spec.split).to_absolute({name: len(rows)})
    except (ValueError, AssertionError, KeyError) as error:
        raise ResqueError(f"split {spec.split!r} is not understood: {error}") from error
    if len(parts) != 1:
        raise ResqueError(f"one slice at a time, not {spec.split!r}")
    start, stop = parts[0].from_ or 0, parts[0].to
    return rows.select(range(start, max(start, len(rows) if stop is None else stop))), start


def _commit(rows: Any, spec: DataSpec) -> str | None:
    """Return the commit that names the cached files' folder, else the revision asked for."""
    for file in getattr(rows, "cache_files", None) or ():
        folder = Path(file["filename"]).parent.name
        if re.fullmatch("[0-9a-f]{40}", folder):
            return folder
    return spec.revision


def load_data(
    data: Any,
    *,
    modality: str,
    input_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    labels: LabelUse = "wanted",
    tensor_names: Sequence[str] = (),
    max_samples: int | None = None,
    streaming: bool = False,
    seed: int = 0,
    shard: tuple[int, int] = (1, 1),
    token: str | None = None,
    any_target: bool = False,
) -> Data:
    """Open a data set, find its columns and choose its rows.

    Args:
        data: as for `open_source`.
        modality: what the model takes: "image", "text", "audio" or "tensor".
        input_columns: the user's choice, found by feature and name where None.
        label_column: the user's choice, found by feature and name where None.
        labels: "needed", "wanted" or "optional", as for `find_columns`.
        tensor_names: columns of these names pass to the model as they are.
        max_samples: read so many rows, drawn at random without replacement; of a stream, from a
            shuffle buffer of 10,000.
        streaming: read from the Hub as it goes, keeping nothing.
        seed: of that draw.
        shard: (i, n), i from 1 to n: read the i-th part of n of the rows.
        token: for the Hub.
        any_target: labels may be numbers, or a class for each word, as well as classes.

    Raises:
        ResqueError: where data, split or columns are not there, or there are no rows.
        TypeError: where labels are not classes.
    """
    if not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"shard {shard[0]}/{shard[1]} is not i/n with i from 1 to n")
    if max_samples is not None and max_samples < 1:
        raise UsageError(f"max_samples is {max_samples}; expected at least 1")
    rows, spec, start = open_data(data, streaming=streaming, token=token)
    features = rows.features or _first_features(rows)
    columns = find_columns(
        dict(features),
        modality,
        input_columns=input_columns,
        label_column=label_column,
        labels=labels,
        tensor_names=tensor_names,
        any_target=any_target,
    )
    rows = _raw(rows, features, columns)
    if not hasattr(rows, "__len__"):
        if max_samples is not None:
            rows = rows.shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER).take(max_samples)
        return Data(rows, spec, columns, None, None, shard, first=start)
    chosen = draw_rows(len(rows), max_samples, seed)[shard[0] - 1 :: shard[1]]
    if not len(chosen):
        raise ResqueError(f"{spec} has no rows" + (" in this shard" if len(rows) else ""))
    rows = rows.select(chosen) if len(chosen) < len(rows) else rows
    return Data(rows, spec, columns, chosen + start, len(chosen), shard)


def _first_features(rows: Any) -> Any:
    features = rows._resolve_features().features
    if features is None:
        raise ResqueError("the stream is empty")
    return features


def _raw(rows: Any, features: Any, columns: Columns) -> Any:
    """Keep the columns that are read; images and audio stay encoded, so that a bad one is named."""
    import datasets

    wanted = [*columns.inputs, *([columns.label] if columns.label else [])]
    formatted = rows.with_format(None) if isinstance(rows, datasets.Dataset) else rows
    rows = formatted.select_columns(list(dict.fromkeys(wanted)))
    if columns.modality == "tensor" and isinstance(rows, datasets.Dataset):
        return rows.with_format("numpy", columns=list(columns.inputs), output_all_columns=True)
    for name in columns.inputs:
        if type(features[name]).__name__ == "Image":
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif type(features[name]).__name__ == "Audio":
            rows = rows.cast_column(name, datasets.Audio(decode=False))
    return rows


def iterate(
    data: Data, block: int = 1, rank: int = 0, world: int = 1
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (index, raw row) of every `world`-th block of rows from the `rank`-th block on.

    The parts of all ranks together are the rows of the data set, each once.
    """
    if data.indices is not None:
        for start in range(rank * block, len(data.indices), world * block):
            for position in range(start, min(start + block, len(data.indices))):
                yield int(data.indices[position]), data.rows[position]
        return
    first, step = data.part[0] - 1, data.part[1]
    for index, row in enumerate(data.rows):
        if index % step == first and (index // step // block) % world == rank:
            yield data.first + index, row
