"""Model cards: puts what a shift does, and what retraining costs, on a card, and nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resque.card_costs import Run, choose_runs, cost_facts, emissions, read_runs, runs_of
from resque.card_facts import Fact
from resque.card_markdown import put_section, section_of
from resque.card_metadata import add_metadata, read_facts
from resque.card_reports import Document, read_documents
from resque.errors import ResqueError, UsageError
from resque.ledger import Entry, Ledger
from resque.records import CostRecord

if TYPE_CHECKING:
    from resque.report import Report

MAX_CHARACTERS = 5_000_000
BOM = "\ufeff"
# The Hub's own pattern (huggingface_hub.repocard), and front matter that holds nothing.
FRONT = re.compile(
    r"(?P<open>\s*---(?:\r\n|\r|\n))"
    r"(?:(?P<yaml>[\S\s]*?)(?P<end>\r\n|\r|\n))??"
    r"---[ \t]*(?:\r\n|\n|$)"
)

Costs = str | Path | Ledger | Iterable[Entry | CostRecord]


@dataclass(frozen=True)
class Content:
    """What is to be put on a card.

    Attributes:
        facts: indices, costs and forecasts.
        emissions: `co2_eq_emissions`, or None without a retraining that was run.
        name: of the model.
        task_type: of the Hub's tasks, for a card that does not tell its own.
        reports: what was read, fit to be published, by path in the repository.
    """

    facts: tuple[Fact, ...]
    emissions: dict[str, Any] | None
    name: str
    task_type: str
    reports: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Card:
    """The parts of a card; together they are its text.

    Attributes:
        opening: what is before the YAML, its line `---` included; empty without front matter.
        yaml: lines, each with its line break.
        closing: the line `---` after it.
        body: the rest.
    """

    opening: str
    yaml: str
    closing: str
    body: str

    @property
    def text(self) -> str:
        """The whole card."""
        return self.opening + self.yaml + self.closing + self.body


def update(
    card_text: str,
    report: Report | Mapping[str, Any] | Sequence[Report | Mapping[str, Any]] | None,
    ledger: Costs | None = None,
    *,
    repo_id: str | None = None,
    figure: str | None = None,
) -> str:
    """Return a card with what a report and a ledger tell; all else in it stays byte for byte.

    The numbers are results of its `model-index`, `co2_eq_emissions` (grams) and tags, and one
    section of its body between the markers `<!-- resque:begin -->` and `<!-- resque:end -->`,
    which shows all of resque's results on the card. A result replaces that of the same metric,
    data, corruption, layer, strategy and target; a second run changes nothing. `co2_eq_emissions`
    that are not resque's stay, with a warning.

    Args:
        card_text: README.md, with its own line ends; may be empty.
        report: of `resque.estimate`, or what `to_dict()` of it or of `resque.forecast` gave; or
            several of one model; None for the ledger's retrainings alone.
        ledger: of a study, or cost records, or the file or folder of one: measured costs of the
            report's shifts.
        repo_id: the card's repository; it names the model where the report does so by a folder.
        figure: path in the repository of the figure of these shifts; None for bars of text.

    Raises:
        ResqueError: where the card cannot be edited safely, or the ledger has nothing of these
            shifts.
        UsageError: where the report is of another model than the repository's.
    """
    return write_card(card_text, gather(report, ledger, repo_id), figure)


def gather(report: Any, ledger: Costs | None = None, repo_id: str | None = None) -> Content:
    """Read reports and ledgers into what is to be put on a card; see `update`."""
    documents = _documents(report)
    if repo_id is not None:
        documents = _of_model(documents, repo_id)
    runs = _runs(ledger, documents)
    facts = [*(fact for x in documents for fact in x.facts), *cost_facts(runs)]
    if not facts:
        raise UsageError("there is nothing to put on the card: give a report, or a ledger")
    names = {x.model for x in documents} | {run.shift[0] for run in runs}
    if len(names - {repo_id}) > 1:
        raise UsageError(f"these are of several models: {', '.join(sorted(names))}")
    if repo_id is not None:
        facts = [_at_home(fact, repo_id) for fact in facts]
    unique = {fact.identity: fact for fact in facts}
    name = (repo_id or min(names)).rstrip("/").rpartition("/")[2] or "model"
    return Content(
        tuple(unique.values()),
        emissions(runs) if runs else None,
        name,
        _task_type(facts),
        {document.path: document.published() for document in documents},
    )


def _documents(report: Any) -> list[Document]:
    several = (
        [report] if isinstance(report, Document | Mapping) or hasattr(report, "to_dict") else report
    )
    found: list[Document] = []
    for item in several or ():
        if isinstance(item, Document):
            found.append(item)
        else:
            found += read_documents(item if isinstance(item, Mapping) else item.to_dict())
    return found


def _of_model(documents: Sequence[Document], repo_id: str) -> list[Document]:
    """Return the documents of the card's model: those of the repository, else of one folder."""
    for document in documents:
        if document.model != repo_id and document.revision is not None:
            raise UsageError(
                f"the report is of {document.model}, not of {repo_id}: give the card of the model "
                "that was measured"
            )
    return [x for x in documents if x.model == repo_id] or list(documents)


def _runs(ledger: Costs | None, documents: Sequence[Document]) -> list[Run]:
    if ledger is None:
        return []
    runs = read_runs(ledger) if isinstance(ledger, str | Path) else runs_of(ledger)
    if documents:
        return choose_runs(runs, frozenset(shift for x in documents for shift in x.shifts))
    return runs


def _at_home(fact: Fact, repo_id: str) -> Fact:
    """Let the command name the model by its repository."""
    command = fact.args.get("command")
    if not command or fact.args.get("model_revision"):
        return fact
    words = shlex.split(command)
    if "--model" in words[:-1]:
        words[words.index("--model") + 1] = repo_id
    return replace(fact, args=fact.args | {"command": shlex.join(words)})


def _task_type(facts: Iterable[Fact]) -> str:
    from resque.shifts import modality_of

    for fact in facts:
        if fact.args.get("corruption"):
            return f"{modality_of(fact.args['corruption'].partition(':')[0])}-classification"
    return "other"


def write_card(text: str, content: Content, figure: str | None = None) -> str:
    """Return a card with this content; see `update`."""
    card = split_card(text)
    front_break = _line_break(card.opening + card.yaml) or _line_break(text) or "\n"
    body_break = _line_break(card.body) or front_break
    yaml, facts = add_metadata(
        card.yaml,
        front_break,
        content.facts,
        name=content.name,
        emissions=content.emissions,
        task_type=content.task_type,
        first_line=1 + _lines(card.opening),
    )
    if not card.opening:
        bom = BOM if card.body.startswith(BOM) else ""
        body = card.body.removeprefix(BOM)
        card = Card(f"{bom}---{front_break}", "", f"---{front_break}", body)
    if not card.closing.endswith(("\n", "\r")):
        card = replace(card, closing=card.closing + front_break)
    section = section_of(facts, figure)
    first_line = 1 + _lines(card.opening + card.yaml + card.closing)
    body = put_section(card.body, section, body_break, first_line)
    found = replace(card, yaml=yaml, body=body)
    if split_card(found.text) != found:
        raise ResqueError("its front matter would not be read as it is written")
    return found.text


def facts_on(text: str) -> list[Fact]:
    """Return the facts that a card holds, in order.

    Raises:
        ResqueError: where its front matter is no YAML.
    """
    return read_facts(split_card(text).yaml)


def split_card(text: str) -> Card:
    """Split a card as the Hub does.

    Raises:
        ResqueError: where it is too long, or its line ends are a bare carriage return.
    """
    if len(text) > MAX_CHARACTERS:
        raise ResqueError(f"it has over {MAX_CHARACTERS // 10**6} million characters")
    bom = BOM if text.startswith(BOM) else ""
    found = FRONT.match(text, len(bom))
    if found is None:
        if re.match(r"\s*---\r(?!\n)", text[len(bom) :]):
            raise ResqueError(
                "its line ends are carriage returns alone; the Hub reads no such card"
            )
        return Card("", "", "", text)
    opening = bom + found["open"]
    stop = found.end("end") if found["end"] else len(opening)
    return Card(opening, text[len(opening) : stop], text[stop : found.end()], text[found.end() :])


def _lines(text: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", text))


def _line_break(text: str) -> str | None:
    found = re.search(r"\r\n|\n", text)
    return found[0] if found else None
