"""Faults of the Hub: the remote is untouched or complete, so is what is local, and it ends soon."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from hub_faults import KINDS, Fault, Faults, random_faults
from ledgers import make_entries
from made_fingerprints import made
from resque import Fingerprint, cli
from resque.cli.options import prepare
from resque.hub import Target
from resque.ledger import append_entry, read_ledger
from resque.ledger_hub import push

SECONDS = 30.0  # at limits of a fiftieth of the real ones
NAMES = ("ant", "bee", "cat")


@pytest.fixture
def hub(hub, monkeypatch):
    """The Hub, with short limits and no waiting between tries."""
    for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", 0.6)
    monkeypatch.setattr("resque.hub.ANSWER_SECONDS", 0.6)
    monkeypatch.setattr("resque.hub.SILENCE_SECONDS", 2.0)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return hub


class Work:
    """Commands over one repository, and what each leaves where it succeeds."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.fingerprint = made(list(range(90)), class_names=NAMES)
        monkeypatch.setattr("resque.estimation.fingerprint", lambda *_, **__: self.fingerprint)
        self.entries = make_entries(families=("gaussian",), levels=2, seeds=2)
        for entry in self.entries:
            append_entry(entry, folder / "mine" / "ledger.jsonl")

    def push_fingerprint(self):
        return cli.run(
            ["fingerprint", "--model", "m", "--dataset", "d", "--push-to-hub", "org/m"]
        )  # fmt: skip

    def push_ledger(self):
        return cli.run(["ledger", "push", "org/costs", "--ledger", str(self.folder / "mine")])

    def pull_ledger(self):
        output = self.folder / "out" / "pooled.jsonl"
        output.parent.mkdir(exist_ok=True)
        return cli.run(["ledger", "pull", "org/costs", "--output", str(output)])

    def pull_fingerprint(self):
        """As a command that has no model to load would."""
        prepare(as_json=False)
        try:
            found = Fingerprint.from_pretrained("org/m")
        except Exception as error:
            return cli._explain(error)
        assert found.header.counts == self.fingerprint.header.counts
        return 0


def check(hub, work, name, schedule, capsys):
    """Run a command under a schedule of faults, then without any."""
    before = {repo: hub.files(repo) for repo in hub.repositories}
    hub.faults = schedule
    began = time.monotonic()
    code = getattr(work, name)()
    seconds = time.monotonic() - began
    happened, hub.faults = schedule.happened, Faults()
    said = capsys.readouterr()
    told = f"{name} {schedule.faults} {happened}\n{said.err}"
    assert seconds < SECONDS, told
    assert "hf_secret" not in said.out + said.err
    assert "Traceback" not in said.err, told
    assert "defect" not in said.err, told
    assert code in (0, 1), told
    if code:
        assert re.search(r"^resque: .*'org/(m|costs)'", said.err, re.M), told
    after = {repo: hub.files(repo) for repo in hub.repositories}
    out = work.folder / "out"
    left = sorted(x.name for x in out.iterdir()) if out.exists() else []
    assert left in ([], ["pooled.jsonl"]), told
    if left:
        assert len(read_ledger([out / "pooled.jsonl"]).done) == len(work.entries), told
    assert getattr(work, name)() == 0, told
    complete = {repo: hub.files(repo) for repo in hub.repositories}
    for repo, files in after.items():
        expected = [before.get(repo, {}), complete[repo]]
        if name.startswith("pull") or code == 0:
            expected = expected[1:]
        assert names_of(files) in [names_of(x) for x in expected], told
    capsys.readouterr()
    return code


def names_of(files):
    """Paths, and contents but of what is made anew each time."""
    return {path: len(content) for path, content in files.items()}


def fill(hub, work, name):
    hub.repositories.clear()
    if name.startswith("pull"):
        work.fingerprint.push_to_hub("org/m")
        push(Target("org/costs", "dataset"), [work.folder / "mine"])


COMMANDS = ("push_fingerprint", "push_ledger", "pull_fingerprint", "pull_ledger")


def run_seeds(hub, folder, monkeypatch, capsys, seeds):
    codes = []
    for seed in seeds:
        (folder / str(seed)).mkdir()
        work = Work(folder / str(seed), monkeypatch)
        name = COMMANDS[seed % len(COMMANDS)]
        fill(hub, work, name)
        monkeypatch.setattr(
            "huggingface_hub.constants.HF_HUB_CACHE", str(folder / str(seed) / "cache")
        )
        codes.append(check(hub, work, name, random_faults(seed), capsys))
    return codes


def test_a_few_random_schedules(hub, tmp_path, monkeypatch, capsys):
    run_seeds(hub, tmp_path, monkeypatch, capsys, range(4))


@pytest.mark.slow
def test_two_hundred_random_schedules(hub, tmp_path, monkeypatch, capsys):
    codes = run_seeds(hub, tmp_path, monkeypatch, capsys, range(1000, 1200))
    assert 20 < sum(codes) < 180  # some of both, or nothing was tried


def fails_always(hub, folder, monkeypatch, capsys, kind, name):
    work = Work(folder, monkeypatch)
    fill(hub, work, name)
    schedule = Faults(Fault(kind, times=10_000, retry_after=1))
    code = check(hub, work, name, schedule, capsys)
    assert code == (0 if kind == "etag" else 1)


@pytest.mark.parametrize(
    ("kind", "name"), [("silence", "push_ledger"), ("lost", "push_fingerprint")]
)
def test_every_request_fails(hub, tmp_path, monkeypatch, capsys, kind, name):
    fails_always(hub, tmp_path, monkeypatch, capsys, kind, name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "trickle"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_request_of_every_command_fails(hub, tmp_path, monkeypatch, capsys, kind, name):
    fails_always(hub, tmp_path, monkeypatch, capsys, kind, name)


def test_a_trickle_is_ended(hub, monkeypatch):
    made(list(range(90))).push_to_hub("org/m")
    hub.faults = Faults(Fault("trickle", "GET .*/resolve/", pause=0.02))
    with pytest.raises(ValueError, match=r"'org/m': the Hub sent \d+ bytes in"):
        Fingerprint.from_pretrained("org/m")


def test_a_long_wait_is_told_instead_of_waited(hub):
    hub.faults = Faults(Fault("429", "/commit/", retry_after=3600))
    with pytest.raises(ValueError, match="'org/m': the Hub asks to come back in 3600 s"):
        made(list(range(90))).push_to_hub("org/m")


def test_a_clients_own_limits_are_left_alone(hub, monkeypatch):
    from huggingface_hub.utils import _http

    from resque.hub import limit_requests

    own = _http.default_client_factory
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", lambda: own())
    mine = _http._GLOBAL_CLIENT_FACTORY
    limit_requests()
    assert _http._GLOBAL_CLIENT_FACTORY is mine


@pytest.mark.slow
def test_a_hub_that_never_answers_ends_in_two_minutes(running_hub, tmp_path, digits):
    """With the real limits, in fresh processes."""
    running_hub.faults = Faults(Fault("silence", times=10**6))
    model, data = digits
    commands = (
        ["ledger", "pull", "org/c", "--output", "x.jsonl"],
        ["estimate", "--model", "org/m", "--shifted", "org/d"],
        ["estimate", "--model", model, "--original", "org/d", "--shifted", f"{data}#test[:60]"],
        ["fingerprint", "--model", model, "--dataset", f"{data}#test", "--push-to-hub", "org/m"],
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", "from resque.cli import main; main()", *command],
            env=running_hub.environment(tmp_path / str(i), "hf_secret"),
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i, command in enumerate(commands)
    ]  # fmt: skip
    began = time.monotonic()
    for process in running:
        _, err = process.communicate(timeout=120 - (time.monotonic() - began))
        assert process.returncode == 1
        assert re.search(r"^resque: .*(answer|reached)", err, re.M)
        assert "Traceback" not in err
