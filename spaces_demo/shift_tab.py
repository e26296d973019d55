"""The tab "Shift": how far data has moved from what a model knows, and what that costs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

import jobs
import pages
from cases import DATA, Cases
from charts import sweep_chart
from desk import Desk, status
from jobs import Shift
from shift_inputs import inputs_of, query_of, shift_of
from shift_page import estimate_command, shift_page
from workers import Refusal, Stopped, Turn

SWEEP = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the chosen level, where nothing is prepared


@dataclass
class ShiftTab:
    """What the tab's events do.

    Attributes:
        cases: prepared answers.
        desk: runs everything else.
        wanted: the inputs whose preview a visitor asked for last, until it is shown.
    """

    cases: Cases
    desk: Desk
    wanted: dict[str, Sequence[Any]] = field(default_factory=dict)

    async def measure(self, request: gr.Request, *given: Any) -> AsyncIterator[tuple[Any, str]]:
        """Yield (answer, status) until the answer is whole."""
        visitor = str(request.session_hash)
        try:
            shift = shift_of(self.desk.visitors.path(visitor), *given)
            if shift in self.cases.shifts:
                yield self.prepared(shift), ""
                return
            with self.desk.workers.turn(visitor) as turn:
                async for answer, text in self._run(turn, visitor, shift):
                    yield answer, status(text)
        except Refusal as error:
            yield pages.refusal(self.desk.visitors.public(visitor, str(error))), ""
        except Stopped as stop:
            yield gr.skip(), status(str(stop))

    def prepared(self, shift: Shift) -> str:
        """Return the answer of a prepared case."""
        found = self.cases.shifts[shift]
        return shift_page(
            shift,
            found["report"],
            found["forecast"],
            samples=self.cases.samples_of(shift.corruption),
            note=self.cases.made,
            link=query_of(shift),
        )

    async def _run(self, turn: Turn, visitor: str, shift: Shift) -> AsyncIterator[tuple[Any, str]]:
        async for text in self.desk.checked(turn, visitor, [shift.model], _data_of(shift)):
            yield gr.skip(), text
        run = turn.start(jobs.estimate, shift)
        async for text in run.progress("Measuring the index"):
            yield gr.skip(), text
        report, samples = run.result(), self.cases.samples_of(shift.corruption)
        if (shift.shifted or shift.original) != DATA:
            run = turn.start(jobs.samples, shift)
            async for text in run.progress("Choosing samples to show"):
                yield gr.skip(), text
            samples = run.result()

        def page(forecast: dict[str, Any] | None, pending: str) -> str:
            return shift_page(
                shift,
                report,
                forecast,
                samples=samples,
                pending=pending,
                link=query_of(shift),
                public=lambda text: self.desk.visitors.public(visitor, text),
            )

        if not shift.original:
            yield page(None, "A forecast needs the original data itself, not its fingerprint."), ""
            return
        yield page(None, "Being forecast…"), "Forecasting the cost…"
        try:
            run = turn.start(jobs.forecast, shift)
            async for text in run.progress("Forecasting the cost"):
                yield gr.skip(), text
            yield page(run.result(), ""), ""
        except Refusal as error:
            yield page(None, f"No forecast: {error}"), ""
        except Stopped as stop:
            yield page(None, "No forecast: it was stopped."), str(stop)

    async def sweep(self, request: gr.Request, *given: Any) -> AsyncIterator[tuple[Any, str, str]]:
        """Yield (figure, its text, status): the index at several levels of the corruption."""
        visitor = str(request.session_hash)
        try:
            shift = shift_of(self.desk.visitors.path(visitor), *given)
            if not shift.corruption:
                raise Refusal("A sweep needs a corruption: choose one.")
            if shift in self.cases.shifts:
                yield *_swept(shift, self.cases.sweep(shift), self.cases.made), ""
                return
            with self.desk.workers.turn(visitor) as turn:
                async for found in self._levels(turn, visitor, shift):
                    yield found
        except Refusal as error:
            yield None, pages.refusal(self.desk.visitors.public(visitor, str(error))), ""
        except Stopped as stop:
            yield gr.skip(), gr.skip(), status(str(stop))

    async def _levels(
        self, turn: Turn, visitor: str, shift: Shift
    ) -> AsyncIterator[tuple[Any, str, str]]:
        async for text in self.desk.checked(turn, visitor, [shift.model], _data_of(shift)):
            yield gr.skip(), gr.skip(), status(text)
        top = shift.corruption.partition(":")[2]
        found = []
        for number, share in enumerate(SWEEP, start=1):
            level = float(f"{share * float(top):.3g}")
            run = turn.start(jobs.estimate, shift.at(f"{level:g}"))
            async for text in run.progress(f"Level {number} of {len(SWEEP)}"):
                yield gr.skip(), gr.skip(), status(text)
            found.append((level, run.result()["resque_dist"]))
            figure, text_ = _swept(shift, found, "")
            yield (
                figure,
                self.desk.visitors.public(visitor, text_),
                status(f"Level {number} of {len(SWEEP)} done."),
            )
        yield gr.skip(), gr.skip(), ""

    async def preview(self, request: gr.Request, *given: Any) -> Any:
        """Return samples before and after, as HTML; nothing where others were asked for since."""
        visitor = str(request.session_hash)
        self.wanted[visitor] = given
        try:
            while turn := self.desk.workers.turns.get(f"{visitor} preview"):
                await turn.ended.wait()
            if self.wanted.get(visitor) is not given:
                return gr.skip()
            found = await self._preview(visitor, given)
            return found if self.wanted.get(visitor) is given else gr.skip()
        finally:
            if self.wanted.get(visitor) is given:
                del self.wanted[visitor]

    async def _preview(self, visitor: str, given: Sequence[Any]) -> str:
        try:
            shift = shift_of(self.desk.visitors.path(visitor), *given)
            data = shift.shifted or shift.original
            if data not in (DATA, self.desk.visitors.path(visitor)):
                return ""  # of the Hub's data only what is measured is fetched
            with self.desk.workers.turn(f"{visitor} preview") as turn:
                run = turn.start(jobs.samples, shift)
                async for _ in run.progress(""):
                    pass
                return self.samples(run.result(), shift.corruption)
        except Refusal as error:
            return pages.refusal(self.desk.visitors.public(visitor, str(error)))

    def samples(self, found: Sequence[dict[str, Any]], corruption: str) -> str:
        """Return one sample of each class as HTML."""
        shown = list({x["label"]: x for x in reversed(found)}.values())[::-1]
        return pages.render("samples.html", samples=shown, corruption=corruption)

    def restore(self, request: gr.Request) -> Any:
        """Return the inputs that a link names, and the answer where it is prepared."""
        query = dict(request.query_params)
        if query.get("tab") != "shift":
            return gr.skip()
        inputs = list(inputs_of(query))
        level = inputs[4]
        inputs[4] = level["value"]
        try:
            shift = shift_of("", *inputs)
            known = shift in self.cases.shifts
            answer = self.prepared(shift) if known else pages.render("ready.html")
        except Refusal as error:
            answer = pages.refusal(str(error))
        inputs[4] = gr.Slider(**level)
        return (*inputs, inputs[3], answer, "")


def _swept(
    shift: Shift, found: Sequence[tuple[float, dict[str, Any]]], note: str
) -> tuple[Any, str]:
    """Return (figure, its text)."""
    name = shift.corruption.partition(":")[0]
    levels = [shift.at(f"{level:g}") for level, _ in found]
    text = pages.render(
        "sweep.html",
        corruption=name,
        levels=found,
        note=note,
        command="\n".join(estimate_command(x) for x in levels),
        document=json.dumps([{"level": x, "resque_dist": score} for x, score in found], indent=2),
    )
    return gr.Plot(sweep_chart(name, found), visible=True), text


def _data_of(shift: Shift) -> list[str]:
    return [x for x in (shift.original, shift.shifted) if x]
