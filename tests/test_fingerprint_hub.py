"""Fingerprints in repositories: published, found again, refused, and what they give away."""

from __future__ import annotations

import io
import json
import logging
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hub_faults import Fault, Faults
from made_fingerprints import made
from resque import Fingerprint, cli
from resque.privacy import for_publication, gaussian_sigma
from resque.sums import ClassSums, clip

REPO = "models/org/m"
NAMES = ("ant", "bee", "cat")


def fingerprint(**changes):
    return made(list(range(90)), class_names=NAMES, **changes)


def totals(fp):
    sums = fp.sums["a"]
    return {label: x.sum(axis=0) for label, x in zip(sums.labels, sums.sums, strict=True)}


def test_what_is_pushed_is_found(hub):
    fp = fingerprint()
    address = fp.push_to_hub("org/m")
    assert address == f"{hub.address}/org/m/commit/{hub.sha(REPO)}"
    assert list(hub.files(REPO)) == ["resque.safetensors"]
    found = Fingerprint.from_pretrained("org/m")
    assert found.header.layers == fp.header.layers
    for label, total in totals(fp).items():
        assert totals(found)[label] == pytest.approx(total)
    assert b"hf_secret" not in hub.files(REPO)["resque.safetensors"]
    other = made(list(range(90)), seed=1, class_names=NAMES)
    assert found.resque_dist(other).value == pytest.approx(fp.resque_dist(other).value, abs=1e-12)


def test_several_in_one_repository(hub):
    fingerprint().push_to_hub("org/m", name="digits")
    assert Fingerprint.from_pretrained("org/m").header.layers == ("a", "b")  # the only one
    made(list(range(60))).push_to_hub("org/m", name="noisy-digits")
    assert len(hub.files(REPO)) == 2
    with pytest.raises(ValueError, match="digits, noisy-digits: choose one by name"):
        Fingerprint.from_pretrained("org/m")
    assert Fingerprint.from_pretrained("org/m", name="noisy-digits").header.counts.samples == 60
    with pytest.raises(ValueError, match=r"no resque/other\.safetensors"):
        Fingerprint.from_pretrained("org/m", name="other")
    for wrong in ("../x", "a/b", "", ".hidden", "a..b", "x" * 97):
        with pytest.raises(ValueError, match="name is"):
            fingerprint().push_to_hub("org/m", name=wrong)


def test_several_in_one_folder(tmp_path):
    fingerprint().save_pretrained(tmp_path, name="digits")
    assert (tmp_path / "resque" / "digits.safetensors").is_file()
    assert Fingerprint.from_pretrained(tmp_path).header.counts.samples == 90
    fingerprint().save_pretrained(tmp_path, name="more")
    with pytest.raises(ValueError, match="digits, more"):
        Fingerprint.from_pretrained(tmp_path)
    assert Fingerprint.from_pretrained(tmp_path, name="more").header.counts.samples == 90


def test_branches_and_old_commits(hub):
    fingerprint().push_to_hub("org/m")
    first = hub.sha(REPO)
    made(list(range(60))).push_to_hub("org/m", revision="next")
    assert hub.sha(REPO) == first
    made(list(range(45))).push_to_hub("org/m", commit_message="Fewer")
    assert hub.repositories[REPO].at("main").title == "Fewer"
    samples = {
        revision: Fingerprint.from_pretrained("org/m", revision=revision).header.counts.samples
        for revision in (None, "next", first)
    }
    assert samples == {None: 45, "next": 60, first: 90}
    with pytest.raises(ValueError, match="no such revision"):
        Fingerprint.from_pretrained("org/m", revision="nope")


def test_a_stranger_asks_and_the_owner_merges(hub):
    hub.put(REPO, "model.safetensors", b"weights")
    with pytest.raises(ValueError, match="--create-pr"):
        fingerprint().push_to_hub("org/m", token="hf_stranger")
    address = fingerprint().push_to_hub("org/m", token="hf_stranger", create_pr=True)
    assert address == f"{hub.address}/org/m/discussions/1"
    assert list(hub.files(REPO)) == ["model.safetensors"]
    HfApi().merge_pull_request("org/m", 1)
    assert Fingerprint.from_pretrained("org/m").header.counts.samples == 90
    with pytest.raises(ValueError, match="nor on the Hub"):
        fingerprint().push_to_hub("org/none", create_pr=True)
    assert "models/org/none" not in hub.repositories


def test_a_private_repository(hub, tmp_path):
    fingerprint().push_to_hub("org/m", private=True)
    assert hub.repositories[REPO].private
    assert Fingerprint.from_pretrained("org/m", token="hf_reader")
    with pytest.raises(ValueError, match="nor on the Hub"):
        Fingerprint.from_pretrained("org/m", token="hf_stranger", cache_dir=tmp_path / "other")


@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        ("hf_reader", "org/m", "no write access.*hf auth login"),
        ("hf_unknown", "org/m", "refuses.*hf auth login"),
        ("hf_stranger", "org/new", "refuses.*rights"),
        ("hf_secret", "org/m/x", "Repo id must be"),
        ("hf_secret", "../m", "Repo id|repo"),
    ],
)
def test_who_may_not_push_is_told(hub, token, repo, words):
    hub.put(REPO, "README.md", b"")
    before = hub.sha(REPO)
    with pytest.raises(ValueError, match=words) as error:
        fingerprint().push_to_hub(repo, token=token)
    assert token not in str(error.value)
    assert hub.sha(REPO) == before


def push_weights(content, extra="config.json"):
    files = {"model.safetensors": content, extra: content}
    operations = [CommitOperationAdd(p, io.BytesIO(c)) for p, c in files.items()]
    return HfApi().create_commit("org/m", operations, commit_message="Train").oid


def test_weights_that_changed_since_are_told_with_both_revisions(hub):
    HfApi().create_repo("org/m")
    first = push_weights(b"1")
    fingerprint(model="org/m", model_revision=first).push_to_hub("org/m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Fingerprint.from_pretrained("org/m").header.model_revision == first
        HfApi().create_commit(
            "org/m", [CommitOperationAdd("notes.txt", b"text")], commit_message="Text"
        )
        assert Fingerprint.from_pretrained("org/m")
    second = push_weights(b"2")
    with pytest.warns(UserWarning, match=f"@{first}.*@{second}"):
        Fingerprint.from_pretrained("org/m")


def test_from_the_cache_without_a_request(hub, tmp_path, monkeypatch):
    fingerprint().push_to_hub("org/m", name="digits")
    with pytest.raises(ValueError, match="cannot be reached"):
        Fingerprint.from_pretrained("org/m", local_files_only=True)
    cache = tmp_path / "cache"
    Fingerprint.from_pretrained("org/m", cache_dir=cache)
    hub.requests.clear()
    found = Fingerprint.from_pretrained("org/m", cache_dir=cache, local_files_only=True)
    assert found.header.counts.samples == 90
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert Fingerprint.from_pretrained("org/m", name="digits", cache_dir=cache)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set: nothing can be written"):
        fingerprint().push_to_hub("org/m")
    assert hub.requests == []


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("name", ["/no/such", "./nosuch", "a b", "a/b/c"])
def test_what_is_neither_folder_nor_id(hub, monkeypatch, name, offline):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(ValueError, match=r"there is no folder .*, and it is no id"):
        Fingerprint.from_pretrained(name)


def test_a_failure_of_the_moment_is_tried_again(hub, caplog, monkeypatch):
    monkeypatch.setattr("resque.hub.time.sleep", lambda _: None)
    hub.faults = Faults(
        Fault("502", "/api/repos/create"), Fault("429", "/commit/main", retry_after=1)
    )
    with caplog.at_level(logging.WARNING, "resque"):
        fingerprint().push_to_hub("org/m")
    assert len(hub.faults.happened) == 2
    assert "resque.safetensors" in hub.files(REPO)
    assert "trying again" in caplog.text


def test_a_pull_request_is_not_opened_twice(hub):
    hub.put(REPO, "README.md", b"")
    hub.faults = Faults(Fault("lost", "/commit/main"))
    with pytest.raises(ValueError, match="may have been opened"):
        fingerprint().push_to_hub("org/m", create_pr=True)
    assert len(hub.repositories[REPO].discussions) == 1


def test_a_commit_whose_answer_was_lost_is_done_once(hub, monkeypatch):
    monkeypatch.setattr("resque.hub.time.sleep", lambda _: None)
    hub.faults = Faults(Fault("lost", "/commit/main"))
    fingerprint().push_to_hub("org/m")
    assert [x.title for x in hub.repositories[REPO].history("main")] == [
        "Add the RESQUE fingerprint",
        "initial commit",
    ]


# What is published


def publish(fp, least=5, **more):
    return for_publication(fp, "org/m", min_class_count=least, **more)


def uneven():
    """Classes of 60, 7 and 3 samples."""
    fp = made(list(range(90)), class_names=NAMES)
    sums = {}
    for layer, x in fp.sums.items():
        counts, vectors = x.counts.copy(), x.sums.copy()
        for row, keep in ((1, 7), (2, 3)):
            order = np.cumsum(np.minimum(counts[row], 1)) <= keep
            counts[row] = np.where(order, np.minimum(counts[row], 1), 0)
            vectors[row] *= order[:, None]
        sums[layer] = replace(x, counts=counts, sums=vectors)
    return Fingerprint(fp.header, sums)


def test_small_classes_are_left_out_with_their_names():
    fp = uneven()
    public = publish(fp)
    assert list(public.class_counts) == [0, 1]
    assert public.header.class_names == ("ant", "bee", "(left out 2)")
    assert list(publish(fp, least=8).class_counts) == [0]
    with pytest.raises(ValueError, match="no class has 100 samples"):
        publish(fp, least=100)


@given(st.integers(1, 30), st.integers(0, 5))
def test_every_published_sum_is_over_as_many_samples(least, seed):
    fp = made(list(range(90)), seed=seed)
    public = publish(fp, least)
    for layer, sums in public.sums.items():
        assert sums.counts[sums.counts > 0].min() >= least
        assert (sums.counts.sum(1) == fp.sums[layer].counts.sum(1)).all()
        assert sums.sums.sum(1) == pytest.approx(fp.sums[layer].sums.sum(1))


def test_joined_groups_keep_the_index_and_its_error():
    a, b = made(list(range(100))), made(list(range(100)), seed=1)
    before, after = a.resque_dist(b), publish(a).resque_dist(b)
    assert after.value == pytest.approx(before.value, abs=1e-12)
    assert after.noise_floor == pytest.approx(before.noise_floor, rel=0.3)


def test_no_local_path_is_published(hub):
    fp = fingerprint(source="/home/ann/secret-project/data", model="/home/ann/secret-project/m")
    fp.push_to_hub("org/m")
    content = hub.files(REPO)["resque.safetensors"]
    assert b"/home" not in content
    assert b"secret-project" not in content
    header = Fingerprint.from_pretrained("org/m").header
    assert (header.model, header.sources[0].dataset) == ("org/m", "<local data>")


# Noise


@given(st.floats(0.05, 20), st.floats(1e-9, 0.1))
def test_sigma_is_the_least_that_is_private(epsilon, delta):
    sigma = gaussian_sigma(2.0, epsilon, delta)

    def reached(s):
        near, far = 2.0 / (2 * s), epsilon * s / 2.0
        return stats.norm.cdf(near - far) - math.exp(epsilon) * stats.norm.cdf(-near - far)

    assert reached(sigma) == pytest.approx(delta, rel=1e-6, abs=1e-13)
    assert reached(sigma * 0.99) > delta
    if epsilon <= 1:  # where the classical mechanism holds, it needs more
        assert sigma < 2.0 * math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def clipped(rows=range(3000), seed=0, shift=0.0, norm=5.0):
    """A fingerprint of one layer, its vectors clipped, and its header saying so."""
    base = made([0, 1, 2], clip_norm=norm, class_names=NAMES)
    rng = np.random.default_rng(seed)
    y = np.arange(len(rows)) % 3
    x = rng.normal(1, 1, (len(rows), 5)) + 2 * np.eye(5)[y] + shift * np.eye(5)[4]
    sums = ClassSums(16)
    sums.add(clip(x, norm), y.tolist(), np.asarray(rows))
    return Fingerprint(replace(base.header, layers=("a",), pooling=("mean",)), {"a": sums})


def test_noise_has_the_stated_size_and_hides_what_depends_on_contents():
    fp = clipped()
    public = publish(fp, epsilon=1.0, delta=1e-5)
    noise = public.header.noise
    assert noise.sigma == pytest.approx(gaussian_sigma(2 * 5.0, 1.0, 1e-5))
    draws = np.stack([publish(fp, epsilon=1.0).sums["a"].sums for _ in range(30)])
    filled = public.sums["a"].counts > 0
    assert filled.sum() == 6  # two groups a class
    assert draws.std(axis=0)[filled].mean() == pytest.approx(noise.sigma, rel=0.1)
    assert not draws[:, ~filled].any()
    assert len(np.unique(draws[:, 0, 0, 0])) == 30  # drawn anew each time
    assert (public.header.counts.correct, public.header.counts.loss_sum) == (0, 0.0)
    assert public.header.counts.samples == fp.header.counts.samples


def test_layers_share_one_budget():
    fp = made(list(range(90)), clip_norm=2.0)
    two = publish(fp, epsilon=1.0).header.noise.sigma
    assert two == pytest.approx(math.sqrt(2) * gaussian_sigma(4.0, 1.0, 1e-5))


def test_the_index_reads_noise_as_noise(monkeypatch):
    """The exact index stays within the interval; the floor rises as ε falls.

    Over 300 draws each the 95 % interval held it 300, 295 and 273 times: at ε = 0.1 the noise is
    twenty times the sampling's, and only two groups a class tell how large it is.
    """
    seeds = iter(range(1000))
    drawn = np.random.default_rng
    monkeypatch.setattr(
        np.random, "default_rng", lambda seed=None: drawn(next(seeds) if seed is None else seed)
    )
    original, shifted = clipped(), clipped(seed=1, shift=2.0)
    exact = original.resque_dist(shifted)
    floors, inside_interval = [exact.noise_floor], 0
    for epsilon in (2.0, 0.5, 0.1):
        scores = [publish(original, epsilon=epsilon).resque_dist(shifted) for _ in range(20)]
        floors.append(float(np.mean([x.noise_floor for x in scores])))
        inside_interval += sum(x.interval[0] <= exact.value <= x.interval[1] for x in scores)
    assert floors == sorted(floors)
    assert inside_interval >= 0.9 * 60


@pytest.mark.parametrize(
    ("changes", "more", "words"),
    [
        ({}, {"epsilon": 1.0}, "--clip-norm"),
        ({"clip_norm": 1.0, "labels": "predicted"}, {"epsilon": 1.0}, "own labels"),
        ({"clip_norm": 1.0}, {"epsilon": 0.0}, "above 0"),
        ({"clip_norm": 1.0}, {"epsilon": 1.0, "delta": 1.0}, "delta"),
        ({}, {"least": 0}, "1 or more"),
    ],
)
def test_noise_that_would_protect_nothing_is_refused(changes, more, words):
    with pytest.raises(ValueError, match=words):
        publish(made(list(range(90)), **changes), **more)


def test_noise_is_kept_in_the_file_and_not_added_up(hub):
    clipped().push_to_hub("org/m", epsilon=2.0)
    found = Fingerprint.from_pretrained("org/m")
    assert (found.header.noise.epsilon, found.header.clip_norm) == (2.0, 5.0)
    with pytest.raises(ValueError, match="add them before"):
        found + found
    with pytest.raises(ValueError, match="added to this fingerprint already"):
        publish(found, epsilon=1.0)
    with pytest.raises(ValueError, match="different clip norm"):
        found.resque_dist(made(list(range(90)), class_names=NAMES))


# At the command line


def test_the_owner_publishes_with_noise_and_a_stranger_measures(hub, digits, capsys):
    model, data = digits
    push = ["fingerprint", "--model", model, "--dataset", f"{data}#train", "--push-to-hub", "org/m",
            "--name", "digits", "--json"]  # fmt: skip
    assert cli.run([*push, "--epsilon", "8"]) == 2
    assert "--clip-norm" in capsys.readouterr().err
    assert cli.run([*push, "--epsilon", "8", "--clip-norm", "2"]) == 0
    assert list(hub.files(REPO)) == ["resque/digits.safetensors"]
    capsys.readouterr()
    estimate = ["estimate", "--model", model, "--shifted", f"{data}#test", "--json"]
    assert cli.run([*estimate, "--original", "org/m", "--name", "digits"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 <= report["resque_dist"]["value"] <= 1
    assert "<local data>" in report["original"]["dataset"]
    assert cli.run([*estimate, "--original", "org/m", "--name", "other"]) == 1
    assert "it has the fingerprints digits" in capsys.readouterr().err


def test_flags_that_ask_for_nothing(hub, tmp_path, capsys):
    output = tmp_path / "x"
    make = ["fingerprint", "--model", "m", "--dataset", "d", "--output", str(output)]
    for flags, words in (
        (["--epsilon", "1"], "--push-to-hub"),
        (["--name", "../x"], "name is"),
        (["--push-to-hub", "a/b/c"], "Repo id"),
    ):
        assert cli.run([*make, *flags]) == 2
        assert words in capsys.readouterr().err
    assert not output.exists()
