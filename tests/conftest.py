"""Every test runs offline, with the Hub's caches in a folder of its own, without a screen."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

# Set before any test module imports the libraries, which read these once, at import.
_HF_HOME = tempfile.mkdtemp(prefix="resque-tests-")
os.environ.update(
    HF_HOME=_HF_HOME,
    HF_HUB_OFFLINE="1",
    HF_EVALUATE_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MPLBACKEND="Agg",
    TOKENIZERS_PARALLELISM="false",
)
for _name in (
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_MODULES_CACHE",
    "HF_METRICS_CACHE",
    "HF_TOKEN",
):
    os.environ.pop(_name, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the caches that the tests filled."""
    shutil.rmtree(_HF_HOME, ignore_errors=True)
