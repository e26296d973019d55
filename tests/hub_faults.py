"""Faults of the local Hub on demand: which request fails, and how.

hub.faults = Faults(Fault("reset", "GET .*/resolve/"), Fault("429", "/commit/", nth=2))
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from dataclasses import dataclass

KINDS = {
    "silence": "the request is read and never answered",
    "reset": "the connection is reset in the middle of the answer's body, or before an empty one",
    "lost": "the work is done, and the connection reset before the answer",
    "truncate": "the connection is closed in the middle of the body, in good order",
    "trickle": "the body comes a few bytes at a time",
    "etag": "the ETag is another file's",
    "429": "too many requests: Retry-After says when to come back",
    "500": "internal server error",
    "502": "bad gateway, with a page of HTML",
    "412": "the parent commit is no longer the newest",
}


@dataclass(frozen=True)
class Fault:
    """The nth to (nth + times - 1)th request that matches fails.

    Attributes:
        kind: one of `KINDS`.
        pattern: regular expression, looked for in "METHOD /path?query".
        nth: the first that fails, from 1.
        times: how many fail.
        retry_after: seconds, for "429".
        pause: seconds between the bytes of "trickle".
    """

    kind: str
    pattern: str = ""
    nth: int = 1
    times: int = 1
    retry_after: int = 0
    pause: float = 0.01

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind


class Faults:
    """A schedule of faults, which counts what each has seen.

    Attributes:
        happened: kind and request of each that came to pass.
    """

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        self.seen = [0] * len(faults)
        self.happened: list[tuple[str, str]] = []
        self.lock = threading.Lock()

    def next(self, request: str) -> Fault | None:
        """Return the fault of this request, the first that applies, or None."""
        due = None
        with self.lock:
            for i, fault in enumerate(self.faults):
                if not re.search(fault.pattern, request):
                    continue
                self.seen[i] += 1
                if due is None and fault.nth <= self.seen[i] < fault.nth + fault.times:
                    due = fault
                    self.happened.append((fault.kind, request))
        return due


def random_faults(seed: int, kinds: tuple[str, ...] = tuple(KINDS), most: int = 3) -> Faults:
    """Return a schedule that depends on the seed alone: up to `most` faults of any requests."""
    draw = random.Random(seed)
    return Faults(
        *(
            Fault(
                draw.choice(kinds),
                draw.choice(("", "^GET ", "^POST ", "^HEAD ", "/commit/", "/resolve/", "/lfs/")),
                nth=draw.randint(1, 4),
                times=draw.choice((1, 1, 1, 2, 8)),
                pause=0.001,
            )
            for _ in range(draw.randint(1, most))
        )
    )


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
