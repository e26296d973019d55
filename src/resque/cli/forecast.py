"""`resque forecast`: epochs, energy, carbon and money of a retraining, before it."""
# ruff: noqa: E501 (an example is one line)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resque.cli import options as o

if TYPE_CHECKING:
    from resque.forecasting import Answer

EXAMPLES = """Examples, on what `resque demo` leaves behind:

`resque forecast --model resque-demo/model --original resque-demo/digits#train --corruption gaussian:0.3 --strategy full --strategy head`

`resque forecast --model resque-demo/model --original resque-demo/digits#train --corruption gaussian:0.3 --no-probe --seconds-per-step 0.02 --watts 15`
"""


def forecast(
    model: Annotated[
        list[str], typer.Option("--model", help="ID_OR_FOLDER\\[@REVISION]; may be repeated.")
    ],
    original: Annotated[
        str,
        typer.Option(
            help="The data that it knows: ID_OR_FOLDER\\[@REVISION]\\[:CONFIG]\\[#SPLIT]."
        ),
    ],
    shifted: Annotated[
        list[str] | None, typer.Option(help="New data, with or without labels; may be repeated.")
    ] = None,
    corruption: Annotated[
        list[str] | None,
        typer.Option(help="NAME:LEVEL of the original data; may be repeated."),
    ] = None,
    ledger: Annotated[
        list[str] | None,
        typer.Option(help="Of studies, to learn from; may be repeated. Else the package's own."),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(help="full, head, lora or scratch; may be repeated. Else full."),
    ] = None,
    target_accuracy: Annotated[float | None, typer.Option(help="To be reached.")] = None,
    target_recovery: Annotated[
        float | None,
        typer.Option(help="Or a share of the accuracy on the original data; else 0.95."),
    ] = None,
    epochs: Annotated[float, typer.Option(help="That the retraining may take.")] = 3.0,
    no_probe: o.NoProbe = False,
    seconds_per_step: o.SecondsPerStep = None,
    watts: o.Watts = None,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 32,
    learning_rate: Annotated[float | None, typer.Option(help="For the probe.")] = None,
    optimizer: Annotated[str, typer.Option(help="For the probe: adamw or sgd.")] = "adamw",
    label_column: o.LabelColumn = None,
    max_samples: o.MaxSamples = None,
    country: o.Country = None,
    grid_intensity: o.GridIntensity = None,
    price_per_hour: o.PricePerHour = None,
    seed: Annotated[int, typer.Option(help="Of rows, corruptions and probe.")] = 0,
    device: o.TrainingDevice = "auto",
    output_dir: Annotated[Path | None, typer.Option(help="Gets forecast.json.")] = None,
    as_json: o.Json = False,
) -> None:
    """Forecast what retraining costs: epochs, kWh, kg CO2eq, time and money, with intervals."""
    o.prepare(as_json)
    import json

    from resque.files import check_folder, write_whole
    from resque.forecasting import Rates
    from resque.forecasting import forecast as run

    if output_dir:
        check_folder(output_dir)
    rates = o.rates_of(no_probe, seconds_per_step, watts)
    answer = run(
        model,
        original,
        shifted or (),
        corruptions=corruption or (),
        strategies=strategy or ("full",),
        target=_target(target_accuracy, target_recovery),
        ledgers=ledger or (),
        rates=None if rates is None else Rates(*rates),
        country=country,
        grid_intensity=grid_intensity,
        price_per_hour=price_per_hour,
        max_samples=max_samples,
        seed=seed,
        device=device,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimizer=optimizer,
        label_column=label_column,
    )
    document = answer.to_dict()
    if output_dir:
        text = json.dumps(document, indent=2, allow_nan=False)
        write_whole(output_dir / "forecast.json", lambda x: x.write_text(text, encoding="utf-8"))
    if as_json:
        o.show_json(document)
    else:
        o.show(_render(answer, output_dir))


def _target(accuracy: float | None, recovery: float | None) -> str:
    from resque.errors import UsageError

    if accuracy is not None and recovery is not None:
        raise UsageError("give --target-accuracy or --target-recovery, not both")
    if accuracy is not None:
        return f"accuracy:{accuracy:g}"
    return f"recovery:{0.95 if recovery is None else recovery:g}"


def _render(answer: Answer, folder: Path | None) -> list[Any]:
    from rich.markup import escape
    from rich.table import Table

    several = len({x.model for x in answer.candidates}) > 1
    data, shifts = _shared_data([x.shifted for x in answer.candidates])
    title = f"Retraining{f' on {data}' if data else ''} to {answer.target}, the cheapest first"
    table = Table(title=escape(title))
    priced = any(x.forecast and x.forecast.price for x in answer.candidates)
    costs = ("epochs", "Wh", "g CO2eq", "s", *(["price"] if priced else []))
    for name in (*(["model"] if several else []), "shift"):
        table.add_column(name, overflow="fold")
    for name in ("strategy", "accuracy now", *costs, "reached"):
        table.add_column(name, justify="right")
    for x, shift in zip(answer.candidates, shifts, strict=True):
        table.add_row(*map(escape, [*([x.model] if several else []), shift, *x.to_row(priced)]))
    best = next(x for x in answer.candidates if x.forecast is not None)
    lines = [] if best.forecast is None else [best.forecast.sentence(), *best.forecast.outside]
    lines += [f"learnt from {', '.join(answer.ledgers)}; rates: {answer.rates}"]
    lines += [f"carbon: {answer.grid.intensity:g} g CO2eq/kWh, {answer.grid.source}"]
    lines += [f"forecast.json is in {folder}"] if folder else []
    return [table, *map(escape, lines)]


def _shared_data(shifted: list[str]) -> tuple[str, list[str]]:
    """Return the data set that all are corruptions of, if they are of one, and what is left.

    >>> _shared_data(["d#test blur:1", "d#test contrast:0.5"])
    ('d#test', ['blur:1', 'contrast:0.5'])
    >>> _shared_data(["d#test blur:1", "e#test"])
    ('', ['d#test blur:1', 'e#test'])
    """
    parts = [text.rpartition(" ") for text in shifted]
    data = parts[0][0]
    if not data or any(name != data for name, _, _ in parts):
        return "", shifted
    return data, [rest for _, _, rest in parts]
