"""`resque retrain`: retrain a model for real, and record what that costs."""
# ruff: noqa: E501 (an example is one line)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resque.cli import options as o

EXAMPLES = """Examples, on what `resque demo` leaves behind:

`resque retrain --model resque-demo/model --dataset resque-demo/digits --corruption gaussian:0.3 --target-recovery 0.9 --epochs 5 --output-dir out --ledger ledger.jsonl`

`resque retrain --model resque-demo/model --dataset resque-demo/digits --label-column ink --strategy head --target-accuracy 0.5 --output-dir out-ink`

`resque retrain --model resque-demo/model --dataset resque-demo/digits --measure probe --output-dir out-probe`

`accelerate launch --num_processes 1 -m resque.retrain --model resque-demo/model --dataset resque-demo/digits --epochs 1 --output-dir out-launched`
"""


def retrain(
    model: o.Model,
    dataset: Annotated[
        str,
        typer.Option(help="ID_OR_FOLDER\\[@REVISION]\\[:CONFIG]\\[#SPLIT]; else its train split."),
    ],
    output_dir: Annotated[Path, typer.Option(help="Gets records.jsonl and model/.")],
    target_accuracy: Annotated[float | None, typer.Option(help="Stop at this accuracy.")] = None,
    target_recovery: Annotated[
        float | None, typer.Option(help="Or at this share of the accuracy on the original data.")
    ] = None,
    original: Annotated[
        str | None,
        typer.Option(help="The original data; without it, the data before --corruption."),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Add the run, and what could be known before it, to this ledger."),
    ] = None,
    epochs: Annotated[float, typer.Option(help="Stop after so many, a fraction too.")] = 3.0,
    patience: Annotated[
        list[str] | None,
        typer.Option(
            help="DIFFERENCE:EPOCHS, up to twice: stop near the target, as the official code."
        ),
    ] = None,
    strategy: Annotated[str, typer.Option(help="full, head, lora or scratch.")] = "full",
    lora_rank: Annotated[int, typer.Option(help="Rank of the adapters.")] = 8,
    head: Annotated[str, typer.Option(help="auto, keep the checkpoint's, or new.")] = "auto",
    corruption: o.Corruption = None,
    eval_split: Annotated[
        str | None, typer.Option(help="Without it: validation or test, else a part kept apart.")
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps between evaluations; else 8 an epoch.")
    ] = None,
    max_samples: Annotated[int | None, typer.Option(help="Draw so many training rows.")] = None,
    max_eval_samples: Annotated[
        int | None, typer.Option(help="Draw so many evaluation rows.")
    ] = None,
    label_column: o.LabelColumn = None,
    input_column: o.InputColumns = None,
    optimizer: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
    learning_rate: Annotated[
        float | None, typer.Option(help="Else chosen by strategy and architecture.")
    ] = None,
    weight_decay: Annotated[float, typer.Option(help="Of the optimizer.")] = 0.0,
    momentum: Annotated[float, typer.Option(help="Of SGD.")] = 0.9,
    schedule: Annotated[str, typer.Option(help="constant, linear, cosine, …")] = "constant",
    warmup_steps: Annotated[int, typer.Option(help="Of the schedule.")] = 0,
    clip_norm: Annotated[float | None, typer.Option(help="Clip gradients to this norm.")] = None,
    batch_size: Annotated[str, typer.Option(help="Rows at once on a process, or `auto`.")] = "32",
    gradient_accumulation: Annotated[int, typer.Option(help="Batches a step.")] = 1,
    precision: Annotated[str, typer.Option(help="auto, no, fp16 or bf16.")] = "auto",
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time.")
    ] = False,
    compile_model: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    measure: Annotated[
        str,
        typer.Option(help="retrain, or probe: a short run that gives seconds and energy a step."),
    ] = "retrain",
    probe_steps: Annotated[int, typer.Option(help="Of a probe, after its warm-up.")] = 40,
    seed: Annotated[int, typer.Option(help="Of head, order, dropout, split, corruption.")] = 0,
    workers: Annotated[int, typer.Option(help="Data-loader processes.")] = 0,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints; else one an epoch.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew in a folder that holds a run.")
    ] = False,
    param_change_device: Annotated[
        str, typer.Option(help="Where copies of the weights lie: auto, cpu or model.")
    ] = "auto",
    country: o.Country = None,
    grid_intensity: o.GridIntensity = None,
    price_per_hour: o.PricePerHour = None,
    report_to: Annotated[str, typer.Option(help="none, tensorboard, trackio or wandb.")] = "none",
    timeout: Annotated[float, typer.Option(help="Seconds without progress that end a run.")] = 1800,
    device: o.TrainingDevice = "auto",
    trust_remote_code: o.TrustRemoteCode = False,
    as_json: o.Json = False,
) -> None:
    """Retrain a model for real, and record what that costs."""
    given: dict[str, Any] = locals()
    o.prepare(as_json, notes=True)
    from resque.own_runs import add_to_ledger, check_can_be_added
    from resque.processes import is_main_process
    from resque.retrain import retrain as run
    from resque.retrain_options import make_retrain_options
    from resque.retrain_report import render
    from resque.targets import parse_patience

    names = ("model", "dataset", "output_dir", "as_json", "compile_model", "input_column",
             "ledger", "resume", "overwrite")  # fmt: skip
    options = {name: value for name, value in given.items() if name not in names}
    options |= {
        "compile": compile_model,
        "input_columns": input_column or None,
        "patience": tuple(parse_patience(text) for text in patience or ()),
        "batch_size": o.batch_size_of(batch_size),
    }
    use = make_retrain_options(options)
    if ledger:
        check_can_be_added(use)
    record = run(model, dataset, output_dir, resume=resume, overwrite=overwrite, **options)
    if ledger:
        add_to_ledger(record, model, use, ledger)
    if not is_main_process():
        return
    if as_json:
        o.show_json(record.to_dict())
    else:
        o.show(render(record, output_dir))
