"""Describes the machine, the versions and the command of a benchmark, for its result file."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil


def peak_memory(run: Callable[[], object]) -> tuple[int, int]:
    """Return resident bytes before a call, and the most during it, sampled every millisecond."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        run()
    finally:
        done.set()
        thread.join()
    return before, peak


def describe_run() -> dict[str, object]:
    """Return command, date, machine and versions."""
    names = ("resque", "numpy", "scipy", "scikit-learn", "torch", "transformers", "datasets")
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "python": platform.python_version(),
        "versions": {name: found[name] for name in names if name in found},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
