"""One pass over real architectures (random weights) against the plain loop over samples."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import resque
from resque.labels import map_classes, real_names
from resque.layers import hidden_layers, pool
from resque.models import find_head

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "some", "dogs", "run", "fast"]


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=12,
    )


def text_table(n=40, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 20, n)
    texts = [" ".join(rng.choice(WORDS, length)) for length in lengths]
    return datasets.Dataset.from_dict({"text": texts, "label": (rng.integers(0, 3, n)).tolist()})


def image_table(n=24, seed=0, size=32):
    rng = np.random.default_rng(seed)
    images = [
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in range(n)
    ]
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    return datasets.Dataset.from_dict(
        {"image": images, "label": [i % 3 for i in range(n)]}, features=features
    )


def build(kind, **config):
    torch.manual_seed(0)
    config_class = getattr(transformers, f"{kind.split('For')[0].removesuffix('Model')}Config")
    return getattr(transformers, kind)(config_class(num_labels=3, **config)).eval()


SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
IMAGE_MODELS = {
    "ResNetForImageClassification": {
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
    },
    "ConvNextForImageClassification": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "ViTForImageClassification": VISION,
    "DeiTForImageClassification": VISION,
    "SwinForImageClassification": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "window_size": 4,
    },
    "MobileNetV2ForImageClassification": {"depth_multiplier": 0.25},
}
TEXT_MODELS = {
    "BertForSequenceClassification": {**SMALL, "vocab_size": 30},
    "DistilBertForSequenceClassification": {
        "dim": 16,
        "hidden_dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "vocab_size": 30,
    },
    "GPT2ForSequenceClassification": {
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "vocab_size": 30,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    "LlamaForSequenceClassification": {
        **SMALL,
        "vocab_size": 30,
        "num_key_value_heads": 2,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
}


def totals(fp, layer=None):
    sums = fp.sums[layer or fp.header.layers[0]]
    labels = sorted(sums.labels)
    counts, vectors = sums.select(labels)
    return labels, counts.sum(1), vectors.sum(1)


@torch.inference_mode()
def head_inputs(model, inputs):
    """The classifier's input sample by sample, found by solving logits = W x + b backwards."""
    head = model.get_submodule(find_head(model))
    seen = []
    handle = head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    outputs = [model(**one).logits[0] for one in inputs]
    handle.remove()
    vectors = [x[0] if x.ndim == 2 else x[0, -1] for x in seen]
    for vector, logits in zip(vectors, outputs, strict=True):
        assert torch.allclose(head(vector), logits, atol=1e-5)
    return torch.stack(vectors).double().numpy(), torch.stack(outputs)


def check(fp, vectors, logits, labels):
    found, counts, sums = totals(fp)
    assert found == [0, 1, 2]
    y = np.array(labels)
    assert counts.tolist() == [(y == k).sum() for k in range(3)]
    expected = np.stack([vectors[y == k].sum(0) for k in range(3)])
    assert sums == pytest.approx(expected, rel=1e-4, abs=1e-4)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    assert fp.header.counts.loss == pytest.approx(float(loss), rel=1e-4)
    accuracy = float((logits.argmax(1).numpy() == y).mean())
    assert fp.header.counts.accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize("kind", IMAGE_MODELS)
def test_what_enters_the_head_of_image_models(kind):
    model, table = build(kind, **IMAGE_MODELS[kind]), image_table()
    inputs = [
        {"pixel_values": torch.tensor(np.asarray(x)).permute(2, 0, 1)[None] / 255}
        for x in table["image"]
    ]
    fp = resque.fingerprint(model, table, batch_size=7, progress=False)
    check(fp, *head_inputs(model, inputs), table["label"])


@pytest.mark.parametrize("kind", TEXT_MODELS)
def test_what_enters_the_head_of_text_models(kind, tokenizer):
    model, table = build(kind, **TEXT_MODELS[kind]), text_table()
    names = ["input_ids", "attention_mask"]
    inputs = [
        {k: v for k, v in tokenizer(t, truncation=True, return_tensors="pt").items() if k in names}
        for t in table["text"]
    ]
    tokenizer.model_input_names = names
    fp = resque.fingerprint(model, table, batch_size=7, processor=tokenizer, progress=False)
    check(fp, *head_inputs(model, inputs), table["label"])
    cut = sum(len(text.split()) > 10 for text in table["text"])
    assert fp.header.counts.truncated == cut > 0


def test_what_enters_the_head_of_an_audio_model():
    model = build(
        "Wav2Vec2ForSequenceClassification",
        **SMALL,
        conv_dim=(8, 8),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_feat_extract_layers=2,
        feat_extract_norm="layer",
        classifier_proj_size=8,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    rng = np.random.default_rng(0)
    sounds = [rng.normal(size=n).astype(np.float32) for n in rng.integers(400, 900, 12)]
    table = datasets.Dataset.from_dict({"audio": sounds, "label": [i % 3 for i in range(12)]})
    inputs = [dict(extractor(sound, sampling_rate=16000, return_tensors="pt")) for sound in sounds]
    fp = resque.fingerprint(model, table, batch_size=5, processor=extractor, progress=False)
    check(fp, *head_inputs(model, inputs), table["label"])
    hidden = resque.fingerprint(
        model, table, [-1], batch_size=5, processor=extractor, progress=False
    )
    alone = resque.fingerprint(
        model, table, [-1], batch_size=1, processor=extractor, progress=False
    )
    assert totals(hidden)[2] == pytest.approx(
        totals(alone)[2], rel=1e-3, abs=1e-3
    )  # padding is masked


@pytest.mark.parametrize("layers", [None, "all"])
def test_batches_do_not_matter(layers, tokenizer):
    model, table = (
        build("BertForSequenceClassification", **TEXT_MODELS["BertForSequenceClassification"]),
        text_table(),
    )
    one, other = (
        resque.fingerprint(model, table, layers, batch_size=n, processor=tokenizer, progress=False)
        for n in (1, 16)
    )
    for layer in one.header.layers:
        assert (totals(one, layer)[1] == totals(other, layer)[1]).all()
        assert totals(one, layer)[2] == pytest.approx(totals(other, layer)[2], rel=1e-4, abs=1e-4)
        rows = [one.sums[layer].labels.index(k) for k in other.sums[layer].labels]
        assert (one.sums[layer].counts[rows] == other.sums[layer].counts).all()  # the same groups


def test_layers_are_chosen_by_name_index_and_all(tokenizer):
    model = build("BertForSequenceClassification", **TEXT_MODELS["BertForSequenceClassification"])
    assert hidden_layers(model) == ["bert.encoder.layer.0", "bert.encoder.layer.1"]
    table, options = text_table(), {"processor": tokenizer, "progress": False}
    names = resque.fingerprint(model, table, "all", **options).header.layers
    assert names == ("classifier.input", "bert.encoder.layer.0", "bert.encoder.layer.1")
    fp = resque.fingerprint(model, table, [-1, "bert.embeddings", "classifier.input"], **options)
    assert fp.header.layers == ("bert.encoder.layer.1", "bert.embeddings", "classifier.input")
    for wrong, words in (("bert.encoder.layer.7", "bert.encoder.layer.1"), (-3, "2 hidden layers")):
        with pytest.raises(ValueError, match=words):
            resque.fingerprint(model, table, [wrong], **options)
    with pytest.raises(ValueError, match="expected one of"):
        resque.fingerprint(model, table, pooling="max", **options)


def test_pooling_against_its_definition():
    x = torch.randn(3, 5, 4)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    mean = torch.stack([x[0].mean(0), x[1, :2].mean(0), x[2, 2:].mean(0)])
    assert torch.allclose(pool(x, mask, "mean"), mean, atol=1e-6)
    assert torch.equal(pool(x, mask, "last"), torch.stack([x[0, 4], x[1, 1], x[2, 4]]))
    assert torch.equal(pool(x, mask, "cls"), x[:, 0])
    assert torch.allclose(pool(x, mask, "official"), x.mean(2), atol=1e-6)
    assert torch.equal(pool(x, mask, "flatten"), x.flatten(1))
    images = torch.randn(2, 3, 4, 5)
    for how in ("mean", "cls", "last", "official", "channels"):
        assert torch.allclose(pool(images, None, how), images.mean((2, 3)), atol=1e-6)
    half = torch.full((1, 3, 64, 64), 100.0, dtype=torch.float16)
    assert pool(half, None, "mean").tolist() == [[100.0] * 3]  # sums in float32: no overflow


def test_a_model_without_a_head_gives_its_last_hidden_state(tokenizer):
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=30)).eval()
    table = text_table()
    fp = resque.fingerprint(model, table, batch_size=7, processor=tokenizer, progress=False)
    assert fp.header.layers == ("last_hidden_state",)
    assert fp.header.pooling == ("mean",)
    assert fp.header.counts.accuracy is None
    with torch.inference_mode():
        vectors = [
            model(**tokenizer(t, truncation=True, return_tensors="pt")).last_hidden_state[0].mean(0)
            for t in table["text"]
        ]
    expected = torch.stack([v for v, y in zip(vectors, table["label"], strict=True) if y == 1]).sum(
        0
    )
    assert totals(fp)[2][1] == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-4)
    with pytest.raises(ValueError, match="no classifier head"):
        resque.fingerprint(model, table, labels="predicted", processor=tokenizer, progress=False)


def test_a_plain_module():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(3600, 3)
    )
    table = image_table()
    fp = resque.fingerprint(model, table, ["0", "3.input"], progress=False)
    x = torch.stack([torch.tensor(np.asarray(i)).permute(2, 0, 1) / 255 for i in table["image"]])
    with torch.inference_mode():
        maps = model[0](x)
    y = np.array(table["label"])
    expected = np.stack([maps[y == k].mean((2, 3)).sum(0).numpy() for k in range(3)])
    assert totals(fp, "0")[2] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert totals(fp, "3.input")[2].shape == (3, 3600)


def test_ready_tensors_pass_as_they_are(tokenizer):
    model, table = (
        build("BertForSequenceClassification", **TEXT_MODELS["BertForSequenceClassification"]),
        text_table(),
    )
    encoded = table.map(
        lambda row: tokenizer(row["text"], truncation=True, padding="max_length"),
        remove_columns="text",
    )
    ready = resque.fingerprint(model, encoded, progress=False)
    texts = resque.fingerprint(model, table, processor=tokenizer, progress=False)
    assert totals(ready)[2] == pytest.approx(totals(texts)[2], rel=1e-4, abs=1e-4)


def test_predicted_labels_are_the_models(tokenizer):
    model, table = (
        build("BertForSequenceClassification", **TEXT_MODELS["BertForSequenceClassification"]),
        text_table(),
    )
    fp = resque.fingerprint(
        model, table.remove_columns("label"), processor=tokenizer, progress=False
    )
    assert fp.header.labels == "predicted"
    with torch.inference_mode():
        predicted = [
            int(model(**tokenizer(t, truncation=True, return_tensors="pt")).logits.argmax())
            for t in table["text"]
        ]
    assert fp.class_counts == {k: predicted.count(k) for k in set(predicted)}


def test_left_out_rows_are_counted(tokenizer):
    model = build("BertForSequenceClassification", **TEXT_MODELS["BertForSequenceClassification"])
    names = datasets.ClassLabel(names=["a", "b", "c"])
    table = datasets.Dataset.from_dict(
        {"text": ["cat", "", "dogs", "mat"], "label": [0, 1, -1, 2]}
    ).cast_column("label", names)
    counts = resque.fingerprint(model, table, processor=tokenizer, progress=False).header.counts
    assert (counts.samples, counts.empty, counts.unlabelled) == (2, 1, 1)
    empty = table.select([1, 2])
    with pytest.raises(ValueError, match="1 without a label, 0 that cannot be read, 1 empty"):
        resque.fingerprint(model, empty, processor=tokenizer, progress=False)


def test_bad_rows_stop_or_are_counted():
    model = build("ResNetForImageClassification", **IMAGE_MODELS["ResNetForImageClassification"])
    rows = [dict(row) for row in image_table(6).cast_column("image", datasets.Image(decode=False))]
    rows[4]["image"] = {"bytes": b"torn", "path": None}
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    with pytest.raises(ValueError, match=r"row 4 .*--skip-bad-rows"):
        resque.fingerprint(model, table, progress=False)
    counts = resque.fingerprint(model, table, skip_bad_rows=True, progress=False).header.counts
    assert (counts.samples, counts.bad) == (5, 1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_data_loader_workers_change_nothing():
    model, table = build("ViTForImageClassification", **VISION), image_table(25)
    options = {"corruption": "gaussian:0.2", "batch_size": 4, "progress": False}
    alone = resque.fingerprint(model, table, workers=0, **options)
    both = resque.fingerprint(model, table, workers=2, **options)
    assert (totals(alone)[1] == totals(both)[1]).all()
    assert totals(alone)[2] == pytest.approx(totals(both)[2], rel=1e-5, abs=1e-5)


def test_nan_from_the_model_is_an_error():
    model = build("ViTForImageClassification", **VISION)
    with torch.no_grad():
        model.vit.layernorm.weight[0] = float("nan")
    with pytest.raises(ValueError, match=r"24 row\(s\)|7 row\(s\).*float32"):
        resque.fingerprint(model, image_table(), batch_size=7, progress=False)


def test_memory_is_named_and_auto_takes_less(monkeypatch):
    model = build("ViTForImageClassification", **VISION)
    forward, sizes = model.forward, []

    def scarce(pixel_values, **rest):
        sizes.append(len(pixel_values))
        if len(pixel_values) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(pixel_values=pixel_values, **rest)

    monkeypatch.setattr(model, "forward", scarce)
    with pytest.raises(ValueError, match="smaller --batch-size"):
        resque.fingerprint(model, image_table(), batch_size=12, progress=False)
    fp = resque.fingerprint(model, image_table(), batch_size="auto", progress=False)
    assert fp.header.counts.samples == 24
    assert max(sizes[-5:]) <= 6


def test_mixed_shapes_without_a_processor():
    table = datasets.concatenate_datasets([image_table(2), image_table(2, size=16)])
    with pytest.raises(ValueError, match="processor="):
        resque.fingerprint(build("ViTForImageClassification", **VISION), table, progress=False)


def test_a_loaded_module_is_given_back_as_it_was():
    model = build("ResNetForImageClassification", **IMAGE_MODELS["ResNetForImageClassification"])
    model = model.to(torch.bfloat16).train()
    model.resnet.embedder.eval()
    state = {name: x.clone() for name, x in model.state_dict().items()}
    parameters, modes = list(model.parameters()), [x.training for x in model.modules()]
    data, use = image_table(), {"progress": False}
    resque.fingerprint(model, data, **use)
    resque.estimate(model, data, corruption="blur:1", **use)
    resque.estimate(model, task=data, **use)
    with pytest.raises(ValueError, match="no column 'other'"):
        resque.fingerprint(model, data, label_column="other", **use)
    ranking = resque.rank([model], data, cache=False, **use)
    assert ranking.candidates[0].error is None
    assert [x.training for x in model.modules()] == modes
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    for name, x in model.state_dict().items():
        torch.testing.assert_close(x, state[name], rtol=0, atol=0)


def test_wrapped_and_compiled_modules_are_read_within():
    model = build("ResNetForImageClassification", **IMAGE_MODELS["ResNetForImageClassification"])
    plain = resque.fingerprint(model, image_table(), progress=False)
    for other in (torch.nn.DataParallel(model), torch.compile(model, backend="eager")):
        found = resque.fingerprint(other, image_table(), progress=False)
        assert found.header.layers == plain.header.layers
        assert found.resque_dist(plain).value == 0


def test_adapters_leave_the_layer_the_same():
    peft = pytest.importorskip("peft")
    model = build("ViTForImageClassification", **VISION)
    plain = resque.fingerprint(model, image_table(), progress=False)
    config = peft.LoraConfig(r=3, target_modules=["query", "classifier"])
    adapted = resque.fingerprint(peft.get_peft_model(model, config), image_table(), progress=False)
    assert adapted.header.layers == ("base_model.model.classifier.base_layer.input",)
    a, b = (fp.sums[fp.header.layers[0]].sums for fp in (plain, adapted))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_logits_are_no_hidden_state():
    class Own(transformers.ViTForImageClassification):
        base_model_prefix = "nothing"

    model = Own(transformers.ViTConfig(num_labels=3, **VISION))
    with pytest.raises(ValueError, match="Own gives logits, and no hidden state"):
        resque.fingerprint(model, image_table(), progress=False)
    found = resque.fingerprint(model, image_table(), "classifier.input", progress=False)
    assert found.sums["classifier.input"].sums.shape[2] == 16


def test_no_layers_are_told():
    model = build("ViTForImageClassification", **VISION)
    with pytest.raises(ValueError, match="layers is empty"):
        resque.fingerprint(model, image_table(2), layers=[], progress=False)


def test_labels_meet_the_models_classes():
    by_name = map_classes(["T-shirt/top", "bag"], False, ["Bag", "T - shirt / top"], 2)
    assert [by_name.how, by_name.model_id(0), by_name.key(0)] == ["name", 1, "T - shirt / top"]
    assert map_classes(None, True, ["cat", "dog"], 2).model_id("Dog") == 1
    by_id = map_classes(None, False, ["cat", "dog"], 2)
    assert [by_id.how, by_id.key(1), by_id.model_id(7)] == ["id", "dog", None]
    assert map_classes(["x", "y"], False, None, 2).key(1) == "y"
    other = map_classes(["abbr", "desc", "loc"], False, ["World", "Sports"], 2)
    assert [other.how, other.model_id(0), other.key(0)] == ["none", None, "abbr"]
    headless = map_classes(None, False, ["a", "b"], None)
    assert headless.key(1) == "b"
    for names in (["-1", "0", "1"], ["C", "C++", "C#"], ["a", "A", "b"]):
        alike = map_classes(names, False, names, 3)
        assert [alike.key(i) for i in range(3)] == names
        assert [map_classes(None, True, names, 3).model_id(x) for x in names] == [0, 1, 2]
    assert real_names({0: "LABEL_0", 1: "LABEL_1"}) is None
    assert real_names({1: "b", 0: "a"}) == ("a", "b")
