"""The cost record: what is written is read, what is none is named, the schema says the same."""

from __future__ import annotations

import errno
import json
import math
import os
import typing
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resque import records
from resque.errors import ResqueError
from resque.records import (
    SCHEMA_VERSION,
    CostRecord,
    DataPart,
    Epoch,
    Evaluation,
    Host,
    Measured,
    Methods,
    ModelPart,
    Parts,
    Probe,
    TargetPart,
    TrainingPart,
    Wasted,
    append_record,
    read_records,
)

SCHEMA = json.loads(Path(records.__file__).with_name("cost_record.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
KINDS = [
    kind
    for kind in vars(records).values()
    if is_dataclass(kind) and kind.__module__ == records.__name__
]


def make(**changes):
    """A record of two epochs."""
    evaluations = (
        Evaluation(0, 0.0, None, 2.3, 0.1),
        Evaluation(10, 1.0, 1.5, 1.2, 0.6),
        Evaluation(20, 2.0, 0.7, 0.5, 0.9),
    )
    epoch = Epoch(1.0, 10, 1.5, 1.2, 0.6, 2.5, 2.0, 10, 0.01, 0.08, 0.5, 0.01, 0.08, 0.5, 1e-3,
                  3.5, 0.5, 45.0, 2e-5, 10**9, None)  # fmt: skip
    values = {
        "schema_version": SCHEMA_VERSION, "run_id": "ab", "measure": "retrain",
        "model": ModelPart("org/modèle", None, "d1", 1000, 10, True),
        "data": DataPart("pacs:photo#train", "c0ffee", "d2", 160, None, "d3", 40, 7),
        "training": TrainingPart("head", None, "adamw", 1e-3, 0.01, None, "linear", 0, None, 16, 1,
                                 1, 1, 16, "no", False, False, 10, 10, 0),
        "target": TargetPart("accuracy", 0.85, 0.85), "epochs_limit": 2.0, "patience": ("0.02:3",),
        "reached": True, "rule": "target", "epochs_to_target": 1.8, "steps_to_target": 18.3,
        "resolution_steps": 10, "accuracy_before": 0.1, "accuracy_best": 0.9, "epoch_of_best": 2.0,
        "accuracy_final": 0.9, "diverged_at_step": None, "evaluations": evaluations,
        "epochs": (epoch, replace(epoch, epoch=2.0)), "seconds_training": 7.0,
        "seconds_evaluation": 1.0, "seconds_waiting": 1.0, "seconds_overhead": 2.0,
        "device_seconds": 7.0, "flops": 1e12, "flops_method": "counted", "energy_kwh": 4e-5,
        "energy_parts_kwh": Parts(3e-5, 0.0, 1e-5), "evaluation_energy_kwh": 1e-6,
        "overhead_energy_kwh": 1e-6, "co2eq_kg": 1.9e-5, "co2eq_parts_kg": Parts(1e-5, 0.0, 9e-6),
        "evaluation_co2eq_kg": 5e-7, "energy_method": Methods("measured: rapl", "none: -",
                                                              "estimated: size"),
        "country": None, "grid_intensity_g_per_kwh": 475.0, "grid_source": "world average",
        "price_per_hour": None, "price": None, "wasted": Wasted(), "resumes": 0,
        "host": Host("Chip", 2, 2**33, (), "Linux", {"python": "3.11"}), "command": "resque …",
        "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:01:00+00:00",
    }  # fmt: skip
    return CostRecord(**values | changes)


PROBE = Probe(10, 40, 8, Measured(0.1, (0.09, 0.11)), Measured(1e-6, (0.0, 2e-6)))


@pytest.mark.parametrize(
    "record",
    [
        make(),
        make(measure="probe", rule="probe", probe=PROBE, target=None, reached=None),
        make(epochs=(), evaluations=(), patience=(), notes=("one", "two")),
    ],
)
def test_a_record_is_read_as_it_was_written(record):
    found = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    VALIDATOR.validate(found)
    assert CostRecord.from_dict(found) == record


@given(st.from_type(CostRecord))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_schema_takes_what_can_be_read_and_nothing_else(record):
    found = json.loads(json.dumps(replace(record, schema_version=1).to_dict(), allow_nan=False))
    fault = fault_of(found)
    assert VALIDATOR.is_valid(found) == (fault is None)
    if fault:  # a number that is not finite where one is needed
        assert " is None" in fault
    else:
        assert CostRecord.from_dict(found).to_dict() == found


def fault_of(found):
    try:
        CostRecord.from_dict(found)
    except ResqueError as error:
        return str(error)
    return None


def test_whole_numbers_pass_as_numbers():
    found = make().to_dict() | {"epochs_limit": 2, "energy_kwh": 0}
    assert CostRecord.from_dict(found).epochs_limit == 2.0
    VALIDATOR.validate(found)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_schema_has_the_fields_each_with_a_description(kind):
    schema = SCHEMA if kind is CostRecord else SCHEMA["$defs"][kind.__name__]
    names = {f.name for f in fields(kind)}
    assert set(schema["properties"]) == set(schema["required"]) == names
    assert schema["additionalProperties"] is False
    assert schema["description"]
    hints = typing.get_type_hints(kind)
    for name, part in schema["properties"].items():
        text = " ".join(part["description"].split())
        assert text in " ".join(kind.__doc__.split())  # tools/make_schema.py writes it anew
        nullable = {"type": "null"} in part.get("anyOf", [])
        assert nullable == (type(None) in typing.get_args(hints[name]))
        if not nullable:
            kinds = {float: "number", int: "integer", str: "string", bool: "boolean"}
            assert part.get("type") == kinds.get(hints[name], part.get("type"))


def test_the_schema_has_no_other_parts():
    assert set(SCHEMA["$defs"]) | {"CostRecord"} == {kind.__name__ for kind in KINDS}
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_become_null(number):
    evaluations = (Evaluation(0, 0.0, None, number, number),)
    record = make(evaluations=evaluations, flops=number, accuracy_best=number)
    found = json.loads(json.dumps(record.to_dict(), allow_nan=False))
    VALIDATOR.validate(found)
    assert found["flops"] is found["accuracy_best"] is found["evaluations"][0]["eval_loss"] is None
    assert CostRecord.from_dict(found).evaluations[0].eval_accuracy is None


def test_energy_counts_as_measured_only_where_no_part_is_estimated():
    assert not make().energy_is_measured
    methods = Methods("measured: rapl", "none: -", "measured: rapl")
    assert make(energy_method=methods).energy_is_measured


def change(path, value):
    """A record's dict with one value changed; a path of names and positions."""
    found = make(probe=PROBE).to_dict()
    *parents, last = path
    part = found
    for name in parents:
        part = part[name]
    part[last] = value
    return found


def without(name):
    found = make().to_dict()
    del found[name]
    return found


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (change(["model", "parameters"], "many"), r"record\.model\.parameters is 'many'"),
        (change(["model", "parameters"], 1.5), r"record\.model\.parameters is 1\.5"),
        (change(["model", "parameters"], None), r"record\.model\.parameters is None"),
        (change(["model", "parameters"], True), r"record\.model\.parameters is True"),
        (change(["model", "parameters"], False), r"record\.model\.parameters is False"),
        (change(["model", "new_head"], 1), r"record\.model\.new_head is 1"),
        (change(["model"], "x"), r"record\.model is 'x'; expected an object"),
        (change(["energy_kwh"], None), r"record\.energy_kwh is None"),
        (change(["energy_kwh"], True), r"record\.energy_kwh is True"),
        (change(["energy_kwh"], "4"), r"record\.energy_kwh is '4'"),
        (change(["epochs", 1, "seconds"], "3 s"), r"record\.epochs\[1\]\.seconds is '3 s'"),
        (change(["epochs", 1, "extra"], 1), r"record\.epochs\[1\] has unknown extra"),
        (change(["epochs"], {}), r"record\.epochs is {}; expected a list"),
        (change(["patience", 0], 3), r"record\.patience\[0\] is 3"),
        (change(["host", "versions", "numpy"], 2), r"record\.host\.versions\.numpy is 2"),
        (change(["host", "versions"], []), r"record\.host\.versions is \[\]; expected an object"),
        (change(["target", "value"], []), r"record\.target\.value is \[\]"),
        (change(["probe", "seconds_per_step", "interval"], [1]), r"interval is \[1\]; .* 2 values"),
        (change(["note"], "x"), "record has unknown note"),
        (without("wasted"), "record has no wasted"),
        (without("rule"), "record has no rule"),
        (without("schema_version"), "no schema_version: it is no cost record"),
        (change(["schema_version"], "1"), "no schema_version"),
        (change(["schema_version"], SCHEMA_VERSION + 1), "newer than 1: update resque"),
        ([], "it is no cost record"),
        (None, "it is no cost record"),
    ],
)
def test_what_is_no_record_is_named_by_line_and_field(tmp_path, found, words):
    file = tmp_path / "records.jsonl"
    append_record(make(), file)
    with file.open("a") as lines:
        lines.write(json.dumps(found))
    expected = rf"line 2 of .*records\.jsonl is no cost record: .*{words}"
    with pytest.raises(ResqueError, match=expected):
        read_records(file)
    newer = isinstance(found, dict) and found.get("schema_version") == SCHEMA_VERSION + 1
    assert newer or not VALIDATOR.is_valid(found)


@pytest.mark.parametrize("path", [["energy_kwh"], ["model", "parameters"]])
def test_a_whole_number_beyond_all_floats_is_told(tmp_path, path):
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(change(path, 10**400)))
    with pytest.raises(ResqueError, match=rf"line 1 .*\.{path[-1]} is a number of 1,329 bits"):
        read_records(file)


def test_a_line_that_was_cut_off_is_named_and_spoils_no_later_one(tmp_path):
    file = tmp_path / "records.jsonl"
    append_record(make(), file)
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    with pytest.raises(ResqueError, match=r"line 2 of .* is no cost record: .*char \d+"):
        read_records(tmp_path)
    append_record(make(run_id="later"), file)
    lines = file.read_bytes().splitlines()
    assert len(lines) == 3
    assert CostRecord.from_dict(json.loads(lines[2])).run_id == "later"
    file.write_bytes(whole.rstrip())  # an editor took the last line's end
    append_record(make(run_id="later"), file)
    assert [record.run_id for record in read_records(file)] == ["ab", "later"]


def test_records_are_appended_line_by_line(tmp_path):
    file = tmp_path / "new" / "folder" / "records.jsonl"
    ids = ["a", "zwölf", "a\u2028b\x85c\x0bd\ne", "no text: \udcff"]
    for run_id in ids:
        append_record(make(run_id=run_id), file)
    assert file.read_bytes().count(b"\n") == len(ids)
    assert "zwölf" in file.read_text("utf-8")
    assert [record.run_id for record in read_records(file)] == ids
    assert read_records(str(file.parent)) == read_records(file)
    file.write_text("\n" + file.read_text("utf-8") + "\n \n", "utf-8")  # blank lines are no records
    assert len(read_records(file)) == len(ids)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ResqueError, match=r"cannot read .*records\.jsonl"):
        read_records(tmp_path)
    (tmp_path / "records.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResqueError, match=r"cannot read .*records\.jsonl"):
        read_records(tmp_path)
    with pytest.raises(ResqueError, match="cannot write"):
        append_record(make(), tmp_path)


@pytest.mark.parametrize("before", [None, 0, 2])
def test_a_failing_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch, before):
    file = tmp_path / "records.jsonl"
    for _ in range(before or 0):
        append_record(make(), file)
    if before == 0:
        file.touch()
    content = None if before is None else file.read_bytes()

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(ResqueError, match=r"cannot write .*records\.jsonl: No space left"):
            append_record(make(), file)
    assert (file.read_bytes() if file.exists() else None) == content
    append_record(make(), file)
    assert len(read_records(file)) == (before or 0) + 1


def test_a_disk_that_fills_in_the_middle_of_a_line_leaves_the_file_as_it_was(tmp_path):
    resource = pytest.importorskip("resource")
    file = tmp_path / "records.jsonl"
    append_record(make(), file)
    content = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) + 100, hard))
    try:
        with pytest.raises(ResqueError, match="cannot write"):
            append_record(make(), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == content
