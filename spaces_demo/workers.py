"""Worker processes: what a visitor stops, or what takes too long, ends with its process."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from limits import MAX_SECONDS

ASSETS = Path(__file__).resolve().parent / "assets"
MAX_IN_LINE = 40  # runs that wait


class Refusal(Exception):
    """Why there is no answer: a sentence for the visitor."""


class Stopped(Exception):
    """The visitor stopped what was underway."""

    def __str__(self) -> str:
        return "Stopped."


@dataclass(eq=False)
class Run:
    """A function that a worker runs, or that waits for one.

    Attributes:
        usual_seconds: that the last such run took; None where there was none.
        started: time.monotonic() when a worker took it; None while it waits.
    """

    usual_seconds: float | None
    _name: str
    _future: Future[Any]
    _workers: Workers
    started: float | None = None

    @property
    def ahead(self) -> int:
        """Runs that must end before this one begins."""
        line = self._workers.line
        return max(0, line.index(self) - self._workers.count + 1) if self in line else 0

    async def progress(self, stage: str) -> AsyncIterator[str]:
        """Yield what it is at, twice a second, until it has ended.

        Whoever leaves before that ends the run, and its process.
        """
        ended = asyncio.wrap_future(self._future)
        try:
            while not ended.done():
                if self.started is None and self._future.running():
                    self.started = time.monotonic()
                yield self._told(stage)
                await asyncio.wait({ended}, timeout=0.5)
            if not ended.cancelled():
                ended.exception()  # seen: `result` raises it
        finally:
            self.end()

    def _told(self, stage: str) -> str:
        if self.ahead:
            return f"Waiting in line: {self.ahead} before you."
        if self.started is None:
            return f"{stage}…"
        passed = time.monotonic() - self.started
        if self.usual_seconds is None or passed > self.usual_seconds:
            return f"{stage}: {passed:.0f} s so far."
        return f"{stage}: about {max(1, round(self.usual_seconds - passed))} s left."

    def result(self) -> Any:
        """Return what the function returned, once it has ended.

        Raises:
            Refusal: where it failed or took too long.
            Stopped: where it was stopped.
        """
        if self.started is not None and not self._future.cancelled():
            self._workers.seconds[self._name] = time.monotonic() - self.started
        try:
            return self._future.result()
        except CancelledError:
            raise Stopped() from None
        except TimeoutError:
            raise Refusal(
                f"This took longer than {MAX_SECONDS} s, the limit of this page. Take fewer "
                "samples or a smaller model, or run the command at home."
            ) from None
        except ProcessExpired:
            raise Refusal(
                "The process that ran this ended, most likely for lack of memory. Take fewer "
                "samples or a smaller model."
            ) from None
        except (ValueError, TypeError, ImportError, OSError) as error:
            raise Refusal(str(error) or type(error).__name__) from None

    def end(self) -> None:
        """Leave the line; where it still runs, its process ends."""
        self._future.cancel()
        if self in self._workers.line:
            self._workers.line.remove(self)


@dataclass(eq=False)
class Turn:
    """Runs of one visitor, one after the other, until they are done or stopped.

    Attributes:
        ended: set once nothing of it runs.
    """

    _workers: Workers
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _run: Run | None = None
    _stopped: bool = False

    def start(self, function: Callable[..., Any], *args: Any) -> Run:
        """Put a function in the line; `progress` of the run ends it in any case.

        Raises:
            Refusal: where the line is full.
            Stopped: where the turn was stopped.
        """
        if self._stopped:
            raise Stopped()
        self._run = self._workers.start(function, *args)
        return self._run

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        self._stopped = True
        if self._run is not None:
            self._run.end()


@dataclass(eq=False)
class Workers:
    """Processes that run functions, first come, first served; one turn at a time for a visitor.

    They run in the folder of the bundled data, so that its names are those that `resque demo`
    leaves behind.

    Attributes:
        count: of processes.
        line: runs that have not ended, in order.
        turns: that have not ended, by visitor.
        seconds: that the last run of each function took.
    """

    count: int
    line: list[Run] = field(default_factory=list)
    turns: dict[str, Turn] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._pool = ProcessPool(
            max_workers=self.count,
            context=multiprocessing.get_context("spawn"),
            initializer=_prepare,
            initargs=[max(1, (os.cpu_count() or 1) // self.count)],
        )

    def warm(self, function: Callable[[], None], times: int) -> None:
        """Run a function so many times before the first visitor, who then does not wait for it."""
        for _ in range(times):
            self._pool.schedule(function)

    @contextmanager
    def turn(self, visitor: str) -> Iterator[Turn]:
        """Let a visitor start runs; whoever leaves the turn ends them.

        Raises:
            Refusal: where a turn of this visitor has not ended.
        """
        if visitor in self.turns:
            raise Refusal("A run of yours is underway: stop it, or wait until it ends.")
        turn = self.turns[visitor] = Turn(self)
        try:
            yield turn
        finally:
            turn.stop()
            del self.turns[visitor]
            turn.ended.set()

    def start(self, function: Callable[..., Any], *args: Any) -> Run:
        """Put a function in the line.

        Raises:
            Refusal: where the line is full.
        """
        if len(self.line) >= self.count + MAX_IN_LINE:
            raise Refusal(f"{MAX_IN_LINE} runs wait in line already. Please come back later.")
        name = function.__name__
        future = self._pool.schedule(function, args=args, timeout=MAX_SECONDS)
        run = Run(self.seconds.get(name), name, future, self)
        self.line.append(run)
        return run

    def stop(self) -> None:
        """End all processes."""
        self._pool.stop()
        self._pool.join()


def _prepare(threads: int) -> None:
    """Make a new process ready: in the assets' folder, and quiet."""
    import logging
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the app ends it
    os.chdir(ASSETS)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    logging.disable(logging.WARNING)
    import datasets

    datasets.disable_progress_bars()
    datasets.config.USE_PARQUET_EXPORT = False  # files as they are: no other server is asked
