"""`rank`: real models in order, broken ones told, the cache, and what it costs."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import transformers

from ledgers import make_entries
from resque import cli, fingerprint, forecast_sources, rank, rank_cache, rank_costs, ranking
from resque.ledger import write_ledger
from resque.mean_rank import with_mean_ranks
from resque.rank_models import listed_models, parse_search
from resque.rank_pass import observe
from resque.rank_results import LayerScores, Observation, RankedModel, Ranking, sorted_by
from resque.rank_scores import SCORES, Estimate
from resque.ranking import Costs
from resque.transfer_scores import h_score, knn_accuracy, logme
from test_representations import build, text_table, tokenizer  # noqa: F401

OPTIONS = {"device": "cpu", "progress": False, "label_column": "label"}


@pytest.fixture(scope="module")
def random_model(digits, tmp_path_factory):
    """The digits' model with weights that nobody has trained."""
    folder = tmp_path_factory.mktemp("random") / "random"
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(digits[0])
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(digits[0])
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(rank_cache, "cache_folder", lambda: tmp_path / "cache")


def test_a_trained_model_comes_before_a_random_one(digits, random_model):
    rows = f"{digits[1]}#test[:300]"
    found = rank([random_model, "/nope", digits[0]], rows, **OPTIONS)
    assert [x.model for x in found.candidates] == [digits[0], random_model, "/nope"]
    first, second, broken = found.candidates
    assert "no model folder" in broken.error
    assert broken.observation is None
    assert set(first.scores) == set(SCORES)
    for name, kind in SCORES.items():
        better, worse = first.scores[name].value, second.scores[name].value
        assert better > worse if kind.greater_is_better else better < worse
        low, high = first.scores[name].interval
        assert low <= better <= high
    assert found.ranks == (1, 2)
    assert found.recommended is first
    assert first.observation.accuracy > 0.9
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["candidates"][0]["knn"] == first.scores["knn"].value
    assert document["candidates"][0]["error"] is None
    assert document["candidates"][2]["logme"] is None
    said = "mean_rank 1 (mean rank by hscore, knn and resque_task), random has 2."
    assert found.sentences()[0].startswith(f"Take model: it has the best {said}")


def test_scores_are_those_of_the_layers_arrays(digits):
    from resque.layers import choose_layers
    from resque.measurement import load_model, match_classes, open_for
    from resque.options import make_options

    use = make_options(OPTIONS | {"labels": "data"})
    model = load_model(digits[0], use)
    data = open_for(model, f"{digits[1]}#test[:200]", use)
    layers = choose_layers(model, "all")
    seen = observe(model, data, layers, match_classes(data, model, None))
    found = rank(digits[0], f"{digits[1]}#test[:200]", layers="all", **OPTIONS)
    known = found.candidates[0].observation.layers
    assert [x.name for x in known] == [x.name for x in layers]
    for layer in known:
        x, y = seen.kept.vectors[layer.name], seen.kept.labels
        wanted = {"logme": logme(x, y), "hscore": h_score(x, y), "knn": knn_accuracy(x, y)}
        for name, value in wanted.items():
            assert layer.scores[name].value == pytest.approx(value, rel=1e-6)


def test_which_layer_counts(digits):
    rows = f"{digits[1]}#test[:120]"
    every, best, mean, last = (
        rank(digits[0], rows, layers=layers, scores=["knn"], **OPTIONS).candidates[0]
        for layers in ("all", "auto", "mean", -1)
    )
    assert every.layer is every.observation.layers[0]
    values = [x.scores["knn"].value for x in every.observation.layers]
    assert len(values) > 2
    assert best.scores["knn"].value == max(values)
    assert last.layer.name == every.observation.layers[-1].name
    assert "have different dimensions" in mean.error


def test_a_language_models_hidden_state_is_read_not_its_words(tokenizer, tmp_path):  # noqa: F811
    rows = text_table(60)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32, "vocab_size": 30}  # fmt: skip
    folders = []
    for kind in ("BertForMaskedLM", "BertModel"):
        build(kind, **sizes).save_pretrained(tmp_path / kind)
        tokenizer.save_pretrained(tmp_path / kind)
        folders.append(str(tmp_path / kind))
    found = rank(folders, rows, **OPTIONS)
    assert [x.error for x in found.candidates] == [None, None]
    assert {x.layer.dimension for x in found.candidates} == {16}
    assert {x.layer.name for x in found.candidates} == {"last_hidden_state"}
    mean = rank(folders[:1], rows, layers="mean", **OPTIONS).candidates[0]
    assert mean.layer.name == "mean"
    assert mean.layer.why == "mean of 2 hidden layers"
    assert set(mean.scores) == {"logme", "hscore", "knn", "resque_task", "mean_rank"}


def test_an_encoder_of_two_parts_is_read_without_its_decoder(tokenizer, tmp_path):  # noqa: F811
    config = transformers.T5Config(
        vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = rank(str(tmp_path), text_table(60), **OPTIONS).candidates[0]
    assert found.error is None
    assert found.layer.dimension == 16


def test_an_interrupted_ranking_goes_on(digits, random_model, monkeypatch):
    rows, real, passes = f"{digits[1]}#test[:64]", ranking._Ranker._pass, []

    def interrupted(self, model, data):
        passes.append(model.name)
        if model.name == digits[0]:
            raise KeyboardInterrupt
        return real(self, model, data)

    monkeypatch.setattr(ranking._Ranker, "_pass", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rank([random_model, digits[0]], rows, **OPTIONS)
    monkeypatch.setattr(ranking._Ranker, "_pass", lambda *x: passes.append(x[1].name) or real(*x))
    passes.clear()
    found = rank([random_model, digits[0]], rows, **OPTIONS)
    assert passes == [digits[0]]
    assert {x.model: x.cached for x in found.candidates} == {random_model: True, digits[0]: False}
    again = rank([random_model, digits[0]], rows, sort_by="knn", **OPTIONS)
    assert len(passes) == 1
    assert again.candidates[0].scores == found.candidates[0].scores
    for other in ({"max_samples": 30}, {"layers": -1}, {"scores": ["knn"]}, {"cache": False}):
        count = len(passes)
        rank(digits[0], rows, **OPTIONS | other)
        assert len(passes) == count + 1, other


def test_the_cache_is_shown_cleared_and_kept_small(capsys):
    for i in range(5):
        rank_cache.write_entry(f"{i}", {"text": "x" * 1000}, limit=3_500)
    assert rank_cache.contents().entries == 3
    assert cli.run(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 3
    assert cli.run(["cache", "--clear"]) == 0
    assert "cleared: 3 results" in capsys.readouterr().out
    assert rank_cache.contents().entries == 0
    rank_cache.cache_folder().joinpath("torn.json").write_text("{")
    assert rank_cache.read_entry("torn") is None


def test_a_cache_that_cannot_be_written_costs_nothing(digits, monkeypatch):
    monkeypatch.setattr(rank_cache, "cache_folder", lambda: Path("/proc/nowhere"))
    found = rank(digits[0], f"{digits[1]}#test[:40]", scores="knn", **OPTIONS)
    assert found.candidates[0].error is None


def test_a_published_fingerprint_gives_the_shift(digits, tmp_path):
    import shutil

    model = tmp_path / "model"
    shutil.copytree(digits[0], model)
    fingerprint(str(model), f"{digits[1]}#train", **OPTIONS).save_pretrained(model)
    rows = f"{digits[1]}#test[:200]"
    found = rank(str(model), rows, scores="hscore", **OPTIONS).candidates[0]
    other = fingerprint(str(model), f"{digits[1]}#train", **OPTIONS).resque_dist(
        fingerprint(str(model), rows, **OPTIONS)
    )
    assert found.observation.resque_dist == pytest.approx(other.value, rel=1e-9)
    assert (
        rank(digits[0], rows, scores="hscore", **OPTIONS).candidates[0].observation.resque_dist
        is None
    )


def test_a_forecast_for_each(digits, random_model):
    costs = Costs(0.9, rates=(0.01, 20.0), grid_intensity=100.0, price_per_hour=3.6)
    rows = f"{digits[1]}#test[:200]"
    found = rank([digits[0], random_model], rows, costs=costs, **OPTIONS)
    assert found.cost_name == "forecast energy of retraining"
    assert found.to_dict()["cost_unit"] == "kWh"
    first, second = found.candidates
    assert first.cost < second.cost
    document = found.to_dict()["candidates"][1]["forecast"]
    for name in ("epochs", "energy_kwh", "co2eq_kg", "seconds", "price"):
        low, high = document[name]["interval"]
        assert 0 <= low <= document[name]["value"] <= high
    assert document["ledgers"] == ["the package's own, 409 runs"]
    with_arrays = rank(digits[0], datasets.load_dataset(digits[1], split="test[:40]"),
                       costs=costs, **OPTIONS)  # fmt: skip
    assert_no_forecast(with_arrays.candidates[0], "give ids or folders")


def assert_no_forecast(candidate, words):
    """A candidate has its scores, and a note why it has no forecast."""
    assert candidate.error is None
    assert candidate.scores
    assert candidate.observation.forecast is None
    assert candidate.observation.notes[-1].startswith("no forecast: ")
    assert words in candidate.observation.notes[-1]


TASK = OPTIONS | {"label_column": "ink"}
TO_80 = Costs(0.8, rates=(0.01, 20.0), grid_intensity=100.0)


def test_new_tasks_are_forecast_from_new_tasks_learnt_once(digits, random_model, monkeypatch):
    learnt = []
    real = forecast_sources.make_task_forecaster
    monkeypatch.setattr(
        forecast_sources, "make_task_forecaster", lambda x: learnt.append(x) or real(x)
    )
    rows = f"{digits[1]}#test[:200]"
    found = rank([digits[0], random_model], rows, costs=TO_80, **TASK)
    assert len(learnt) == 1
    for x in found.candidates:
        forecast = x.observation.forecast
        assert forecast["kind"] == "new tasks"
        assert forecast["ledgers"] == ["the package's own of new tasks, 66 runs"]
        assert "classes is not known" not in str(forecast["notes"])
        assert any(note.startswith("n_parameters is 21,") for note in forecast["outside"])
        low, high = forecast["epochs"]["interval"]
        assert low <= forecast["epochs"]["value"] <= high
    said = " ".join(str(found).split())
    assert "forecast learnt from the package's own of new tasks, 66 runs" in said
    assert rank([digits[0]], rows, costs=TO_80, **TASK).candidates[0].cached


def test_what_cannot_be_forecast_keeps_its_scores(digits, tmp_path):
    rows = f"{digits[1]}#test[:100]"
    found = rank(digits[0], rows, costs=TO_80, scores="hscore", **TASK)
    assert_no_forecast(found.candidates[0], "made from the score knn; compute it, too")
    assert "no forecast: for a new task" in " ".join(str(found).split())
    assert found.candidates[0].cost == pytest.approx(1000 * found.candidates[0].observation.seconds
                                                     / 100)  # fmt: skip
    found = rank(digits[0], rows, costs=replace(TO_80, strategy="head"), **TASK)
    assert_no_forecast(found.candidates[0], "no run of the ledger has the strategy 'head'")
    write_ledger(make_entries(), tmp_path / "ledger.jsonl")
    found = rank(digits[0], rows, costs=replace(TO_80, ledgers=(str(tmp_path),)), **TASK)
    assert_no_forecast(found.candidates[0], "0 runs of 0 models on new tasks")
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_forecast_that_fails_once_is_tried_again(digits, monkeypatch):
    rows = f"{digits[1]}#test[:100]"

    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(rank_costs.CostForecaster, "forecast", full)
        found = rank(digits[0], rows, costs=TO_80, **TASK).candidates[0]
        assert_no_forecast(found, "out of memory")
    again = rank(digits[0], rows, costs=TO_80, **TASK).candidates[0]
    assert again.cached
    assert again.observation.forecast is not None
    assert not any(note.startswith("no forecast") for note in again.observation.notes)


def estimate(value, spread=0.0):
    noise = np.array([-3, -2, -1, 0, 0, 1, 2, 3]) * spread
    return Estimate(value, (value - 1, value + 1), tuple(value + noise))


def candidate(name, seconds, **scores):
    layer = LayerScores("last", "mean", "", 4, scores)
    seen = Observation(None, "", (layer,), 1000, 1000, 10, seconds, 1.0, "cpu", "float32", None,
                       None, None, ())  # fmt: skip
    return RankedModel(name, None, seen, layer)


def ranking_of(*candidates, by="knn"):
    return Ranking(tuple(sorted_by(candidates, by)), by, "data")


def test_ties_and_the_cheapest_of_them_and_scores_that_disagree_are_told():
    a = candidate("a", 9.0, knn=estimate(0.80, 0.01), logme=estimate(1.0, 0.01))
    b = candidate("b", 2.0, knn=estimate(0.79, -0.01), logme=estimate(2.0, 0.01))
    c = candidate("c", 5.0, knn=estimate(0.20, 0.01), logme=estimate(9.0, 0.01))
    found = ranking_of(c, b, a)
    assert [x.model for x in found.candidates] == ["a", "b", "c"]
    assert found.ranks == (1, 1, 3)
    assert [x.model for x in found.front] == ["a", "b"]
    assert found.recommended is a
    words = " ".join(found.sentences())
    assert "Take a: it has the best knn 0.8, within the error of b. b costs least of them" in words
    assert "(2 s per 1,000 samples against 9 s per 1,000 samples)" in words
    assert "Scores disagree: logme puts c first" in words
    rows = {x["model"]: x for x in found.to_dict()["candidates"]}
    assert (rows["a"]["ties"], rows["c"]["ties"]) == (True, False)
    assert (rows["b"]["pareto"], rows["c"]["pareto"]) == (True, False)
    assert "1= ◆" in str(found)


def test_of_equal_scores_the_cheapest_is_recommended():
    a, b, c = (
        candidate(x, s, knn=estimate(v)) for x, s, v in [("a", 3, 1), ("b", 2, 1), ("c", 1, 0)]
    )
    found = ranking_of(a, b, c)
    assert found.recommended is b
    assert found.sentences()[0] == "Take b: it has the best knn 1, within the error of a."


def scored(name, hscore, knn, resque_task):
    scores = {"hscore": hscore, "knn": knn, "resque_task": resque_task, "logme": estimate(0.0)}
    return candidate(name, 1.0, **scores)


def test_the_mean_rank_is_of_the_models_that_have_all_three_scores():
    a = scored("a", estimate(9), estimate(0.5), estimate(0.1))
    b = scored("b", estimate(3), estimate(0.7), estimate(0.2))
    c = scored("c", estimate(1), estimate(0.7), estimate(0.3))
    lacking, broken = candidate("d", 1.0, knn=estimate(1.0)), RankedModel("e", "broken")
    found = with_mean_ranks([c, lacking, a, broken, b])
    assert [x.model for x in found] == ["c", "d", "a", "e", "b"]
    assert found[1] is lacking
    assert found[3] is broken
    told = {x.model: x.scores["mean_rank"] for x in found if "mean_rank" in x.scores}
    means = {"a": (1 + 3 + 1) / 3, "b": (2 + 1.5 + 2) / 3, "c": (3 + 1.5 + 3) / 3}
    assert {name: x.value for name, x in told.items()} == pytest.approx(means)
    assert told["a"].interval == (told["a"].value,) * 2  # the same without any part
    found = ranking_of(*found, by="mean_rank")
    assert found.ranks == (1, 2, 3)
    assert "Scores disagree: knn puts b first" in " ".join(found.sentences())


def test_the_error_of_a_mean_rank_is_that_of_the_ranks_without_a_part():
    near = [estimate(1.00, 0.01), estimate(1.01, -0.01)]  # the first is ahead in two of eight parts
    a, b = (scored(x, y, estimate(0.5), estimate(0.5)) for x, y in zip("ab", near, strict=True))
    first, second = ranking_of(*with_mean_ranks([a, b]), by="mean_rank").done
    ahead = np.greater(near[0].replicates, near[1].replicates)
    assert 0 < ahead.sum() < 8
    plain = np.where(ahead, 1 + 2 / 3, 1 + 1 / 3)  # of b: two scores are equal
    assert first.model == "b"
    assert first.scores["mean_rank"].replicates == pytest.approx(tuple(plain))
    assert ranking_of(first, second, by="mean_rank").ranks == (1, 1)
    few = [replace(x, replicates=()) for x in near]
    pair = [scored(x, y, estimate(0.5), estimate(0.5)) for x, y in zip("ab", few, strict=True)]
    assert with_mean_ranks(pair)[0].scores["mean_rank"].interval is None


def test_what_is_asked_for_is_sorted_by(digits, random_model):
    rows, both = f"{digits[1]}#test[:40]", [random_model, digits[0]]
    found = rank(both, rows, scores=["knn", "mean_rank"], **OPTIONS)
    assert found.sort_by == "mean_rank"
    assert set(found.candidates[0].scores) == {"knn", "hscore", "resque_task", "mean_rank"}
    assert rank(both, rows, scores=["knn", "hscore"], **OPTIONS).sort_by == "knn"
    assert rank(both, rows, sort_by="logme", **OPTIONS).sort_by == "logme"
    alone = rank(digits[0], rows, **OPTIONS)
    assert alone.sort_by == "hscore"
    assert rank(digits[0], rows, sort_by="mean_rank", **OPTIONS).sort_by == "mean_rank"


def test_errors_common_to_both_cancel():
    """The same easy and hard rows for every model: a gap that each part shows is no tie."""
    a, b = (candidate(x, 1.0, knn=estimate(v, 0.1)) for x, v in (("a", 0.80), ("b", 0.79)))
    assert ranking_of(a, b).ranks == (1, 2)


def test_a_smaller_resque_task_comes_first_and_what_has_no_score_last():
    a, b = (candidate(x, 1.0, resque_task=estimate(v)) for x, v in (("a", 0.8), ("b", 0.1)))
    found = ranking_of(RankedModel("x", "broken"), candidate("c", 1.0), a, b, by="resque_task")
    assert [x.model for x in found.candidates] == ["b", "a", "c", "x"]
    assert found.ranks == (1, 2)
    assert ranking_of(RankedModel("x", "broken")).recommended is None
    assert "none is recommended" in str(ranking_of(RankedModel("x", "broken")))
    assert "is the only candidate" in " ".join(ranking_of(a, by="resque_task").sentences())


def test_costs_of_two_kinds_make_no_front():
    a, b = (candidate(x, 1.0, knn=estimate(v)) for x, v in (("a", 0.8), ("b", 0.8)))
    costs = {"energy_kwh": {"value": 0.1, "interval": [0, 1]}, "sentence": "cheap"}
    known = replace(b.observation, forecast=costs)
    found = ranking_of(a, replace(b, observation=known))
    assert found.front == ()
    assert found.sentences()[0] == "Take a: it has the best knn 0.8, within the error of b."


def test_the_command(digits, random_model, capsys, tmp_path):
    listed = tmp_path / "models.txt"
    listed.write_text(f"{random_model}  # random\n\n# mine\n", encoding="utf-8-sig")
    command = ["rank", "--dataset", f"{digits[1]}#test[:100]", "--label-column", "label",
               "--models", digits[0], str(listed), "/nope", "--device", "cpu",
               "--sort-by", "knn", "--score", "hscore"]  # fmt: skip
    out = tmp_path / "out"
    assert cli.run([*command, "--output-dir", str(out), "--figure", str(tmp_path / "f.svg")]) == 0
    said, notes = capsys.readouterr()
    assert "◆ on the Pareto front of knn" in said
    assert "candidate 3 of 3: /nope" in notes
    assert (out / "ranking.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "f.svg").read_bytes()
    assert cli.run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [x["cached"] for x in document["candidates"][:2]] == [True, True]
    assert [x["model"] for x in document["candidates"]] == [digits[0], random_model, "/nope"]
    kept = json.loads((out / "ranking.json").read_text())
    assert kept["recommended"] == document["recommended"] == digits[0]


WRONG = [
    (["--models", "MODEL", "--sort-by", "hscor"], 2, "near it: hscore"),
    (["--models", "MODEL", "--score", "x"], 2, "no score 'x'"),
    (["--models", "MODEL", "--init", "x"], 2, "k-means"),
    ([], 2, "no model to rank"),
    (["--models", "none.txt"], 2, "cannot read the list"),
    (["--search", "task"], 2, "KEY=VALUE"),
    (["--search", "tsk=x"], 2, "one of task"),
    (["--search", "limit=0"], 2, "expected 1 to"),
    (["--models", "MODEL", "--ledger", "L"], 2, "--target-accuracy"),
    (["--models", "MODEL", "--watts", "3"], 2, "--no-probe"),
    (["--models", "MODEL", "--target-accuracy", "80"], 2, "a share above 0, at most 1"),
    (["--models", "MODEL", "--target-accuracy", "0.8", "--strategy", "x"], 2, "one of full, head"),
    (["--models", "MODEL", "--target-accuracy", "0.8", "--ledger", "/no"], 1, "no ledger /no"),
    (["--models", "/nope"], 1, "no candidate could be ranked"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG)
def test_wrong_commands_say_what_to_do(digits, capsys, arguments, code, words):
    given = [x.replace("MODEL", digits[0]) for x in arguments]
    assert cli.run(["rank", "--dataset", f"{digits[1]}#test[:20]", *given]) == code
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err


def test_help_has_examples(capsys):
    assert cli.run(["rank", "--help"]) == 0
    said = capsys.readouterr().out
    assert "resque rank --dataset" in said
    assert "--search" in said


def test_data_that_is_not_there_is_no_candidates_error(digits):
    with pytest.raises(ValueError, match="no folder"):
        rank(digits[0], "/nope", **OPTIONS)
    with pytest.raises(TypeError, match="unknown option"):
        rank(digits[0], digits[1], max_sample=3)


def test_lists_and_searches():
    assert listed_models(["a", "b", "a"]) == ["a", "b"]
    assert listed_models("org/a@v1") == ["org/a@v1"]
    assert parse_search("task=x , sort = likes") == {"task": "x", "sort": "likes", "limit": 20}


def test_pairs_of_texts_and_sounds(tokenizer):  # noqa: F811
    rows = text_table(60)
    pairs = rows.rename_column("text", "premise").add_column("hypothesis", rows["text"][::-1])
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 32}  # fmt: skip
    bert = build("BertForSequenceClassification", vocab_size=30, **sizes)
    rng = np.random.default_rng(0)
    sounds = [rng.normal(size=n).astype(np.float32) for n in rng.integers(400, 900, 40)]
    audio = datasets.Dataset.from_dict({"audio": sounds, "label": [i % 2 for i in range(40)]})
    wav2vec = build("Wav2Vec2ForSequenceClassification", vocab_size=30, conv_dim=(8, 8),
                    conv_kernel=(10, 4), conv_stride=(5, 4), num_feat_extract_layers=2,
                    num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
                    classifier_proj_size=16, **sizes)  # fmt: skip
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    for module, table, processor in ((bert, pairs, tokenizer), (wav2vec, audio, extractor)):
        found = rank([module], table, processor=processor, input_columns=None, **OPTIONS)
        seen = found.candidates[0]
        assert seen.error is None
        assert set(seen.scores) == set(SCORES)
        assert seen.observation.samples == len(table)


def test_a_candidate_that_memory_does_not_hold_is_told(digits, random_model, monkeypatch):
    real = ranking._Ranker._pass

    def full(self, model, data):
        if model.name == random_model:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return real(self, model, data)

    monkeypatch.setattr(ranking._Ranker, "_pass", full)
    found = rank([random_model, digits[0]], f"{digits[1]}#test[:40]", scores="knn", **OPTIONS)
    assert found.candidates[0].model == digits[0]
    assert "out of memory" in found.candidates[1].error


def test_no_weights_of_a_candidate_are_left_when_the_next_one_loads(
    digits, random_model, monkeypatch
):
    load, forward, seen, left = ranking.load_model, ranking._Ranker._pass, [], []

    def watched(*args, **options):
        left.append([x().shape for x in seen if x() is not None])
        loaded = load(*args, **options)
        seen.extend(weakref.ref(x) for x in loaded.module.parameters())
        return loaded

    def full(self, model, data):
        if model.name == random_model:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return forward(self, model, data)

    monkeypatch.setattr(ranking, "load_model", watched)
    monkeypatch.setattr(ranking._Ranker, "_pass", full)
    models = [digits[0], random_model, f"{digits[0]}/", "/nowhere", f"{random_model}/"]
    found = rank(models, f"{digits[1]}#test[:40]", scores="knn", cache=False, **OPTIONS)
    assert [bool(x.error) for x in found.candidates].count(True) == 3
    assert left == [[]] * 5
    assert seen


@pytest.mark.slow
def test_a_probe_prices_each_candidate(digits, random_model):
    found = rank([digits[0], random_model], f"{digits[1]}#train[:200]", costs=Costs(0.9),
                 scores=["logme", "resque_task"], **OPTIONS)  # fmt: skip
    for x in found.candidates:
        assert x.error is None
        assert "a probe of" in x.observation.forecast["rates"]
        assert x.observation.forecast["seconds"]["interval"][1] > 0
