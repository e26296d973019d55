"""The candidates of the ranking study, their data sets, and how they are retrained.

Images are development data: their settings were revised once after a look at the results. Texts are
held data. Their settings were written down after one candidate, minilm, had been ranked and
retrained for one epoch on AG News and SST-2 to see how long that takes; they were made smaller once
(rows, steps, tokens, one candidate less), because the machine was busy, with no other result known
but the accuracy of tuned-sst2 on its own data.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path

TRAINED_ON_IMAGES = {
    "vit-mnist": "mnist",
    "resnet-fashion-mnist": "fashion_mnist",
    "resnet20-cifar10": "cifar10_jpeg",
}
SHARES = {"trained": 1.0, "half": 0.5, "random": 0.0}  # of the trained weights, rest random
TOKENS = 32  # of a text, the rest is cut
TUNING = {"strategy": "full", "max_samples": 1024, "epochs": 1.5, "batch_size": 16,
          "learning_rate": 2e-4, "max_eval_samples": 200, "eval_every": 96, "seed": 1,
          "device": "cpu", "progress": False}  # fmt: skip


@dataclass(frozen=True)
class DataSet:
    """A data set to reuse models on.

    Attributes:
        source: below the folder `datasets`, in resque's notation.
        eval_split: whose rows the accuracy is of.
        reading: options of `rank` and of `retrain`.
    """

    source: str
    eval_split: str = "test"
    reading: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Study:
    """Candidates × data sets × strategies.

    Attributes:
        name: of the modality, and of the folder of results.
        data: data sets by name.
        candidates: by name, the data sets that each has been trained on.
        ranked_rows: training rows that the scores are of.
        retraining: options of `retrain`.
        strategies: more of them, by strategy.
        seeds: of the retraining, by data set, where there are more than seed 0.
    """

    name: str
    data: dict[str, DataSet]
    candidates: dict[str, tuple[str, ...]]
    ranked_rows: int
    retraining: dict[str, object]
    strategies: dict[str, dict[str, object]]
    seeds: dict[str, tuple[int, ...]]

    def candidates_of(self, data: str) -> list[str]:
        """Return the candidates that were not trained on a data set."""
        return [name for name, seen in self.candidates.items() if data not in seen]


IMAGES = Study(
    "images",
    {name: DataSet(name) for name in ("usps", "mnist_m", "fashion_mnist", "cifar10_jpeg")},
    {
        f"{name}-{how}": (data,) if share else ()
        for name, data in TRAINED_ON_IMAGES.items()
        for how, share in SHARES.items()
    },
    ranked_rows=1000,
    retraining={"max_samples": 1000, "max_eval_samples": 400, "batch_size": 32, "device": "cpu",
                "progress": False},
    strategies={
        "full": {"epochs": 4.0, "eval_every": 16},
        "head": {"epochs": 10.0, "eval_every": 32, "learning_rate": 0.01},
    },
    seeds={},
)  # fmt: skip
TEXTS = Study(
    "texts",
    {
        "trec": DataSet("trec", reading=(("label_column", "coarse_label"),)),
        "banking77": DataSet("banking77"),
        "sst2": DataSet("sst2", "validation"),
        "ag_news": DataSet("ag_news"),
    },
    {
        "minilm": (),  # a sentence encoder, without a head; so are the next three
        "minilm-first3": (),  # its first three layers
        "minilm-reset2": (),  # its last two layers and pooler drawn anew
        "minilm-random": (),
        "agnews": ("ag_news",),
        "agnews-first3": ("ag_news",),
        "tuned-sst2": ("sst2",),  # minilm, tuned on a few rows; so are the next three
        "tuned-amazon": ("amazon",),
        "tuned-trec": ("trec",),
        "tuned-banking77": ("banking77",),
    },
    ranked_rows=1024,
    retraining={"max_samples": 1024, "max_eval_samples": 256, "batch_size": 16, "device": "cpu",
                "progress": False},
    strategies={
        "full": {"epochs": 1.0, "eval_every": 16, "learning_rate": 2e-4},  # 64 steps
        "head": {"epochs": 1.5, "eval_every": 32, "learning_rate": 0.01},  # 96 steps
    },
    seeds={"trec": (0, 1)},
)  # fmt: skip
STUDIES = {study.name: study for study in (IMAGES, TEXTS)}
TUNED_ON = {**TEXTS.data, "amazon": DataSet("amazon_multi_domain:books")}


def make_image_candidates(source: Path, folder: Path) -> None:
    """Write each trained model, one half way to random weights, and a random one."""
    import torch
    import transformers

    for name in TRAINED_ON_IMAGES:
        original = source / "models" / name
        config = transformers.AutoConfig.from_pretrained(original)
        kind = getattr(transformers, config.architectures[0])
        processor = transformers.AutoImageProcessor.from_pretrained(original)
        trained = kind.from_pretrained(original)
        torch.manual_seed(0)
        fresh = kind(config)
        for how, share in SHARES.items():
            _mixed(trained, fresh, share).save_pretrained(folder / f"{name}-{how}")
            processor.save_pretrained(folder / f"{name}-{how}")


def make_text_candidates(source: Path, minilm: Path, folder: Path) -> None:
    """Write what is not there yet: MiniLMs, cut, reset, random, and tuned."""
    import torch
    import transformers

    base = transformers.AutoModel.from_pretrained(minilm, dtype=torch.float32)
    topics = transformers.AutoModelForSequenceClassification.from_pretrained(
        source / "models" / "minilm-ag-news", dtype=torch.float32
    )
    torch.manual_seed(0)
    fresh = transformers.BertModel(base.config)
    made = {
        "minilm": base,
        "minilm-first3": _first_layers(base, 3),
        "minilm-reset2": _reset(base, fresh, ("encoder.layer.4", "encoder.layer.5", "pooler")),
        "minilm-random": fresh,
        "agnews": topics,
        "agnews-first3": _first_layers(topics, 3),
    }
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    tokenizer.model_max_length = TOKENS
    for name, module in made.items():
        module.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    for name in TEXTS.candidates:
        if name.startswith("tuned-") and not (folder / name).exists():
            _tune(source, folder, TUNED_ON[name.removeprefix("tuned-")], folder / name)


def _tune(source: Path, folder: Path, data: DataSet, output: Path) -> None:
    """Write the MiniLM tuned on a few rows of a data set."""
    from resque.retrain import retrain

    part = output.with_name(f"{output.name}.part")
    record = retrain(
        str(folder / "minilm"), f"{source}/datasets/{data.source}#train", part, overwrite=True,
        eval_split=data.eval_split, **TUNING, **dict(data.reading),
    )  # fmt: skip
    shutil.move(part / "model", output)
    shutil.rmtree(part)
    print(f"{output.name}: accuracy {record.accuracy_final:.3f}", flush=True)


def _first_layers(module, n):
    """Return a BERT's first n layers, with its embeddings, pooler and head."""
    found = copy.deepcopy(module)
    bert = getattr(found, "bert", found)
    bert.encoder.layer = bert.encoder.layer[:n]
    found.config.num_hidden_layers = n
    return found


def _reset(module, fresh, parts):
    """Return a module with the weights of some of its parts from another."""
    found = copy.deepcopy(module)
    weights = {k: v for k, v in fresh.state_dict().items() if k.startswith(parts)}
    found.load_state_dict(weights, strict=False)
    return found


def _mixed(trained, fresh, share):
    """Return the mean of two modules' weights, `share` of the first."""
    found = copy.deepcopy(trained)
    other = fresh.state_dict()
    found.load_state_dict({
        key: share * value + (1 - share) * other[key] if value.is_floating_point() else value
        for key, value in trained.state_dict().items()
    })  # fmt: skip
    return found
