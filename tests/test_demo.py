"""The demo leaves a report and a figure, and its numbers say what it is for."""

from __future__ import annotations

import json

from resque import cli


def test_demo(tmp_path, capsys):
    folder = tmp_path / "out"
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
