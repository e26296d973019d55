"""`resque rank`: which of many models fits a data set, and what each costs to reuse."""
# ruff: noqa: E501 (an example is one line)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resque.cli import options as o

EXAMPLES = """Examples, on what `resque demo` leaves behind:

`resque rank --dataset resque-demo/digits#test --label-column label --models resque-demo/model`

On the Hub:

`resque rank --dataset ORG/DATA#train --models ORG/A ORG/B@v1 models.txt --max-samples 2000`

`resque rank --dataset ORG/DATA#train --search "task=image-classification, library=transformers, sort=downloads, limit=20" --sort-by knn`

`resque rank --dataset ORG/DATA#train --models ORG/A ORG/B --target-accuracy 0.9 --ledger OUT`
"""


def rank(
    dataset: Annotated[
        str, typer.Option(help="Labelled data: ID_OR_FOLDER\\[@REVISION]\\[:CONFIG]\\[#SPLIT].")
    ],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[MODELS]…", help="More models.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(help="ID_OR_FOLDER\\[@REVISION], or a .txt file with one a line; several."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="Of the Hub: `task=…, library=…, author=…, search=…, sort=…, limit=20`."),
    ] = None,
    sort_by: Annotated[
        str | None,
        typer.Option(
            help="hscore, logme, knn, leep, nce, resque_task or mean_rank. Else mean_rank: the "
            "mean of the ranks by hscore, knn and resque_task."
        ),
    ] = None,
    score: Annotated[
        list[str] | None, typer.Option(help="Compute these only; may be repeated.")
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            help="last, mean, all, or auto for the one with the best score; or a name or negative "
            "index, may be repeated. Else last."
        ),
    ] = None,
    init: Annotated[str, typer.Option(help="RESQUE_task: centroids or k-means++.")] = "centroids",
    pooling: o.Pooling = "auto",
    label_column: o.LabelColumn = None,
    input_column: o.InputColumns = None,
    max_samples: o.MaxSamples = None,
    streaming: o.Streaming = False,
    seed: o.Seed = 0,
    batch_size: o.BatchSize = "32",
    workers: o.Workers = None,
    skip_bad_rows: o.SkipBadRows = False,
    target_accuracy: Annotated[
        float | None, typer.Option(help="Forecast what retraining to it costs, too.")
    ] = None,
    ledger: Annotated[
        list[str] | None,
        typer.Option(help="Of studies, for the forecast; may be repeated. Else the package's own."),
    ] = None,
    strategy: Annotated[str, typer.Option(help="full, head, lora or scratch.")] = "full",
    epochs: Annotated[float, typer.Option(help="That the retraining may take.")] = 3.0,
    no_probe: o.NoProbe = False,
    seconds_per_step: o.SecondsPerStep = None,
    watts: o.Watts = None,
    country: o.Country = None,
    grid_intensity: o.GridIntensity = None,
    price_per_hour: o.PricePerHour = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Measure all anew; see `resque cache`.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw score against cost there (.png, .svg, .pdf).")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Gets ranking.json and, with matplotlib, ranking.png.")
    ] = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    trust_remote_code: o.TrustRemoteCode = False,
    as_json: o.Json = False,
) -> None:
    """Rank models by how well they fit a data set as they are, and by what they cost to reuse."""
    given: dict[str, Any] = locals()
    o.prepare(as_json, notes=True)
    from resque.errors import ResqueError
    from resque.files import check_folder
    from resque.processes import is_main_process
    from resque.ranking import rank as run

    if figure:
        from resque.plots import check_format

        check_format(figure)  # before the passes, not after them
    if output_dir:
        check_folder(output_dir)
    names = ("pooling", "label_column", "max_samples", "streaming", "seed", "workers",
             "skip_bad_rows", "device", "dtype", "trust_remote_code")  # fmt: skip
    ranking = run(
        [*(models or ()), *(more or ())],
        dataset,
        search=search,
        sort_by=sort_by,
        scores=score or None,
        layers=layers[0] if layers and len(layers) == 1 else layers or "last",
        init=init,
        costs=_costs(given),
        cache=not no_cache,
        input_columns=input_column or None,
        batch_size=o.batch_size_of(batch_size),
        **{name: given[name] for name in names},
    )
    if not is_main_process():
        return
    _write(ranking, figure, output_dir)
    o.show_json(ranking.to_dict()) if as_json else o.show(ranking.render())
    if not ranking.done:
        raise ResqueError("no candidate could be ranked: each has its error above")


def _costs(given: dict[str, Any]) -> Any:
    from resque.errors import UsageError
    from resque.ranking import Costs

    rates = o.rates_of(given["no_probe"], given["seconds_per_step"], given["watts"])
    if given["target_accuracy"] is None:
        if given["ledger"] or rates:
            raise UsageError("a forecast needs --target-accuracy")
        return None
    return Costs(
        target_accuracy=given["target_accuracy"],
        strategy=given["strategy"],
        ledgers=tuple(given["ledger"] or ()),
        rates=rates,
        country=given["country"],
        grid_intensity=given["grid_intensity"],
        price_per_hour=given["price_per_hour"],
        options={"epochs": given["epochs"]},
    )


def _write(ranking: Any, figure: Path | None, folder: Path | None) -> None:
    import importlib.util
    import json

    from resque.files import write_whole
    from resque.plots import save

    if folder:
        text = json.dumps(ranking.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_whole(folder / "ranking.json", lambda x: x.write_text(text, encoding="utf-8"))
    if folder and ranking.done and importlib.util.find_spec("matplotlib"):
        save(ranking.plot(), folder / "ranking.png")
    if figure and ranking.done:
        save(ranking.plot(), figure)
