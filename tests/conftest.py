"""Every test runs offline, with the Hub's caches in a folder of its own, without a screen."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is, is no property of the code.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")

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


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of a small ResNet trained on scikit-learn's digits, and of these digits."""
    from resque.demo import train_model, write_digits

    folder = tmp_path_factory.mktemp("digits")
    images, labels = write_digits(folder / "data")
    train_model(images, labels, folder / "model")
    return str(folder / "model"), str(folder / "data")
