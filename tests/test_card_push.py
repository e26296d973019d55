"""`resque card` against a Hub on this machine: shown, written in one commit, or asked for."""

from __future__ import annotations

import json
import logging
import re

import pytest

from cards import CARDS, front
from hub_faults import KINDS, Fault, Faults, random_faults
from hub_repositories import Account
from hub_server import inside, serve
from resque import card_push, cli, hub
from resque.card import facts_on, gather, split_card, update
from resque.errors import ResqueError
from resque.ledger import write_ledger
from test_card import REPO, entries, forecast, report

MODEL = f"models/{REPO}"
CARD = CARDS["windows"].encode()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger("resque"), "propagate", True)
    with serve() as server, inside(server, tmp_path / "home"):
        server.accounts["hf_stranger"] = Account("stranger")
        server.put(MODEL, "README.md", CARD)
        server.put(MODEL, "config.json", b"{}")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setattr(hub.time, "sleep", lambda _: None)
        yield server


@pytest.fixture
def content():
    return gather([report(), forecast()], entries(), REPO)


@pytest.fixture
def call(tmp_path, capsys):
    report().to_json(tmp_path / "report.json")
    (tmp_path / "forecast.json").write_text(json.dumps(forecast()))
    write_ledger(entries(), tmp_path / "ledger.jsonl")

    def call(*arguments):
        given = "--report", tmp_path / "report.json", "--report", tmp_path / "forecast.json"
        code = cli.run(
            [str(x) for x in ("card", *given, "--ledger", tmp_path / "ledger.jsonl", *arguments)]
        )
        out, err = capsys.readouterr()
        assert "hf_secret" not in out + err
        assert "Traceback" not in err
        return code, out, err

    return call


def commits(server):
    return len(server.repositories[MODEL].commits)


def card_of(server, revision="main"):
    return server.files(MODEL, revision)["README.md"].decode()


def test_the_change_is_shown_and_nothing_written(server, call, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    before = commits(server)
    code, out, err = call("--repo-id", REPO)
    assert code == 0
    assert out.startswith("--- README.md\n+++ README.md\n@@ ")
    assert "+<!-- resque:begin -->" in out
    assert not [line for line in out.splitlines()[2:] if line.startswith("-")]
    assert "nothing was written" in err
    assert commits(server) == before
    assert not [x for x in server.requests if x[0] == "POST"]
    code, out, _ = call("--repo-id", REPO, "--json")
    found = json.loads(out)
    assert found["changed"]
    assert found["url"] is None
    assert found["files"][0] == "README.md"


def test_card_figure_and_reports_are_one_commit_and_a_second_push_is_none(server, call):
    before = commits(server)
    code, out, err = call("--repo-id", REPO, "--push-to-hub")
    assert code == 0, err
    assert commits(server) == before + 1
    assert out.splitlines()[-1] == f"{server.address}/{REPO}/commit/{server.sha(MODEL)}"
    files = server.files(MODEL)
    assert card_of(server) == update(
        CARD.decode(), [report(), forecast()], entries(), repo_id=REPO, figure="resque/shifts.png"
    )
    assert files["resque/shifts.png"].startswith(b"\x89PNG")
    reports = {name: json.loads(x) for name, x in files.items() if name.endswith("json")}
    assert {x.get("date") for x in reports.values()} == {None, "2026-01-02"}
    assert len(reports) == 3  # config.json among them
    asked = [path for _, path in server.requests]
    assert asked.index("/api/validate-yaml") < asked.index(f"/api/{MODEL}/commit/main")
    code, _, err = call("--repo-id", REPO, "--push-to-hub")
    assert code == 0
    assert "says this already" in err
    assert commits(server) == before + 1


def test_somebody_elses_change_meanwhile_is_kept(server, content, monkeypatch):
    real, times = card_push._validate, iter(range(2))

    def meanwhile(api, text):
        real(api, text)
        for i in times:
            server.put(MODEL, "README.md", card_of(server).encode() + f"edit {i}\r\n".encode())
            break

    monkeypatch.setattr(card_push, "_validate", meanwhile)
    card_push.push_card(REPO, content)
    text = card_of(server)
    assert "edit 0\r\nedit 1\r\n" in text
    assert len(facts_on(text)) == 3
    posts = [path for verb, path in server.requests if verb == "POST" and "/commit/" in path]
    assert len(posts) == 3


def test_it_does_not_try_for_ever(server, content, monkeypatch):
    monkeypatch.setattr(hub, "STALE_TRIES", 2)
    server.faults = Faults(Fault("412", "/commit/", times=100))
    with pytest.raises(ResqueError, match="somebody else wrote to it at the same time"):
        card_push.push_card(REPO, content)
    assert card_of(server) == CARD.decode()


def test_an_answer_that_is_lost_makes_no_second_commit(server, content):
    before = commits(server)
    server.faults = Faults(Fault("lost", "/commit/"))
    url, _ = card_push.push_card(REPO, content)
    assert commits(server) == before + 1
    assert url.endswith(server.sha(MODEL))


@pytest.mark.parametrize("kind", ["reset", "500", "502", "429", "truncate"])
def test_a_failure_of_the_moment_is_tried_again(server, content, kind):
    server.faults = Faults(Fault(kind, "README.md|validate|preupload", times=2))
    card_push.push_card(REPO, content)
    assert len(facts_on(card_of(server))) == 3


def test_a_model_of_others_gets_a_pull_request(server, call, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    code, _, err = call("--repo-id", REPO, "--push-to-hub")
    assert code == 1
    assert "--create-pr" in err
    assert card_of(server) == CARD.decode()
    code, out, err = call("--repo-id", REPO, "--create-pr")
    assert code == 0, err
    assert out.splitlines()[-1] == f"{server.address}/{REPO}/discussions/1"
    assert card_of(server) == CARD.decode()
    assert len(facts_on(card_of(server, "refs/pr/1"))) == 3


def test_without_a_change_no_pull_request_is_opened(server, content):
    url, _ = card_push.push_card(REPO, content)
    assert card_push.push_card(REPO, content, create_pr=True)[0] == url
    assert server.repository(MODEL).discussions == []


def test_a_lost_answer_to_a_pull_request_is_said(server, content):
    server.faults = Faults(Fault("lost", "/commit/"))
    with pytest.raises(ResqueError, match=f"may have been opened. Look at .*/{REPO}/discussions"):
        card_push.push_card(REPO, content, create_pr=True)


def test_what_the_hub_finds_wrong_is_not_sent(server, content):
    server.put(MODEL, "README.md", front("tags:\n- 1\n").encode())
    before = commits(server)
    with pytest.raises(ResqueError, match='does not take this card: "tags" must hold strings'):
        card_push.push_card(REPO, content)
    assert commits(server) == before


@pytest.mark.parametrize(
    ("card", "words"),
    [(b"---\na: [\n---\n", "card of org/digits-resnet: .* line 3 of"), (b"\xff\xfe", "no UTF-8")],
)
def test_a_card_that_cannot_be_edited_is_left_alone(server, call, card, words):
    server.put(MODEL, "README.md", card)
    before = commits(server)
    code, _, err = call("--repo-id", REPO, "--push-to-hub")
    assert code == 1
    assert re.search(words, err)
    assert commits(server) == before


def test_a_model_without_a_card_gets_one(server):
    server.put("models/org/bare", "config.json", b"{}")
    found = gather(report(model="folder", revision=None), None, "org/bare")
    card_push.push_card("org/bare", found)
    text = server.files("models/org/bare")["README.md"].decode()
    assert split_card(text).opening == "---\n"
    assert "--model org/bare" in text


def test_what_is_not_there_or_not_allowed_is_said(server, call, monkeypatch):
    code, _, err = call("--repo-id", "org/nothing")
    assert code == 2
    assert "report is of org/digits-resnet, not of org/nothing" in err
    code, _, err = call("--push-to-hub")
    assert code == 2
    assert "--repo-id" in err
    code, _, err = call("--repo-id", "../x")
    assert code == 2
    server.repositories[MODEL].private = True
    code, _, err = call("--repo-id", REPO)
    assert code == 0, err
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    code, _, err = call("--repo-id", REPO)
    assert code == 1
    assert "If it is private" in err


def test_a_card_that_is_too_large_is_not_fetched(server, content, monkeypatch):
    monkeypatch.setattr(card_push, "MAX_BYTES", 10)
    with pytest.raises(ResqueError, match="it is no card"):
        card_push.push_card(REPO, content)
    assert not [x for x in server.requests if x[0] == "GET" and x[1].endswith("README.md")]


def test_offline_says_how_to_go_on(content, call):
    with pytest.raises(ResqueError, match="HF_HUB_OFFLINE is set"):
        card_push.push_card(REPO, content)
    code, _, err = call("--repo-id", REPO)
    assert code == 1
    assert "--card" in err


def test_a_card_here_is_shown_and_written_with_its_figure(call, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_bytes(CARD)
    code, out, err = call("--card", folder, "--repo-id", REPO)
    assert code == 0
    assert "+tags:" in out or "+- resque" in out
    assert "nothing was written" in err
    assert (folder / "README.md").read_bytes() == CARD
    code, out, _ = call("--card", folder / "README.md", "--output", folder)
    assert code == 0
    assert out.splitlines()[-1] == str(folder / "README.md")
    assert len(facts_on((folder / "README.md").read_bytes().decode())) == 3
    assert (folder / "resque" / "shifts.png").is_file()
    code, _, err = call("--card", tmp_path / "none.md")
    assert code == 1
    assert "No such file" in err


def test_terminal_escapes_of_a_card_are_spelled_out(call, tmp_path):
    file = tmp_path / "README.md"
    file.write_text(front("license: mit\n", "x \x1b[2J\x1b]0;title\x07 y\n"))
    code, out, _ = call("--card", file)
    assert code == 0
    assert "\x1b" not in out
    assert "\\x1b[2J" in out


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": NaN}', "[" * 100_000, '{"resque_dist": 1}', '{"candidates": []}']
)
def test_a_file_that_is_no_report_is_said(tmp_path, capsys, text):
    (tmp_path / "bad.json").write_text(text)
    code = cli.run(["card", "--report", str(tmp_path / "bad.json"), "--card", str(tmp_path)])
    err = capsys.readouterr().err
    assert code == 1
    assert "bad.json" in err
    assert "defect" not in err


@pytest.mark.slow
def test_whatever_fails_the_model_is_untouched_or_complete(tmp_path, content, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub.time, "sleep", lambda _: None)
    kinds = tuple(kind for kind in KINDS if kind not in ("silence", "trickle"))
    ended = set()
    for seed in range(60):
        with serve() as server, inside(server, tmp_path / str(seed)):
            server.put(MODEL, "README.md", CARD)
            server.faults = random_faults(seed, kinds)
            try:
                card_push.push_card(REPO, content)
            except ResqueError:
                ended.add("refused")
                assert server.files(MODEL) == {"README.md": CARD}
            else:
                ended.add("done")
                assert commits(server) == 3
                assert len(facts_on(card_of(server))) == 3
                assert len(server.files(MODEL)) == 4
    assert ended == {"done", "refused"}
