"""Pooled ledgers: added to by many at once, read by anyone, and nothing in them names anyone."""

from __future__ import annotations

import io
import json
import threading
import time
import types
import typing
from dataclasses import fields, is_dataclass, replace
from importlib import resources

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from hub_faults import Fault, Faults
from ledgers import make_entries
from resque import cli
from resque.hub import Target
from resque.ledger import FAILED, Entry, append_entry, read_ledger
from resque.ledger_hub import make_shard, public_entries, pull, push, write_pulled
from resque.public_entries import CLASSES, DATA, DAYS, EMPTIED, FAMILY, KEPT, MODELS, publish_entry

REPO = "datasets/org/costs"
KEY = b"k" * 32


@pytest.fixture(scope="module")
def entries():
    found = make_entries(families=("gaussian", "blur"), levels=2, seeds=2)
    return [own(x, i) for i, x in enumerate(found)]


def own(entry, number):
    return replace(entry, record=replace(entry.record, run_id=f"{number:032x}"))


def ledger(folder, entries):
    for entry in entries:
        append_entry(entry, folder / "ledger.jsonl")
    return folder


def costs(**more):
    return Target("org/costs", "dataset", **more)


def test_pushed_pulled_and_pushed_again(hub, tmp_path, entries):
    mine = ledger(tmp_path, entries[:5])
    done = push(costs(), [mine])
    assert (done.entries, done.known, done.left_out) == (5, 0, 0)
    assert done.address == f"{hub.address}/datasets/org/costs/commit/{hub.sha(REPO)}"
    names = sorted(hub.files(REPO))
    assert names[0] == "README.md"
    assert names[2] == "schema.json"
    pulled = pull("org/costs")
    expected = sorted(x.record.energy_kwh for x in entries[:5])
    assert sorted(x.record.energy_kwh for x in pulled) == expected
    again = push(costs(), [mine])
    assert (again.entries, again.known, again.address) == (0, 5, None)
    append_entry(entries[5], mine / "ledger.jsonl")
    before = hub.files(REPO)
    assert push(costs(), [mine]).entries == 1
    after = hub.files(REPO)
    assert len(pull("org/costs")) == 6
    assert {path: after[path] for path in before} == before


def test_what_was_pulled_is_a_ledger(hub, tmp_path, entries):
    push(costs(), [ledger(tmp_path, entries)])
    output = tmp_path / "pooled.jsonl"
    for _ in range(2):
        write_pulled(pull("org/costs"), output)
    assert len(read_ledger([output]).done) == len(entries)
    with pytest.raises(ValueError, match="choose another --output"):
        write_pulled(pull("org/costs"), tmp_path / "ledger.jsonl")


def test_load_dataset_reads_it(hub, tmp_path, entries):
    from datasets import load_dataset

    (tmp_path / "other").mkdir()
    censored = [replace(entries[7], record=replace(entries[7].record, epochs_to_target=None))]
    push(costs(), [ledger(tmp_path, entries[:3])])
    push(costs(), [ledger(tmp_path / "other", censored)])
    rows = load_dataset("org/costs", split="train")
    assert len(rows) == 4
    assert sorted(rows["energy_kwh"]) == sorted(
        x.record.energy_kwh for x in (*entries[:3], *censored)
    )
    assert sum(x is None for x in rows["epochs_to_target"]) >= 1
    schema = json.loads(hub.files(REPO)["schema.json"])
    for line in rows["entry"]:
        jsonschema.validate(json.loads(line), schema)


def test_many_at_once_lose_nothing(hub, tmp_path, entries):
    failed = []

    def one(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            push(costs(), [ledger(folder, [entries[number]])])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(pull("org/costs")) == 6
    assert hub.files(REPO)["README.md"].startswith(b"---\npretty_name")


def test_a_card_that_its_owner_wrote_is_left_alone(hub, tmp_path, entries):
    hub.put(REPO, "README.md", b"---\nlicense: cc0-1.0\n---\nOurs.\n")
    push(costs(), [ledger(tmp_path, entries[:1])])
    assert hub.files(REPO)["README.md"].endswith(b"Ours.\n")


def test_a_stranger_adds_by_a_pull_request(hub, tmp_path, entries):
    hub.put(REPO, "README.md", b"---\ntags: [x]\n---\n")
    mine = ledger(tmp_path, entries[:2])
    with pytest.raises(ValueError, match="--create-pr"):
        push(costs(token="hf_stranger"), [mine])
    done = push(costs(token="hf_stranger", create_pr=True), [mine])
    assert done.address.endswith("/datasets/org/costs/discussions/1")
    assert pull("org/costs") == ()
    HfApi().merge_pull_request("org/costs", 1, repo_type="dataset")
    assert len(pull("org/costs")) == 2


def test_a_new_branch_begins_as_main_is(hub, tmp_path, entries):
    mine = ledger(tmp_path, entries[:2])
    push(costs(), [mine])
    append_entry(entries[2], mine / "ledger.jsonl")
    assert push(costs(revision="more"), [mine]).entries == 1
    assert len(pull("org/costs")) == 2
    assert len(pull("org/costs", revision="more")) == 3


def test_nothing_to_publish(hub, tmp_path, entries):
    broken = replace(entries[0], status=FAILED, error="/home/ann/x is gone", record=None)
    with pytest.raises(ValueError, match="nothing to publish"):
        push(costs(), [ledger(tmp_path, [broken])])
    assert hub.requests == [] or REPO not in hub.repositories


def test_foreign_files_and_rows_are_skipped_and_told(hub, tmp_path, entries, caplog):
    push(costs(), [ledger(tmp_path, entries[:2])])
    hub.put(REPO, "data/broken.parquet", b"PAR1 no parquet")
    bad = json.dumps(entries[3].to_dict() | {"schema_version": 99})
    for name, line in (("new", bad), ("long", "x" * (1 << 21)), ("deep", "[" * 100_000)):
        hub.put(REPO, f"data/{name}.parquet", shard_of(line))
    assert len(pull("org/costs")) == 2
    assert "newer than" in caplog.text
    assert "fair length" in caplog.text
    assert "broken.parquet" in caplog.text


def shard_of(*lines):
    stream = io.BytesIO()
    pq.write_table(pa.table({"entry": pa.array(lines).dictionary_encode()}), stream)
    return stream.getvalue()


def test_a_file_that_would_fill_the_memory_is_skipped(hub, caplog):
    """180 KB that say a megabyte of text a hundred thousand times, and one of too many rows."""
    text = pa.array(["x" * (1 << 20)])
    indices = pa.array(np.zeros(100_000, np.int32))
    for name, times in (("large", 1), ("long", 11)):
        stream = io.BytesIO()
        rows = pa.chunked_array([pa.DictionaryArray.from_arrays(indices, text)] * times)
        pq.write_table(pa.table({"entry": rows}), stream)
        hub.put(REPO, f"data/{name}.parquet", stream.getvalue())
    began = time.monotonic()
    assert pull("org/costs") == ()
    assert time.monotonic() - began < 10
    assert "1100000 rows" in caplog.text


def test_a_shards_name_is_that_of_its_entries(entries):
    name, _ = make_shard(entries[:3])
    assert name == make_shard(entries[2::-1])[0]
    assert name != make_shard(entries[:2])[0]


# What is published

SECRETS = ("/home/ann", "ann-smith", "build-host-7", "hf_secret", "ward-b", "secret-study")


def revealing(entry):
    """The entry, with something that nobody may know in every text that can hold it."""
    record = entry.record
    host = replace(record.host, processor="/home/ann/cpu", system="build-host-7@lab")
    return replace(
        entry,
        study="secret-study",
        cell=replace(
            entry.cell,
            model="/home/ann/models/ann-smith",
            original="ann-smith/scans:ward-b#train",
            dataset="/home/ann/data#ward-b",
            eval_split="/home/ann/data#test",
            family="ward-b",
            corruption=None,
            classes={"ward-b": ("ann-smith", "x")},
            options={"label_column": "ann-smith", "learning_rate": 0.1, "optimizer": "sgd"},
            measurement={"layers": "/home/ann"},
        ),
        record=replace(
            record,
            run_id="abc",
            model=replace(record.model, name="/home/ann/models/ann-smith", revision=None),
            data=replace(record.data, dataset="/home/ann/data", eval_dataset="ann-smith/scans"),
            host=host,
            command="resque retrain --model /home/ann/models --token hf_secret",
            notes=("read /home/ann/data",),
            grid_source="measured at build-host-7@lab /home/ann",
            energy_method=replace(record.energy_method, cpu="measured: /home/ann/counter"),
            started="2026-11-25T17:42:13+00:00",
            ended="2026-11-25T17:59:01+00:00",
            price_per_hour=3.5,
            price=1.25,
        ),
        ended="2026-11-25T18:00:00+00:00",
    )


def public(entry, is_public=lambda kind, id: True):
    return publish_entry(entry, KEY, is_public)


def test_no_person_machine_or_path_is_published(hub, tmp_path, entries):
    push(costs(), [ledger(tmp_path, [revealing(entries[0]), entries[1]])])
    everything = (
        b"".join(hub.files(REPO).values())
        + json.dumps([x.to_dict() for x in pull("org/costs")]).encode()
    )
    for secret in SECRETS:
        assert secret.encode() not in everything
    found = public(revealing(entries[0]))
    assert (found.record.started, found.record.command) == ("2026-11-25", "")
    assert (found.record.price, found.record.price_per_hour) == (None, None)
    assert found.record.host.memory_bytes % (1 << 30) == 0
    assert found.cell.options == {
        "label_column": found.cell.options["label_column"],
        "learning_rate": 0.1,
        "optimizer": "sgd",
    }


def test_pseudonyms_tell_apart_and_stay_the_same(entries):
    a, b = (
        replace(entries[0], cell=replace(entries[0].cell, dataset=f"/data/{name}")) for name in "ab"
    )
    assert public(a).cell.dataset == public(a).cell.dataset != public(b).cell.dataset
    other = publish_entry(a, b"other" * 6, lambda kind, id: True)
    assert other.cell.dataset != public(a).cell.dataset
    assert public(a).cell.model == public(b).cell.model
    assert public(a).key == public(a).key != public(own(a, 77)).key


COMMIT = "0123456789" * 4


def on_hub(entry):
    record = entry.record
    return replace(
        entry,
        cell=replace(
            entry.cell, model="org/m", original="org/d:c#train[:50%]", dataset="org/d:c#train"
        ),
        record=replace(
            record,
            model=replace(record.model, name="org/m", revision=COMMIT),
            data=replace(
                record.data, dataset="org/d:c#train", eval_dataset="/home/ann/d", revision=COMMIT
            ),
        ),
    )


def test_names_that_everybody_can_look_up_are_kept(entries):
    found = public(on_hub(entries[0]))
    assert (found.cell.model, found.cell.original) == ("org/m", "org/d:c#train[:50%]")
    assert (found.record.data.dataset, found.record.data.revision) == ("org/d:c#train", COMMIT)
    assert found.record.data.eval_dataset.startswith("local-")
    hidden = public(on_hub(entries[0]), lambda kind, id: kind == "dataset")
    assert hidden.cell.model.startswith("local-")
    assert hidden.cell.dataset == "org/d:c#train"


def test_whether_a_repository_is_public_is_asked_without_a_token(hub, tmp_path, entries):
    for name in ("models/org/m", "datasets/org/d"):
        hub.repository(name).private = name.startswith("models")
    [found] = public_entries([ledger(tmp_path, [on_hub(entries[0])])])
    assert found.cell.model.startswith("local-")
    assert found.cell.dataset == "org/d:c#train"


def texts(kind, place=""):
    """The place of every text that an entry may hold."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return [x for a in arguments if a is not type(None) for x in texts(a, place)]
    if origin in (tuple, dict):
        return texts(arguments[0 if origin is tuple else 1], f"{place}.*")
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return [
            x for f in fields(kind) for x in texts(hints[f.name], f"{place}.{f.name}".lstrip("."))
        ]
    return [place] if kind in (str, typing.Any) else []


def test_every_text_has_a_rule():
    ruled = {*KEPT, *EMPTIED, *DAYS, *MODELS, *DATA, FAMILY}
    # Ruled by name: all others are replaced.
    free = {"cell.options.*", "cell.measurement.*", f"{CLASSES}.*.*"}
    found = {x.removesuffix(".*") if x.removesuffix(".*") in EMPTIED else x for x in texts(Entry)}
    assert found - ruled - free == set()


def test_the_schema_takes_what_is_published(entries):
    text = resources.files("resque").joinpath("ledger_entry.schema.json").read_text("utf-8")
    validator = jsonschema.Draft202012Validator(json.loads(text))
    for entry in (entries[0], revealing(entries[1]), on_hub(entries[2])):
        assert not list(validator.iter_errors(public(entry).to_dict()))
    assert list(validator.iter_errors({"key": "x"}))


# At the command line


def run(capsys, *arguments):
    code = cli.run(["ledger", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_commands(hub, tmp_path, entries, capsys):
    mine = ledger(tmp_path, entries[:3])
    code, out, err = run(capsys, "push", "org/costs", "--ledger", str(mine), "--dry-run")
    assert (code, len(out.splitlines())) == (0, 3)
    assert REPO not in hub.repositories
    assert "data#train" not in out
    lines = [json.loads(line) for line in out.splitlines()]
    code, out, err = run(capsys, "push", "org/costs", "--ledger", str(mine), "--dry-run", "--json")
    assert (code, json.loads(out)) == (0, {"entries": lines})
    code, out, err = run(capsys, "push", "org/costs", "--ledger", str(mine), "--json")
    assert (code, json.loads(out)["added"]) == (0, 3)
    output = tmp_path / "pooled.jsonl"
    code, out, err = run(capsys, "pull", "org/costs", "--output", str(output))
    assert (code, out) == (0, f"{output} holds 3 entries\n")
    assert len(read_ledger([output]).done) == 3
    for arguments, wanted, words in (
        (("pull", "org/none", "--output", str(output)), 1, "nor on the Hub"),
        (("pull", "a/b/c", "--output", str(output)), 2, "Repo id"),
        (("push", "org/costs", "--ledger", str(tmp_path / "no")), 1, "cannot read"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (wanted, "")
        assert words in err


def test_a_failed_pull_leaves_the_file_alone(hub, tmp_path, entries, monkeypatch):
    monkeypatch.setattr("resque.hub.time.sleep", lambda _: None)
    push(costs(), [ledger(tmp_path, entries[:2])])
    output = tmp_path / "pooled.jsonl"
    output.write_text("")
    hub.faults = Faults(Fault("500", "/revision/|/api/datasets", times=50))
    with pytest.raises(ValueError, match="fails"):
        write_pulled(pull("org/costs"), output)
    assert output.read_text() == ""
