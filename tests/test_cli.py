"""The command line as a user meets it: output, exit codes, nothing half-written."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from resque import cli

RUN = [sys.executable, "-c", "from resque.cli import main; main()"]


def call(capsys, *arguments):
    code = cli.run([str(x) for x in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_estimate(digits, capsys, tmp_path):
    model, data = digits
    paths = tmp_path / "r.json", tmp_path / "r.png"
    code, out, err = call(
        capsys, "estimate", "--model", model, "--original", f"{data}#test[:200]",
        "--corruption", "gaussian:0.2", "--layer", "-1", "--layer", "classifier.1.input",
        "--output", paths[0], "--figure", paths[1], "--json",
    )  # fmt: skip
    assert code == 0
    document = json.loads(out)
    assert document == json.loads(paths[0].read_text())
    assert list(document["layers"]) == ["resnet.encoder.stages.1", "classifier.1.input"]
    assert paths[1].read_bytes()[:4] == b"\x89PNG"
    assert "runs on cpu" in err
    code, out, _ = call(
        capsys, "estimate", "--model", model, "--task", f"{data}#test[:100]",
        "--label-column", "odd", "--init", "k-means++",
    )  # fmt: skip
    assert code == 0
    assert "RESQUE_task" in out


def test_fingerprint_and_merge(digits, capsys, tmp_path):
    model, data = digits
    base = ["fingerprint", "--model", model, "--dataset", f"{data}#test[:99]"]
    for i in (1, 2):
        code, out, _ = call(capsys, *base, "--shard", f"{i}/2", "--output", tmp_path / f"{i}")
        assert code == 0
        assert "samples: " in out
    merge = ["fingerprint", "merge", tmp_path / "1", tmp_path / "2", "--output", tmp_path / "all"]
    code, out, _ = call(capsys, *merge, "--json")
    assert code == 0
    assert json.loads(out)["samples"] == 99
    code, _, err = call(capsys, *merge[:2], tmp_path / "1", tmp_path / "1", *merge[4:])
    assert code == 1
    assert "twice" in err
    code, out, _ = call(
        capsys, "estimate", "--model", model, "--original", tmp_path / "all",
        "--shifted", f"{data}#test[99:300]", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["resque_dist"]["value"] > 0


WRONG = [
    (["nope"], 2, "nope"),
    (["estimate"], 2, "--model"),
    (["estimate", "--model", "MODEL"], 2, "--task|task="),
    (
        ["estimate", "--model", "MODEL", "--original", "DATA", "--corruption", "fog:1"],
        2,
        "gaussian",
    ),
    (["estimate", "--model", "MODEL", "--original", "DATA", "--corruption", "blur:x"], 2, "NAME:L"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--layer", "encodr"], 2, "encoder"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--batch-size", "x"], 2, "auto"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--max-samples", "-3"], 2, "at least 1"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--label-column", "x"], 1, "'odd'"),
    (["estimate", "--model", "MODEL@v1", "--task", "DATA"], 2, "no revisions"),
    (["estimate", "--model", "MODEL", "--task", "DATA@v1"], 2, "no revisions"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--device", "abacus"], 2, "auto, cpu"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--workers", "-1"], 2, "0 or more"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--n-init", "0"], 2, "at least 1"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--init", "x"], 2, "k-means"),
    (["estimate", "--model", "MODEL", "--task", "DATA", "--figure", "x.xyz"], 2, "png"),
    (["fingerprint", "--model", "MODEL", "--dataset", "DATA", "--push-to-hub", "a/b/c"], 2, "Repo"),
    (["estimate", "--model", "/nope", "--task", "DATA"], 1, "no model folder"),
    (["estimate", "--model", "MODEL", "--task", "/nope"], 1, "no folder"),
    (["estimate", "--model", "MODEL", "--task", "DATA#nope"], 1, "it has train, test|test, train"),
    (["fingerprint", "--model", "MODEL"], 2, "--dataset"),
    (["fingerprint", "--model", "MODEL", "--dataset", "DATA", "--output", "/proc/x"], 1, "cannot"),
    (["fingerprint", "merge", "/nope", "--output", "/tmp/x"], 1, "nope"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG)
def test_wrong_commands_say_what_to_do(digits, capsys, arguments, code, words):
    import re

    model, data = digits
    given = [x.replace("MODEL", model).replace("DATA", data) for x in arguments]
    found, out, err = call(capsys, *given)
    assert found == code, err
    assert not out
    assert re.search(words, err), err
    assert "Traceback" not in err


def test_help_has_examples(capsys):
    for command in (["estimate"], ["fingerprint"], ["demo"]):
        code, out, _ = call(capsys, *command, "--help")
        assert code == 0
        assert f"resque {command[0]}" in out
    assert call(capsys, "--version")[0] == 0


def test_metric_install_and_uninstall(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path))
    code, out, _ = call(capsys, "metric", "install", "--json")
    assert code == 0
    assert json.loads(out)["installed"].startswith(str(tmp_path))
    assert "removed" in call(capsys, "metric", "uninstall")[1]
    assert "not installed" in call(capsys, "metric", "uninstall")[1]


def test_an_unwritable_figure_or_a_broken_pipe(digits):
    model, data = digits
    command = [*RUN, "estimate", "--model", model, "--original", f"{data}#test[:50]"]
    command += ["--corruption", "blur:1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err


@pytest.mark.parametrize("flags", [["--json"], []])
def test_an_output_that_cannot_hold_every_letter(tmp_path, flags):
    folder = tmp_path / "é–\udce9"
    env = os.environ | {"HF_ASSETS_CACHE": str(folder), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*RUN, "cache", *flags], capture_output=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    if flags:
        assert json.loads(done.stdout)["folder"].startswith(str(folder))


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_a_closed_output_is_no_defect():
    command = f"{shlex.join([*RUN, 'cache', '--json'])} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_nothing_half_written(digits, tmp_path):
    model, data = digits
    output = tmp_path / "out"
    command = [*RUN, "fingerprint", "--model", model, "--dataset", data, "--output", str(output)]
    command += ["--batch-size", "1", "--corruption", "blur:3", "--layer", "all"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not output.is_dir() and time.monotonic() < deadline:  # made just before the pass
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.endswith("resque: interrupted; nothing was left half-written\n")
    assert list(output.iterdir()) == []


def test_importing_is_light():
    code = (
        "import sys, resque; print([m for m in ('torch','datasets','sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = (
        "import sys; from resque import cli; cli.run(['--help'])\n"
        "heavy = [m for m in ('torch', 'datasets', 'numpy') if m in sys.modules]\n"
        "print(heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_public_names_stay_what_they_are():
    """A submodule of a function's name would take its place once it is imported."""
    code = (
        "import importlib, pkgutil, resque\n"
        "for m in pkgutil.walk_packages(resque.__path__, 'resque.'):\n"
        "    if not m.name.startswith(('resque.__main__', 'resque._metric')):\n"
        "        importlib.import_module(m.name)\n"
        "print([n for n in resque.__all__ if not callable(getattr(resque, n))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("processes", ["", "1", "2"])
def test_leaving_keeps_the_code_the_output_and_what_is_to_be_done_at_the_end(processes):
    script = "import atexit; from resque.cli import leave; atexit.register(print, 'last'); leave(3)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"WORLD_SIZE": processes},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (3, "last\n")
