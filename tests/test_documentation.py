"""Every code block of the documentation runs, every link leads somewhere, every name is told."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

import resque
from documents import ROOT, Block, Page, blocks_of, commands, compare, environment_of, pages

BLOCKS = [block for page in pages() for block in blocks_of(page)]
LANGUAGES = ("bash", "python", "text", "yaml", "bibtex")
# Why a block may stand unrun, and what each of its commands has to be then.
NOT_RUN = {
    "it installs packages": r"(pip|uv) install |make install$",
    "it installs this package and its tools": r"make [a-z]+\b|\.ci/run$",
    "several processes or machines": r"(accelerate launch|torchrun) ",
    "it serves pages until it is stopped": r"pip install |resque space --port ",
    "the peer's own code": r"",
}
ACCURACY = """import datasets
import evaluate


class Accuracy(evaluate.Metric):
    def _info(self):
        columns = {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="", features=datasets.Features(columns)
        )

    def _compute(self, predictions, references):
        return {"accuracy": sum(map(int.__eq__, predictions, references)) / len(references)}
"""


def case(block: Block) -> object:
    return pytest.param(block, id=str(block), marks=[pytest.mark.slow] * (block.marker == "slow"))


@contextmanager
def own_hub(hub, page) -> Iterator[None]:
    """Let this process take the local Hub for the Hub, with a page's repositories on it."""
    from hub_faults import Faults
    from hub_server import inside

    before, hub.repositories, hub.faults = hub.repositories, page.repositories, Faults()
    try:
        with inside(hub, Path(page.environment["HF_HOME"])):
            yield
    finally:
        hub.repositories = before


@pytest.fixture(scope="module")
def open_page(digits, running_hub, tmp_path_factory):
    """Return a page by its name: the same at each call, so that its blocks go on."""
    from hub_repositories import Account

    running_hub.accounts["hf_you"] = Account("you")

    @cache
    def opened(name) -> Page:
        folder, home = (tmp_path_factory.mktemp(what) for what in ("page", "home"))
        for path, part in zip(digits, ("model", "digits"), strict=True):
            shutil.copytree(path, folder / "resque-demo" / part)
        for part in ("benchmarks", "examples", "metrics"):
            (folder / part).symlink_to(ROOT / part)
        (folder / "accuracy").mkdir()  # evaluate's own accuracy lives on the Hub
        (folder / "accuracy" / "accuracy.py").write_text(ACCURACY)
        return Page(name, folder, environment_of(running_hub, home, "hf_you"))

    return opened


@pytest.fixture
def page(request, open_page, running_hub, monkeypatch) -> Iterator[Page]:
    """The page of a test's block, in its folder, with the Hub as its blocks left it."""
    found = open_page(request.node.callspec.params["block"].page)
    monkeypatch.chdir(found.folder)
    monkeypatch.setenv("HF_TOKEN", "hf_you")
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", found.environment["HF_HOME"])
    with own_hub(running_hub, found):
        yield found


@pytest.mark.skipif(os.name == "nt", reason="bash")
@pytest.mark.filterwarnings("default")  # as users have them
@pytest.mark.parametrize("block", [case(block) for block in BLOCKS if block.runs])
def test_block(block, page):
    page.run(block)


def test_blocks_are_of_known_languages():
    assert {str(block) for block in BLOCKS if block.language not in LANGUAGES} == set()


@pytest.mark.parametrize("block", [x for x in BLOCKS if x.marker == "not run"], ids=str)
def test_what_is_not_run_cannot_be(block):
    allowed = NOT_RUN[block.reason]
    lines = commands(block.code) if block.language == "bash" else [block.code]
    assert [line for line in lines if not re.match(allowed, line)] == []
    assert block.language == "bash" or block.page.startswith("docs/migration/")


def test_most_blocks_run():
    left = [str(block) for block in BLOCKS if block.marker == "not run"]
    assert len(left) <= 14, left
    assert len([block for block in BLOCKS if block.runs]) >= 60


def test_a_block_that_fails_fails_its_test(tmp_path):
    page = Page("README.md", tmp_path, dict(os.environ))
    for code in ("resque estimate --model nowhere --task nothing", "false", "ls nowhere | cat"):
        assert page._try(Block("README.md", 1, "bash", code)) is not None
    assert page._try(Block("README.md", 1, "python", "1 / 0")) is not None
    assert page._try(Block("README.md", 1, "python", "print(1.5)", shown="2.25")) is None
    assert page._try(Block("README.md", 1, "python", "print('a')", shown="b")) is not None


def test_shown_text_is_compared_but_for_numbers():
    compare("│ index │ 0.12 │\n…\nsaid so", "┃ index ┃ 0.3456 ┃\nanything\nsaid so\n")
    with pytest.raises(AssertionError, match="the page shows"):
        compare("index 1", "value 1")


LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


@pytest.mark.parametrize("name", pages())
def test_links_lead_to_files(name):
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.M | re.S)
    found = ["".join(pair) for pair in LINK.findall(text)]
    local = [x.partition("#")[0] for x in found if not re.match("https?:", x)]
    missing = [x for x in local if x and not ((ROOT / name).parent / x).exists()]
    assert missing == []


def test_every_public_name_and_module_is_on_an_api_page():
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "api").glob("*.md"))
    told = re.findall(r"^::: (resque[\w.]*)", text, re.M)
    homes = resque._HOMES
    assert [
        x for x in resque.__all__ if f"{homes[x]}.{x}" not in told and homes[x] not in told
    ] == []


def test_every_command_has_a_page():
    names = [info.name for info in app_commands()]
    assert len(names) >= 11
    assert [x for x in names if not (ROOT / "docs" / "how-to" / f"{x}.md").is_file()] == []


def app_commands():
    from resque.cli import _command

    return [command for _, command in sorted(_command().commands.items())]
