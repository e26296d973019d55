"""The flags that commands share, and how they talk: JSON on stdout, notes on stderr."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

Model = Annotated[
    str, typer.Option("--model", help="Id on the Hub or folder: ID_OR_FOLDER\\[@REVISION].")
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        help="Name of a module, negative index of a hidden layer, or `all`; may be repeated. "
        "Without it: what enters the classifier head.",
    ),
]
Pooling = Annotated[
    str,
    typer.Option(help="How tokens become one vector: auto, mean, cls, last or official."),
]
Labels = Annotated[
    str, typer.Option(help="Where classes come from: auto, data, or predicted by the model.")
]
Groups = Annotated[
    int, typer.Option(help="Random groups a class, for the error; fewer make a smaller file.")
]
ClipNorm = Annotated[
    float | None,
    typer.Option(help="Shorten longer representations to this norm; noise for privacy needs it."),
]
MaxSamples = Annotated[int | None, typer.Option(help="Draw so many samples at random.")]
InputColumns = Annotated[
    list[str] | None,
    typer.Option("--input-column", help="Input column; twice for a pair of texts."),
]
LabelColumn = Annotated[str | None, typer.Option(help="Label column.")]
Streaming = Annotated[bool, typer.Option("--streaming", help="Read the data as it goes.")]
Seed = Annotated[int, typer.Option(help="Of the draw, the corruption and the clustering.")]
BatchSize = Annotated[str, typer.Option(help="Samples at once, or `auto`.")]
Workers = Annotated[int | None, typer.Option(help="Data-loader processes.")]
SkipBadRows = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Leave out and count rows that cannot be read.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, …")]
Dtype = Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")]
Country = Annotated[
    str | None, typer.Option(help="Of the grid, three letters; else codecarbon's setting.")
]
GridIntensity = Annotated[
    float | None, typer.Option(help="g CO2eq/kWh, in place of the country's.")
]
PricePerHour = Annotated[float | None, typer.Option(help="Of all hardware together, any currency.")]
NoProbe = Annotated[
    bool, typer.Option("--no-probe", help="Take the next two instead of measuring here.")
]
SecondsPerStep = Annotated[float | None, typer.Option(help="Of training.")]
Watts = Annotated[float | None, typer.Option(help="Of the machine while training.")]
TrainingDevice = Annotated[str, typer.Option(help="auto or cpu.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that a repository brings.")
]
Corruption = Annotated[
    str | None,
    typer.Option(
        help="NAME:LEVEL, or NAME:severity=N with N from 1 to 5. Images: gaussian, "
        "gaussian_wrapped, shot, speckle, impulse, salt_pepper, blur, defocus_blur, motion_blur, "
        "contrast, brightness, jpeg, pixelate, rotation. Texts: letters_replaced, "
        "letters_dropped, letters_swapped, keyboard_typos, words_dropped. Audio: white_noise, "
        "gain, low_pass. What a level is: `python -c 'import resque.shifts as s; help(s)'`."
    ),
]
CreatePr = Annotated[
    bool, typer.Option("--create-pr", help="Ask for it in a pull request instead.")
]
Private = Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def batch_size_of(text: str) -> int | str:
    """Return the number, or "auto"."""
    from resque.errors import UsageError

    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch-size is {text!r}; expected 1 or more, or auto")
    return int(text)


def rates_of(
    no_probe: bool, seconds: float | None, watts: float | None
) -> tuple[float, float] | None:
    """Return seconds a step and watts where they are given in place of a probe, else None."""
    from resque.errors import UsageError

    if not no_probe:
        if seconds is not None or watts is not None:
            raise UsageError("--seconds-per-step and --watts go with --no-probe")
        return None
    if seconds is None or watts is None or not all(0 <= x < math.inf for x in (seconds, watts)):
        raise UsageError("--no-probe needs --seconds-per-step and --watts, from 0 up")
    return seconds, watts


def pass_options(
    pooling: Pooling = "auto",
    labels: Labels = "auto",
    label_column: LabelColumn = None,
    input_column: InputColumns = None,
    max_samples: MaxSamples = None,
    groups: Groups = 16,
    clip_norm: ClipNorm = None,
    streaming: Streaming = False,
    seed: Seed = 0,
    batch_size: BatchSize = "32",
    workers: Workers = None,
    skip_bad_rows: SkipBadRows = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    trust_remote_code: TrustRemoteCode = False,
) -> dict[str, Any]:
    """Return the flags of a pass as keyword arguments of `resque.estimate`."""
    return {
        "pooling": pooling,
        "labels": labels,
        "label_column": label_column,
        "input_columns": input_column or None,
        "max_samples": max_samples,
        "groups": groups,
        "clip_norm": clip_norm,
        "streaming": streaming,
        "seed": seed,
        "batch_size": batch_size_of(batch_size),
        "workers": workers,
        "skip_bad_rows": skip_bad_rows,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
    }


def takes_pass_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of `pass_options`; it gets what they return as `options`."""
    own = [p for p in _parameters(command) if p.name != "options"]
    shared = _parameters(pass_options)

    @functools.wraps(command)
    def with_flags(**given: Any) -> None:
        flags = {p.name: given.pop(p.name) for p in shared}
        command(**given, options=pass_options(**flags))

    both = [*own, *shared]
    with_flags.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {p.name: p.annotation for p in both}
    return with_flags


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    types = get_type_hints(function, include_extras=True)
    found = inspect.signature(function).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [p.replace(annotation=types[p.name], kind=keyword) for p in found]


def prepare(as_json: bool, notes: bool = False) -> None:
    """Send notes and warnings to stderr, a line each, and keep libraries quiet.

    Args:
        as_json: stdout holds one document, so that notes are told here.
        notes: tell them in any case.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("resque: %(message)s"))
    logger = logging.getLogger("resque")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO if as_json or notes else logging.WARNING)
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    warnings.showwarning = _warn  # type: ignore[assignment]
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _warn(message: Any, category: type[Warning], filename: str, *_: Any) -> None:
    """Tell our own warnings; a library's are of no use to who runs a command."""
    if "resque" in filename or issubclass(category, UserWarning):
        from resque.errors import printable

        print(f"resque: warning: {printable(str(message))}", file=sys.stderr)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from resque.errors import printable

        return printable(super().format(record))


def show(renderables: list[Any]) -> None:
    """Print tables and lines on stdout, and nothing of them that steers a terminal."""
    from rich.console import Console
    from rich.segment import Segment

    from resque.errors import printable

    class Plain(Console):
        def render(self, *what: Any, **more: Any) -> Any:
            for part in super().render(*what, **more):
                yield part if part.control else Segment(printable(part.text), part.style)

    console = Plain(highlight=False, width=None if sys.stdout.isatty() else 110)
    for part in renderables:
        console.print(part)


def show_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2, allow_nan=False)
    print(text)
