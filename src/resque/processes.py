"""What a pass or a run needs to know of its processes, and of the memory that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from resque.errors import ResqueError

T = TypeVar("T")
FIRST_AUTO_BATCH = 256


def rank_and_world() -> tuple[int, int]:
    """Return this process's number and how many there are."""
    from accelerate import PartialState

    state = PartialState()
    return state.process_index, state.num_processes


def is_main_process() -> bool:
    """Return whether this process is the one that reports."""
    return rank_and_world()[0] == 0


def on_all(run: Callable[[], T]) -> list[T]:
    """Run on every process and return all results; where one fails, all fail with its error."""
    from accelerate.utils import gather_object

    result = together(run)
    return [result] if rank_and_world()[1] == 1 else list(gather_object([result]))


def together(run: Callable[[], T]) -> T:
    """Run on every process and return this one's result; where one fails, all fail."""
    from accelerate.utils import gather_object

    if rank_and_world()[1] == 1:
        return run()
    result: list[T] = []
    error: Exception | None = None
    said = None
    try:
        result.append(run())
    except Exception as raised:
        error, said = raised, str(raised) or type(raised).__name__
    failed = list(filter(None, gather_object([said])))
    if error is not None:
        raise error
    if failed:
        raise ResqueError(f"another process failed: {failed[0]}")
    return result[0]


def fit_memory(run: Callable[[int], T], batch_size: int | str) -> T:
    """Run with the batch size; "auto" starts again with half of it where memory does not do."""
    size = FIRST_AUTO_BATCH if batch_size == "auto" else int(batch_size)
    while True:
        try:
            return run(size)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if batch_size != "auto" or size == 1:
                raise ResqueError(
                    f"out of memory with batches of {size}: take a smaller --batch-size, or "
                    "--batch-size auto"
                ) from error
        size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "out of memory"))
