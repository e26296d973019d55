"""Repositories that mean harm do nothing worse than an error; what the user has set is obeyed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from ledgers import make_entries
from made_fingerprints import made
from resque import Fingerprint, cli
from resque.cli.options import show
from resque.errors import first_line
from resque.fingerprint_file import pack
from resque.hub import Target
from resque.ledger import append_entry
from resque.ledger_hub import make_shard, pull, push
from resque.options import make_options

REPO = "models/org/m"
EVIL = "\x1b[2J\x07[bold red]<script>alert(1)</script>\x9b31m|`$(id)`"


def file_with(change):
    """A fingerprint's file, its header changed."""
    fp = made(list(range(90)))
    tensors, metadata = pack(fp.header, fp.sums)
    header = json.loads(metadata["resque"])
    change(header)
    return save(tensors, {"resque": json.dumps(header)})


def long_label(header):
    header["classes"]["a"][0] = "x" * 10_000_000


def evil_names(header):
    header["model"] = EVIL
    header["sources"][0]["dataset"] = EVIL
    header["layers"] = [EVIL, "b"]
    header["classes"] = {EVIL: [EVIL, EVIL + "1", EVIL + "2"], "b": [0, 1, 2]}


def deep(header):
    value = []
    for _ in range(500):
        value = [value]
    header["sources"] = value


def wrong_types(header):
    header["counts"] = header["counts"] | {"samples": {}}


def huge_group_count(header):
    header["groups"] = 10**12


def claims(size, rest=b"{}"):
    return int(size).to_bytes(8, "little") + rest


BOMB = json.dumps({"x": {"dtype": "F64", "shape": [1 << 40], "data_offsets": [0, 1 << 43]}})
HOSTILE = {
    "a header of a terabyte": claims(1 << 40),
    "a header of 65 MB": claims((1 << 26) + 1, b" " * 100),
    "a tensor of 8 TB": claims(len(BOMB), BOMB.encode()),
    "nothing": b"",
    "nested metadata": claims(200_000, b'{"__metadata__":' + b"[" * 199_984),
    "a label of 10 MB": file_with(long_label),
    "deep values": file_with(deep),
    "wrong types": file_with(wrong_types),
    "groups that are not there": file_with(huge_group_count),
    "metadata that is no JSON": save({"x": np.zeros(1)}, {"resque": "[" * 50_000}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_soon(hub, what):
    hub.put(REPO, "resque.safetensors", HOSTILE[what])
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"resque\.safetensors") as error:
        Fingerprint.from_pretrained("org/m")
    assert time.monotonic() - began < 5
    assert len(str(error.value)) < 2000


def test_names_steer_no_terminal(hub, tmp_path, capsys):
    hub.put(REPO, "resque.safetensors", file_with(evil_names))
    for i in (0, 1):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "resque.safetensors").write_bytes(file_with(evil_names))
    for arguments in (["0", "--output", "merged"], ["0", "1", "--output", "x"]):
        paths = [str(tmp_path / x) if not x.startswith("--") else x for x in arguments]
        code = cli.run(["fingerprint", "merge", *paths])
        said = capsys.readouterr()
        assert code == (0 if len(arguments) == 3 else 1)
        for character in ("\x1b", "\x07", "\x9b"):
            assert character not in said.out + said.err
        assert "<script>" in said.out + said.err


def test_tables_show_names_as_they_are(capsys):
    from rich.markup import escape
    from rich.table import Table

    table = Table("class")
    table.add_row(escape(EVIL))
    show([table, escape(EVIL)])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold red]" in out
    assert r"\x1b[2J" in out


def put_unchecked(hub, repo, path, content):
    """Put a file whose path no Hub would take."""
    repository = hub.repository(repo)
    files = dict(repository.at().files) | {path: content}
    repository._add(repository.at().oid, "Evil", "", "evil", files, "main")


def test_paths_that_climb_write_nothing_outside(hub, tmp_path):
    [entry, *_] = make_entries(families=("gaussian",), levels=1, seeds=1)
    _, shard = make_shard([entry])
    content = file_with(lambda header: None)
    for path in ("resque/../../../../climbed.safetensors", "/climbed.safetensors"):
        put_unchecked(hub, REPO, path, content)
    for path in ("data/../../../../climbed.parquet", "../climbed.parquet", "data/ok.parquet"):
        put_unchecked(hub, "datasets/org/costs", path, shard)
    with pytest.raises(ValueError, match="no fingerprint yet"):
        Fingerprint.from_pretrained("org/m")
    with contextlib.suppress(ValueError):  # huggingface_hub may refuse the whole of it
        pull("org/costs")
    home = tmp_path / "home"
    assert [x for x in tmp_path.rglob("climbed*") if home not in x.parents] == []
    assert not os.path.exists("/climbed.safetensors")


def test_a_ledger_that_means_harm(hub, tmp_path, capsys):
    [entry, *_] = make_entries(families=("gaussian",), levels=1, seeds=1)
    evil = replace(
        entry, cell=replace(entry.cell, dataset=EVIL, family=EVIL), study=EVIL, key="0" * 20
    )
    name, shard = make_shard([evil])
    hub.put("datasets/org/costs", f"data/{name}", shard)
    code = cli.run(["ledger", "pull", "org/costs", "--output", str(tmp_path / "out.jsonl")])
    said = capsys.readouterr()
    assert code == 0
    assert "\x1b" not in said.out + said.err
    assert "\x1b" not in (tmp_path / "out.jsonl").read_text()  # JSON spells it out


# What the user has set


def test_a_proxy_is_used(hub, monkeypatch):
    made(list(range(90))).push_to_hub("org/m")
    hub.requests.clear()
    from huggingface_hub.utils import close_session

    close_session()
    elsewhere = "http://hub.invalid"
    monkeypatch.setenv("HTTP_PROXY", hub.address)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", elsewhere)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        elsewhere + "/{repo_id}/resolve/{revision}/{filename}",
    )
    assert Fingerprint.from_pretrained("org/m").header.counts.samples == 90
    assert ("HEAD", "/org/m/resolve/main/resque.safetensors") in hub.requests


def test_a_token_is_taken_from_where_it_is_kept(hub, tmp_path, monkeypatch):
    made(list(range(90))).push_to_hub("org/m", private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match="hf auth login"):
        Fingerprint.from_pretrained("org/m")
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "token").write_text("hf_secret\n")
    assert Fingerprint.from_pretrained("org/m")


@pytest.mark.parametrize("token", ["hf_secret\x01broken", "hf_sécret", "hf_secret no"])
def test_a_token_that_is_none_is_not_told(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ValueError, match=r"'org/m'.*hf auth login") as error:
        made(list(range(90))).push_to_hub("org/m")
    assert "cret" not in str(error.value)


def test_a_librarys_text_is_told_without_its_token():
    said = first_line(ValueError("Illegal header value b'Bearer abc' of hf_secret, twice"))
    assert said == "Illegal header value b'Bearer … of hf_… twice"
    assert "hf_secret" not in repr(Target("org/m", token="hf_secret"))
    assert "hf_secret" not in repr(make_options({"token": "hf_secret"}))


@contextlib.contextmanager
def without_override():
    """Let permissions count for root too, by putting away this thread's capabilities."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(head, data) == 0
    effective = list(data)
    data[0] &= ~0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    assert libc.capset(head, data) == 0
    try:
        yield
    finally:
        data[:] = effective
        libc.capset(head, data)


def test_a_cache_that_cannot_be_written(hub, tmp_path, monkeypatch):
    entries = make_entries(families=("gaussian",), levels=1, seeds=1)
    append_entry(entries[0], tmp_path / "ledger.jsonl")
    made(list(range(90))).push_to_hub("org/m")
    push(Target("org/costs", "dataset"), [tmp_path / "ledger.jsonl"])
    Fingerprint.from_pretrained("org/m")
    pull("org/costs")
    folders = [x for x in (tmp_path / "home").rglob("*") if x.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        with without_override():
            with pytest.raises(PermissionError):
                (tmp_path / "home" / "hub" / "new").mkdir()
            assert Fingerprint.from_pretrained("org/m").header.counts.samples == 90
            assert len(pull("org/costs")) == 1
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
            assert Fingerprint.from_pretrained("org/m").header.counts.samples == 90
            assert len(pull("org/costs")) == 1
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_local_paths_ask_nobody(hub, digits, tmp_path, monkeypatch, capsys):
    model, data = digits

    def refuse(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    folder = str(tmp_path / "fp")
    test = f"{data}#test[:200]"
    for arguments in (
        ["fingerprint", "--model", model, "--dataset", test, "--output", folder],
        ["estimate", "--model", model, "--original", folder, "--shifted", test],
    ):
        assert cli.run([*arguments, "--json"]) == 0, capsys.readouterr().err
    assert hub.requests == []
