"""The file of a fingerprint: its name, and what a file must be to be read as one."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from resque.documents import read_as
from resque.errors import ResqueError, first_line
from resque.files import write_whole
from resque.fingerprint_header import Header
from resque.hub import check_name
from resque.sums import ClassSums, Label

FILE_NAME = "resque.safetensors"
FOLDER_NAME = "resque"  # of several in one repository
OTHER_FILE = re.compile(r"resque/[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
FORMAT_VERSION = 2
MAX_HEADER_BYTES = 1 << 26
MAX_LABEL = 1000  # characters


def file_of(name: str | None) -> str:
    """Return a fingerprint's path in its folder or repository.

    Raises:
        UsageError: where the name cannot be a file's.

    >>> file_of(None), file_of("cifar10")
    ('resque.safetensors', 'resque/cifar10.safetensors')
    """
    if name is None:
        return FILE_NAME
    check_name(name)
    return f"{FOLDER_NAME}/{name}.safetensors"


def choose_file(name: str | None, files: list[str], where: str) -> str:
    """Return which of a folder's or a repository's files to read.

    Args:
        name: as asked.
        files: the paths there.
        where: the folder or repository, for the error's text.

    Raises:
        ResqueError: where it is not there, or there are several.
    """
    wanted = file_of(name)
    others = sorted(f for f in files if OTHER_FILE.fullmatch(f))
    if wanted in files:
        return wanted
    if name is None and len(others) == 1:
        return others[0]
    names = ", ".join(f.split("/")[1].removesuffix(".safetensors") for f in others)
    what = f"it has the fingerprints {names}: choose one by name" if names else "no fingerprint yet"
    raise ResqueError(f"{where!r} holds no {wanted}: {what}")


def files_in(folder: Path) -> list[str]:
    """Return the paths of the fingerprints in a folder, relative to it."""
    found = [folder / FILE_NAME, *(folder / FOLDER_NAME).glob("*.safetensors")]
    return [str(path.relative_to(folder).as_posix()) for path in found if path.is_file()]


def write_file(target: Path, header: Header, sums: dict[str, ClassSums]) -> Path:
    """Write a file, whole or not at all; return its path.

    Raises:
        ResqueError: where it cannot be written.
    """
    from safetensors.numpy import save_file

    tensors, metadata = pack(header, sums)
    return write_whole(target, lambda path: save_file(tensors, path, metadata=metadata))


def pack(header: Header, sums: dict[str, ClassSums]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arrays of a file, and its metadata."""
    found: dict[str, Any] = asdict(header)
    # What older versions would take for unclipped sums says that it is newer.
    found["format_version"] = 1 if header.clip_norm is None else FORMAT_VERSION
    found["groups"] = sums[header.layers[0]].n_groups
    found["classes"] = {layer: sums[layer].labels for layer in header.layers}
    tensors = {}
    for i, layer in enumerate(header.layers):
        tensors[f"{i}.counts"] = np.ascontiguousarray(sums[layer].counts)
        tensors[f"{i}.sums"] = np.ascontiguousarray(sums[layer].sums)
    return tensors, {"resque": json.dumps(found, sort_keys=True)}


def read_file(path: Path) -> tuple[Header, dict[str, ClassSums]]:
    """Read the header and the class sums of a file, which may come from anyone.

    Raises:
        ResqueError: where it is truncated, foreign, newer or altered.
    """
    from safetensors import SafetensorError, safe_open

    try:
        _check_header_size(path)
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
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ResqueError(f"{path} has a damaged header: {first_line(error)!r}") from error


def _check_header_size(path: Path) -> None:
    """Refuse a header that would take long to parse: its size is the file's first eight bytes."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise OSError(f"its header says that it has {size} bytes")


def _unpack(raw: dict[str, Any], arrays: dict[str, Any]) -> tuple[Header, dict[str, ClassSums]]:
    version = raw["format_version"]
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise ResqueError(
            f"format version {version}; this resque reads up to {FORMAT_VERSION}. Upgrade resque"
        )
    names = {f.name for f in fields(Header)}
    known = {name: value for name, value in raw.items() if name in names}
    header: Header = read_as(Header, known, "damaged header")
    if not header.layers or len(header.pooling) != len(header.layers):
        raise ResqueError(f"{len(header.layers)} layers with {len(header.pooling)} poolings")
    sums = {}
    for i, layer in enumerate(header.layers):
        labels = raw["classes"][layer]
        counts, vectors = arrays[f"{i}.counts"], arrays[f"{i}.sums"]
        _check_arrays(layer, labels, raw["groups"], counts, vectors)
        sums[layer] = ClassSums(raw["groups"], labels, counts, vectors)
    return header, sums


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
    longest = max((len(x) for x in labels if isinstance(x, str)), default=0)
    if longest > MAX_LABEL:
        raise ResqueError(f"layer {layer} has a class name of {longest} characters")
    if (counts < 0).any():
        raise ResqueError(f"layer {layer} has negative counts")
    if not np.isfinite(sums).all():
        raise ResqueError(f"layer {layer} has NaN or infinite sums")
    if sums[counts == 0].any():
        raise ResqueError(f"layer {layer} has sums over no samples")
