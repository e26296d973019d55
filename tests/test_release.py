"""A release is made where the tag, the version and the changelog agree, and else refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
if not (ROOT / ".github").is_dir():
    pytest.skip("the source archive makes no releases", allow_module_level=True)
sys.path.insert(0, str(ROOT / "tools"))

from check_release import release_notes  # noqa: E402

SOURCE = '"""Doc."""\n__version__ = "1.2.0"\n'
LOG = "# Changelog\n\n## Unreleased\n\n## 1.2.0 (2026-01-02)\n\n- New.\n\n## 1.1.0\n\n- Old.\n"


def test_the_notes_are_the_versions_section():
    assert release_notes("v1.2.0", SOURCE, LOG) == "- New.\n"


@pytest.mark.parametrize(
    ("tag", "log", "words"),
    [
        ("v1.2.1", LOG, "tag v1.2.0"),
        ("1.2.0", LOG, "tag v1.2.0"),
        ("v1.2.0", LOG.replace("## 1.2.0", "## 1.3.0"), "no section"),
        ("v1.2.0", LOG.replace("- New.", ""), "no section"),
        ("v1.2.0", LOG.replace("Unreleased\n", "Unreleased\n\n- More.\n"), "Unreleased"),
    ],
)
def test_what_does_not_agree_is_refused(tag, log, words):
    with pytest.raises(ValueError, match=words):
        release_notes(tag, SOURCE, log)


def test_the_workflow_keeps_no_secret_and_publishes_what_was_checked():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)
    assert "secrets." not in text
    assert found["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert found["jobs"]["publish"]["needs"] == "build"
    assert found["permissions"] == {"contents": "read"}
    runs = [step.get("run", "") for step in found["jobs"]["build"]["steps"]]
    assert any("check_release.py" in run for run in runs)
    assert ".ci/run" in runs
