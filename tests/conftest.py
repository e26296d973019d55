"""Every test runs offline, with the Hub's caches in a folder of its own, without a screen."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from hub_server import Hub

pytest_plugins = ["browser"]  # its fixtures: browser, start_app, visit

# How fast a machine is, is no property of the code; and what fails once must fail again.
settings.register_profile(
    "same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("random", settings.get_profile("same"), derandomize=False)
settings.load_profile("same")

# Set before any test module imports the libraries, which read these once, at import.
_HF_HOME = tempfile.mkdtemp(prefix="resque-tests-")
os.environ.update(
    HF_HOME=_HF_HOME,
    HF_HUB_OFFLINE="1",
    HF_EVALUATE_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",  # several test processes share the cores, and sums keep their order
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


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """Undo what a command that ran in this process did to the package's logger."""
    logger = logging.getLogger("resque")
    handlers, propagate, level = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of a small ResNet trained on scikit-learn's digits, and of these digits."""
    from resque.demo import train_model, write_digits

    folder = tmp_path_factory.mktemp("digits")
    images, labels = write_digits(folder / "data")
    train_model(images, labels, folder / "model")
    return str(folder / "model"), str(folder / "data")


@pytest.fixture(scope="session")
def running_hub() -> Iterator[Hub]:
    """A local Hub for all tests of a process; a token reads, another is of a stranger."""
    from hub_server import Account, serve

    with serve() as hub:
        hub.accounts["hf_reader"] = Account("someone", "read", ("org",))
        hub.accounts["hf_stranger"] = Account("stranger")
        yield hub


@pytest.fixture
def hub(running_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty local Hub, which this process takes for the Hub; the token may write to org."""
    from hub_faults import Faults
    from hub_server import inside
    from resque.ledger_hub import _is_public

    running_hub.repositories.clear()
    running_hub.requests.clear()
    running_hub.faults = Faults()
    _is_public.cache_clear()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    with inside(running_hub, tmp_path / "home"):
        yield running_hub
