"""The scripts under examples/retraining run as they stand, on real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from resque import read_records

HOME = Path(__file__).parents[1] / "examples" / "retraining"
SCRIPTS = sorted(path.name for path in HOME.iterdir() if path.suffix in (".sh", ".sbatch"))
SMALL = ["--max-samples", "130", "--max-eval-samples", "60", "--epochs", "1"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="bash")


def environment(digits, out, **more):
    model, data = digits
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    given = {"MODEL": model, "DATA": data, "OUT": str(out), "OMP_NUM_THREADS": "1", "PATH": path}
    return os.environ | given | {"ACCELERATE_USE_CPU": "true"} | more


def start(command, environment, cwd):
    return subprocess.Popen(
        command, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_bash(name):
    subprocess.run(["bash", "-n", str(HOME / name)], check=True)
    assert os.access(HOME / name, os.X_OK) or name.endswith(".sbatch")


def test_configurations_are_what_accelerate_reads():
    from accelerate.commands.config.config_args import load_config_from_file

    for path in sorted(HOME.glob("*.yaml")):
        assert load_config_from_file(str(path)).num_processes == 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "processes"), [("one_process.sh", 1), ("two_processes.sh", 2)])
def test_processes_of_one_machine(digits, tmp_path, name, processes):
    out = tmp_path / "out"
    end(start([str(HOME / name), *SMALL], environment(digits, out), tmp_path))
    (record,) = read_records(out)
    assert (record.training.world_size, record.training.nodes) == (processes, 1)


@pytest.mark.slow
def test_two_machines_count_their_energy_once_each(digits, tmp_path):
    """Two simulated machines of two processes: two trackers, each of constant memory power."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out, one = tmp_path / "out", tmp_path / "one"
    options = [*SMALL, "--batch-size", "8", "--epochs", "4"]
    nodes = [
        start(
            [str(HOME / "multi_node.sh"), *options],
            environment(
                digits, out, NODES="2", NODE_RANK=str(rank), MAIN_ADDRESS="127.0.0.1",
                MAIN_PORT=str(port), PROCESSES="2",
            ),
            tmp_path,
        )
        for rank in range(2)
    ]  # fmt: skip
    for node in nodes:
        end(node)
    end(
        start(
            [str(HOME / "one_process.sh"), *options],
            environment(
                digits,
                one,
            ),
            tmp_path,
        )
    )
    (record,), (alone,) = read_records(out), read_records(one)
    assert (record.training.world_size, record.training.nodes) == (4, 2)
    assert len(list((out / "attempts").glob("000-node*.json"))) == 2
    powers = [r.energy_parts_kwh.ram / r.seconds_training for r in (record, alone)]
    assert powers[0] == pytest.approx(2 * powers[1], rel=0.25)


@pytest.mark.slow
def test_the_trainer_example(digits, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, str(HOME / "trainer_callback.py"), *SMALL]
    assert "Wh" in end(start(command, environment(digits, out), tmp_path))
    (record,) = read_records(out)
    assert record.measure == "trainer"
    assert record.accuracy_before is not None
