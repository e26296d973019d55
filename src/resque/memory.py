"""The most memory that a part of a program takes."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from types import TracebackType

import torch

EVERY = 0.01  # seconds between two looks


def give_back() -> None:
    """Give freed memory back to the system, where the C library would keep it (glibc does)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class PeakMemory:
    """Watches memory as a context manager; `megabytes` is the most that was seen.

    On an accelerator, what torch has allocated there; else the resident memory of the process.
    """

    def __init__(self, device: str = "auto") -> None:
        self._on_cuda = torch.cuda.is_available() and device != "cpu"
        self._done = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        if self._on_cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._on_cuda:
            self._peak = torch.cuda.max_memory_allocated()
        else:
            self._done.set()
            self._thread.join()

    def _watch(self) -> None:
        import psutil

        process = psutil.Process()
        while True:
            self._peak = max(self._peak, process.memory_info().rss)
            if self._done.wait(EVERY):
                break

    @property
    def megabytes(self) -> float:
        """The most memory, in 10⁶ bytes."""
        return self._peak / 1e6
