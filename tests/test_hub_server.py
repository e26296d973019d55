"""The local Hub: what the libraries' own clients do with it, and its faults."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import time
import warnings

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from hub_faults import Fault, Faults, random_faults
from hub_repositories import Account
from hub_server import inside, serve

# The HTTP library that huggingface_hub has: httpx2, before it httpx.
http = importlib.import_module(type(get_session()).__module__.partition(".")[0])
warnings.filterwarnings("ignore", category=FutureWarning, module="huggingface_hub")


@pytest.fixture
def hub(tmp_path):
    with serve() as hub, inside(hub, tmp_path / "home"):
        hub.accounts["hf_reader"] = Account("someone", "read", ("org",))
        hub.accounts["hf_stranger"] = Account("stranger")
        yield hub


@pytest.fixture
def api(hub):
    return HfApi(token="hf_secret")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def add(path, content):
    return CommitOperationAdd(path, io.BytesIO(content))


def commit(api, operations, **more):
    return api.create_commit("org/m", operations, commit_message="Change", **more)


def test_commits_are_kept_and_answer_with_their_own_files(hub, api):
    api.create_repo("org/m")
    first = commit(api, [add("a.txt", b"1"), add("w.safetensors", b"weights")])
    second = commit(api, [add("a.txt", b"2"), CommitOperationDelete("w.safetensors")])
    found = [read(hf_hub_download("org/m", "a.txt", revision=x.oid)) for x in (first, second)]
    assert found == [b"1", b"2"]
    path = hf_hub_download("org/m", "w.safetensors", revision=first.oid)
    assert read(path) == b"weights"
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("org/m", "w.safetensors")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/m", revision="nope")
    history = [x.commit_id for x in api.list_repo_commits("org/m")]
    assert history[:2] == [second.oid, first.oid]
    assert api.list_repo_refs("org/m").branches[0].target_commit == second.oid
    assert api.model_info("org/m", revision=first.oid).sha == first.oid


def test_the_tree_and_the_whole_of_it(hub, api):
    api.create_repo("org/m")
    commit(api, [add("a.txt", b"1"), add("data/x/b.txt", b"22"), add("data/c.npz", b"333")])
    found = {x.path: getattr(x, "size", None) for x in api.list_repo_tree("org/m", recursive=True)}
    assert found["data/x/b.txt"] == 2
    assert {x.path for x in api.list_repo_tree("org/m")} == {"a.txt", "data"}
    assert {x.path for x in api.list_repo_tree("org/m", "data")} == {"data/x", "data/c.npz"}
    assert [x.path for x in api.get_paths_info("org/m", ["a.txt", "no"])] == ["a.txt"]
    folder = snapshot_download("org/m")
    assert read(f"{folder}/data/c.npz") == b"333"


def test_a_stale_parent_changes_nothing(hub, api):
    api.create_repo("org/m")
    old = hub.sha("models/org/m")
    new = commit(api, [add("a.txt", b"1")], parent_commit=old).oid
    with pytest.raises(HfHubHTTPError) as error:
        commit(api, [add("a.txt", b"2"), add("b.txt", b"2")], parent_commit=old)
    assert error.value.response.status_code == 412
    assert hub.sha("models/org/m") == new
    assert hub.files("models/org/m") == {"a.txt": b"1"}


def test_a_stranger_asks_and_the_owner_merges(hub, api):
    api.create_repo("org/m")
    commit(api, [add("a.txt", b"1"), add("b.txt", b"1")])
    stranger = HfApi(token="hf_stranger")
    with pytest.raises(HfHubHTTPError, match="create_pr=1"):
        commit(stranger, [add("a.txt", b"2")])
    asked = commit(stranger, [add("a.txt", b"2")], create_pr=True)
    assert asked.pr_num == 1
    assert hub.files("models/org/m")["a.txt"] == b"1"
    assert hub.files("models/org/m", "refs/pr/1")["a.txt"] == b"2"
    path = hf_hub_download("org/m", "a.txt", revision="refs/pr/1")
    assert read(path) == b"2"
    [found] = api.get_repo_discussions("org/m")
    assert (found.is_pull_request, found.status, found.author) == (True, "open", "stranger")
    commit(api, [add("b.txt", b"3")])
    with pytest.raises(HfHubHTTPError):
        stranger.merge_pull_request("org/m", 1)
    api.merge_pull_request("org/m", 1)
    assert hub.files("models/org/m") == {"a.txt": b"2", "b.txt": b"3"}
    details = api.get_discussion_details("org/m", 1)
    assert details.status == "merged"
    assert details.merge_commit_oid == hub.sha("models/org/m")


def test_conflicting_pull_requests_are_refused(hub, api):
    api.create_repo("org/m")
    commit(api, [add("a.txt", b"1")])
    commit(HfApi(token="hf_stranger"), [add("a.txt", b"2")], create_pr=True)
    commit(api, [add("a.txt", b"3")])
    assert api.get_discussion_details("org/m", 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.merge_pull_request("org/m", 1)


def test_who_may_what(hub, api):
    api.create_repo("org/m", private=True)
    commit(api, [add("a.txt", b"1")])
    assert api.whoami()["auth"]["accessToken"]["role"] == "write"
    for token in (False, "hf_stranger"):
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("org/m", "a.txt", token=token)
    assert hf_hub_download("org/m", "a.txt", token="hf_reader")
    reader = HfApi(token="hf_reader")
    for refused in (
        lambda: commit(reader, [add("a.txt", b"2")]),
        lambda: reader.create_repo("org/other"),
        lambda: HfApi(token="hf_stranger").create_repo("org/other"),
    ):
        with pytest.raises(HfHubHTTPError, match="403"):
            refused()
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(token="hf_unknown").whoami()
    hub.put("models/org/gated", "a.txt", b"1")
    hub.repository("models/org/gated").gated = True
    with pytest.raises(GatedRepoError):
        hf_hub_download("org/gated", "a.txt", token="hf_stranger")
    hub.repository("models/org/gated").granted.add("stranger")
    assert hf_hub_download("org/gated", "a.txt", token="hf_stranger")


def test_cards_are_validated(hub, api):
    api.create_repo("org/m")
    commit(api, [add("README.md", b"---\ntags: [x]\n---\ntext")])
    assert list(hub.files("models/org/m")) == ["README.md"]
    wrong = {"YAML": b"---\na: [1\n---\n", "model-index": b"---\nmodel-index: [{name: x}]\n---\n"}
    for words, card in wrong.items():
        with pytest.raises(ValueError, match=words):
            commit(api, [add("README.md", card)])


def test_spaces_by_their_tag(hub, api):
    hub.put("spaces/org/one", "README.md", b"---\nsdk: gradio\ntags: [metric]\n---\n")
    hub.put("spaces/org/two", "README.md", b"---\nsdk: gradio\n---\n")
    assert [x.id for x in api.list_spaces(filter="metric")] == ["org/one"]


def test_a_data_set_is_loaded(hub):
    from datasets import load_dataset

    lines = "".join(json.dumps({"x": i, "label": "a"}) + "\n" for i in range(3))
    hub.put("datasets/org/d", "data/train-1.jsonl", lines.encode())
    hub.put("datasets/org/d", "data/train-2.jsonl", lines.encode())
    assert load_dataset("org/d", split="train")["x"] == [0, 1, 2] * 2


@pytest.mark.parametrize("kind", ["429", "500", "502", "412"])
def test_faults_with_a_status(hub, kind):
    hub.put("models/org/m", "a.txt", b"1")
    hub.faults = Faults(Fault(kind, "GET .*/resolve/", nth=2, retry_after=7))
    url = f"{hub.address}/org/m/resolve/main/a.txt"
    found = [http.get(url) for _ in range(3)]
    assert [x.status_code for x in found] == [200, int(kind), 200]
    assert found[1].headers.get("Retry-After") == ("7" if kind == "429" else None)
    assert hub.faults.happened == [(kind, "GET /org/m/resolve/main/a.txt")]


@pytest.mark.parametrize("kind", ["silence", "reset", "truncate", "lost"])
def test_faults_that_break_the_connection(hub, kind):
    hub.put("models/org/m", "a.txt", b"1" * 100)
    hub.faults = Faults(Fault(kind, "GET "))
    url = f"{hub.address}/org/m/resolve/main/a.txt"
    with pytest.raises(http.HTTPError):
        http.get(url, timeout=0.3)
    assert http.get(url).status_code == 200


def test_what_is_lost_was_done(hub, api):
    api.create_repo("org/m")
    hub.faults = Faults(Fault("lost", "/commit/"))
    with pytest.raises(http.HTTPError):
        commit(api, [add("a.txt", b"1")])
    assert hub.files("models/org/m") == {"a.txt": b"1"}


def test_a_trickle_comes_whole_and_an_etag_is_wrong(hub):
    hub.put("models/org/m", "a.txt", b"1" * 100)
    hub.faults = Faults(Fault("trickle", "GET "), Fault("etag", "HEAD "))
    url = f"{hub.address}/org/m/resolve/main/a.txt"
    start = time.monotonic()
    assert http.get(url).content == b"1" * 100
    assert time.monotonic() - start > 0.1
    tags = [http.head(url).headers["ETag"] for _ in range(2)]
    assert tags[0] != tags[1]


def test_an_interrupted_download_is_resumed(hub):
    content = bytes(range(256)) * 40
    hub.put("models/org/m", "w.bin", content)
    hub.faults = Faults(Fault("truncate", "GET .*/resolve/"))  # a reset, it does not retry
    with contextlib.suppress(http.HTTPError):  # newer clients go on by themselves
        hf_hub_download("org/m", "w.bin")
    assert read(hf_hub_download("org/m", "w.bin")) == content


def test_a_schedule_depends_on_its_seed_alone():
    assert random_faults(3).faults == random_faults(3).faults
    assert len({random_faults(seed).faults for seed in range(50)}) > 40
