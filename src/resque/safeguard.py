"""Watches over a run: heartbeats to the disk, a stop that was asked for, a run that hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

HEARTBEAT = 5.0  # s
LOOK = 1.0  # s


class StopRequest:
    """Whether the run was asked to stop: by SIGTERM, Ctrl-C, or the end of its launcher."""

    def __init__(self) -> None:
        self.signal = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Take the signals; a second Ctrl-C interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self  # Python lets the main thread alone take signals
            return
        before = {s: signal.signal(s, self._take) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == number:
            raise KeyboardInterrupt
        self.signal = number


class Safeguard:
    """A thread that writes heartbeats and ends a run that makes no progress.

    It also asks the run to stop when its launcher is gone, so that no process stays behind.
    """

    def __init__(
        self,
        beat: Callable[[], None] | None,
        stop: StopRequest,
        timeout: float,
        launched: bool,
    ) -> None:
        """Make the thread; it runs within `with`.

        Args:
            beat: writes a heartbeat; None on processes that write none.
            stop: asked to stop when the launcher has ended.
            timeout: seconds without progress after which the process ends itself.
            launched: whether a launcher started this process.
        """
        self._beat, self._stop, self._timeout, self._launched = beat, stop, timeout, launched
        self._parent = os.getppid()
        self._progress = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resque-safeguard", daemon=True)

    def __enter__(self) -> Safeguard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def progress(self) -> None:
        """Say that the run moves."""
        self._progress = time.monotonic()

    def _watch(self) -> None:
        beaten = time.monotonic()
        while not self._done.wait(LOOK):
            now = time.monotonic()
            if now - beaten >= HEARTBEAT:
                beaten = now
                self._try_to_beat()
            if self._launched and os.getppid() != self._parent:
                self._stop.signal = self._stop.signal or signal.SIGTERM
            if now - self._progress > self._timeout:
                self._end()

    def _try_to_beat(self) -> None:
        """Write a heartbeat; neither a full disk nor a meter that fails may end the watch."""
        with contextlib.suppress(Exception):
            if self._beat:
                self._beat()

    def _end(self) -> None:
        self._try_to_beat()
        print(
            f"resque: no progress for {self._timeout:g} s: this process, or one that it waits "
            "for, hangs. The run is ended; --resume goes on from its last checkpoint, and "
            "--timeout allows for more",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)
