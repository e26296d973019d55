"""Ledgers pooled as a data set on the Hub: everybody adds files, nobody changes another's."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from resque.errors import ResqueError, first_line
from resque.hub import (
    TRIES,
    Target,
    check_repo_id,
    explained,
    limit_requests,
    open_api,
    try_again,
)
from resque.hub import push as push_files
from resque.ledger import Entry, read_ledger, write_ledger
from resque.ledger_columns import COLUMNS, row_of
from resque.public_entries import load_key, publish_entry

log = logging.getLogger(__name__)

SHARDS = "data/*.parquet"
CARD, SCHEMA = "README.md", "schema.json"
MAX_ENTRY = 1 << 20  # characters of one entry
MAX_SHARD = 1 << 28  # bytes of one file's contents
MAX_ROWS = 1_000_000  # of one file
BATCH_ROWS = 10_000

CARD_HEAD = """---
pretty_name: Costs of retraining models, measured by resque
tags:
- resque
- retraining-cost
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---
# Costs of retraining models

One row is one retraining, measured by [resque](https://arxiv.org/abs/2412.15511): how far the data
had shifted from what the model knew, and what it cost to train it again. Files under `data/` are
added by whoever measured them, and never changed.

```bash
resque ledger pull {repo_id} --output pooled.jsonl
resque forecast --ledger pooled.jsonl --model M --original D --shifted E
resque ledger push {repo_id} --ledger OUT/ledger.jsonl   # add your own
```

```python
from datasets import load_dataset

rows = load_dataset("{repo_id}", split="train")
```

Energy is measured where `energy_is_measured` says so, and else estimated by codecarbon. The column
`entry` holds all there is as JSON; its form is in `schema.json`.

No row holds the name of a person, of a machine, or of a file: models and data sets that nobody can
look up on the Hub have a pseudonym, times are cut to the day, and commands are left out.

"""


@dataclass(frozen=True)
class Pushed:
    """What was added to a pooled ledger.

    Attributes:
        entries: how many were new, and added.
        known: how many were there before.
        left_out: how many have no costs to publish.
        address: of the commit or pull request; None where nothing was new.
    """

    entries: int
    known: int
    left_out: int
    address: str | None


def public_entries(ledgers: Iterable[str | Path], token: str | None = None) -> list[Entry]:
    """Return what of ledgers would be published.

    Args:
        ledgers: files, or folders that hold one.
        token: for the Hub.

    Raises:
        ResqueError: where one cannot be read, or the Hub be asked what is public.
    """
    key, found = load_key(), {}
    for entry in read_ledger(ledgers).done:
        if entry.record is not None:
            public = publish_entry(entry, key, _is_public)
            found[public.key] = public
    return list(found.values())


@cache
def _is_public(kind: str, repo_id: str) -> bool:
    """Whether the Hub shows a repository to everybody."""
    api = open_api()
    with explained(kind, repo_id):
        return try_again(lambda: api.repo_exists(repo_id, repo_type=kind, token=False))


def push(target: Target, ledgers: Iterable[str | Path]) -> Pushed:
    """Add the entries of ledgers that a pooled ledger does not have yet, as a file of its own.

    Args:
        target: the data set, made where it is missing.
        ledgers: files, or folders that hold one.

    Raises:
        UsageError: where the id is none.
        ResqueError: where a ledger cannot be read or holds nothing to publish, or the Hub cannot
            be reached or refuses; nothing is written then.
    """
    check_repo_id(target.repo_id)
    paths = list(ledgers)
    everything = read_ledger(paths)
    entries = public_entries(paths, target.token)
    if not entries:
        raise ResqueError("the ledger holds no cell that is done: there is nothing to publish")
    known = _known_keys(target)
    new = [entry for entry in entries if entry.key not in known]
    left_out = len(everything.entries) - len(entries)
    if not new:
        return Pushed(0, len(entries), left_out, None)
    name, content = make_shard(new)
    address = push_files(
        target,
        {f"data/{name}": content},
        f"Add {len(new)} retraining(s)",
        {CARD: make_card(target.repo_id).encode(), SCHEMA: _schema()},
    )
    return Pushed(len(new), len(entries) - len(new), left_out, address)


def _known_keys(target: Target) -> set[str]:
    """Return the keys of the entries that are there; none where there is no such data set."""
    api = open_api(target.token)
    with explained("data set", target.repo_id):
        if not try_again(lambda: api.repo_exists(target.repo_id, repo_type="dataset")):
            return set()
    branches = (target.revision, None)  # a new branch begins as main is
    for revision in dict.fromkeys(branches):
        try:
            return {x.key for x in pull(target.repo_id, revision=revision, token=target.token)}
        except ResqueError as error:
            if type(error.__cause__).__name__ != "RevisionNotFoundError":
                raise
    return set()


def pull(
    repo_id: str, *, revision: str | None = None, token: str | None = None
) -> tuple[Entry, ...]:
    """Return the entries of a pooled ledger; files and rows that are none are skipped and told.

    Args:
        repo_id: of the data set.
        revision: branch, tag or commit.
        token: in place of HF_TOKEN or that of `hf auth login`.

    Raises:
        UsageError: where the id is none.
        ResqueError: where there is no such data set, or the Hub cannot be reached.
    """
    check_repo_id(repo_id)
    limit_requests()
    with explained("data set", repo_id):
        folder = try_again(lambda: _download(repo_id, revision, token))
    found: dict[str, Entry] = {}
    for path in sorted(Path(folder).glob(SHARDS)):
        for entry in _read_shard(path):
            found.setdefault(entry.key, entry)
    return tuple(found.values())


def _download(repo_id: str, revision: str | None, token: str | None) -> str:
    """Return the folder of a branch's shards."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    where: dict[str, Any] = {"repo_type": "dataset", "revision": revision, "token": token}
    download = partial(snapshot_download, repo_id, allow_patterns=[SHARDS], **where)
    for _ in range(TRIES - 1):
        # Somebody may push in between: older releases of huggingface_hub list the files of a branch
        # and take them from the commit that it was at before.
        with contextlib.suppress(RemoteEntryNotFoundError):
            return str(download())
    return str(download())


def write_pulled(entries: Iterable[Entry], output: Path) -> None:
    """Write what was pulled as a ledger, in place of what was pulled before.

    Raises:
        ResqueError: where the file holds entries of another origin, or cannot be written.
    """
    entries = tuple(entries)
    if output.exists():
        others = {x.key for x in read_ledger([output]).entries} - {x.key for x in entries}
        if others:
            raise ResqueError(
                f"{output} holds {len(others)} entries that are not in the pooled ledger: choose "
                "another --output"
            )
    write_ledger(entries, output)


def make_shard(entries: list[Entry]) -> tuple[str, bytes]:
    """Return a file's name, which depends on its entries alone, and its content."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    entries = sorted(entries, key=lambda x: x.key)
    rows = [row_of(x, x.record) for x in entries if x.record is not None]
    digest = hashlib.sha256("".join(row["entry"] for row in rows).encode()).hexdigest()[:20]
    schema = pa.schema([(x.name, _arrow_type(x.kind)) for x in COLUMNS])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), stream)
    return f"{digest}.parquet", stream.getvalue()


def _arrow_type(kind: str) -> Any:
    import pyarrow as pa

    known = {"text": pa.string(), "number": pa.float64(), "count": pa.int64(), "bool": pa.bool_()}
    return known[kind]


def _read_shard(path: Path) -> Iterator[Entry]:
    try:
        lines = list(_lines_of(path))
    except (ValueError, KeyError, OSError) as error:
        log.warning("skipped %s: %s", path.name, first_line(error))
        return
    for number, line in enumerate(lines, start=1):
        try:
            yield _read_entry(line)
        except (ValueError, RecursionError) as error:
            log.warning("skipped entry %d of %s: %s", number, path.name, first_line(error))


def _lines_of(path: Path) -> Iterator[Any]:
    """Yield the different entries of a file.

    As a dictionary: a file of some kilobytes may say the same long text a million times.
    """
    import pyarrow.parquet as pq

    seen: set[Any] = set()
    with pq.ParquetFile(path, read_dictionary=["entry"]) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        if size > MAX_SHARD or file.metadata.num_rows > MAX_ROWS:
            raise ResqueError(f"it holds {file.metadata.num_rows} rows of {size} bytes")
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=["entry"]):
            for line in batch.column("entry").dictionary.to_pylist():
                if line not in seen:
                    seen.add(line)
                    yield line


def _read_entry(line: Any) -> Entry:
    if not isinstance(line, str) or len(line) > MAX_ENTRY:
        raise ResqueError("it is no text of a fair length")
    return Entry.from_dict(json.loads(line))


def make_card(repo_id: str) -> str:
    """Return the data set's card."""
    head = CARD_HEAD.replace("{repo_id}", repo_id)
    rows = [f"| `{x.name}` | {x.what} |" for x in COLUMNS]
    return head + "\n".join(["| column | what it is |", "|---|---|", *rows, ""])


def _schema() -> bytes:
    return resources.files("resque").joinpath("ledger_entry.schema.json").read_bytes()
