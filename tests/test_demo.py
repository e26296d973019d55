"""The demo leaves a report and a figure, and its numbers say what it is for."""

from __future__ import annotations

import json
import re
import shlex

from resque import cli
from resque.cli import estimate, fingerprint, retrain


def test_demo(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "resque-demo"
    assert cli.run(["demo", "--output-dir", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.rstrip().endswith(str(folder)) or str(folder) in out.replace("\n", "")[-400:]
    report = json.loads((folder / "report.json").read_text())
    assert (folder / "index.png").read_bytes()[:4] == b"\x89PNG"
    for corruption in ("gaussian", "salt_pepper", "blur"):
        runs = [run for run in report["shifts"] if run["corruption"] == corruption]
        values = [run["resque_dist"]["value"] for run in runs]
        assert values == sorted(values)
        assert runs[0]["resque_dist"]["p_value"] > 0.05 > runs[-1]["resque_dist"]["p_value"]
        assert runs[0]["shifted"]["accuracy"] > 0.9 > runs[-1]["shifted"]["accuracy"]
    odd, ink = (task["resque_task"]["value"] for task in report["tasks"])
    assert odd < ink

    examples = re.findall(
        "`(resque .+)`", estimate.EXAMPLES + fingerprint.EXAMPLES + retrain.EXAMPLES
    )
    commands = [shlex.split(line)[1:] for line in examples if line != "resque demo"]
    assert len(commands) == 10
    assert [cli.run(command) for command in commands] == [0] * 10
