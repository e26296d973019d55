"""The command line: one small file per command, and one place where errors become exit codes."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any, NoReturn

FAILED, ASKED_WRONGLY, INTERRUPTED = 1, 2, 130


def main() -> None:
    """Run `resque` and exit: 0 done, 1 failed, 2 asked wrongly, 130 interrupted."""
    _mend_streams()
    leave(run(sys.argv[1:]))


def _mend_streams() -> None:
    """Let what a stream's encoding lacks not lose a result, nor that a stream was closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: the next file to be opened would take its number
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def leave(code: int) -> NoReturn:
    """Exit; one of several processes without taking Python down first.

    A thread of gloo may hold tensors for a moment after their collective is done. To let them go
    it needs the interpreter, and where that is ending already, the process aborts
    (pytorch/pytorch, pull request 179291).
    """
    if os.environ.get("WORLD_SIZE", "") not in ("", "1"):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are told in a sentence on stderr."""
    try:
        code = _command().main(arguments, prog_name="resque", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer has taken KeyboardInterrupt
            return _tell("interrupted; nothing was left half-written", INTERRUPTED)
        return int(code or 0)
    except KeyboardInterrupt:
        return _tell("interrupted; nothing was left half-written", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has gone: no second complaint
        return FAILED
    except Exception as error:
        if os.environ.get("RESQUE_DEBUG"):
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    from resque.errors import Stopped, UsageError

    if type(error).__name__ == "Abort":
        return _tell("interrupted; nothing was left half-written", INTERRUPTED)
    if hasattr(error, "exit_code") and hasattr(error, "show"):  # wrong flags, told by typer
        error.show()
        return ASKED_WRONGLY
    if isinstance(error, Stopped):
        return _tell(str(error), error.exit_code)
    if isinstance(error, UsageError):
        return _tell(str(error), ASKED_WRONGLY)
    if isinstance(error, ValueError | TypeError | ImportError | OSError):
        return _tell(str(error) or type(error).__name__, FAILED)
    return _tell(
        f"{type(error).__name__}: {error}\nThis is a defect: please report it, with what "
        "RESQUE_DEBUG=1 before the command prints",
        FAILED,
    )


def _tell(text: str, code: int) -> int:
    from resque.errors import printable

    print(f"resque: {printable(text)}", file=sys.stderr)
    return code


def _command() -> Any:
    import typer

    from resque.cli import (
        cache,
        card,
        demo,
        estimate,
        fingerprint,
        forecast,
        ledger,
        metric,
        rank,
        retrain,
        space,
        study,
    )

    app = typer.Typer(
        name="resque",
        help="What will it cost to reuse a model under a distribution shift, or for a new task?",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def top(
        version: bool = typer.Option(
            False, "--version", is_eager=True, callback=_version, help="Show the version."
        ),
    ) -> None:
        pass

    app.command("estimate", epilog=estimate.EXAMPLES)(estimate.estimate)
    app.add_typer(fingerprint.app, name="fingerprint")
    app.add_typer(ledger.app, name="ledger")
    app.add_typer(metric.app, name="metric")
    app.command("rank", epilog=rank.EXAMPLES)(rank.rank)
    app.command("cache", epilog=cache.EXAMPLES)(cache.cache)
    app.command("retrain", epilog=retrain.EXAMPLES)(retrain.retrain)
    app.command("forecast", epilog=forecast.EXAMPLES)(forecast.forecast)
    app.command("study", epilog=study.EXAMPLES)(study.study)
    app.command("card", epilog=card.EXAMPLES)(card.card)
    app.add_typer(space.app, name="space", epilog=space.EXAMPLES)
    app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
    return typer.main.get_command(app)


def _version(wanted: bool) -> None:
    if wanted:
        import typer

        from resque import __version__

        print(__version__)
        raise typer.Exit
