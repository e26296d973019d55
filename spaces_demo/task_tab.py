"""The tab "New task": which models lie closest to new classes, and what retraining them costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

import jobs
import pages
from cases import Cases
from charts import map_chart
from desk import Desk, status
from jobs import Task
from task_inputs import inputs_of, query_of, task_of
from task_page import short_name, task_page
from workers import Refusal, Stopped, Turn

Maps = dict[str, dict[str, Any]]  # by model


@dataclass
class TaskTab:
    """What the tab's events do.

    Attributes:
        cases: prepared answers.
        desk: runs everything else.
    """

    cases: Cases
    desk: Desk

    async def measure(
        self, request: gr.Request, *given: Any
    ) -> AsyncIterator[tuple[Any, Any, Any, str]]:
        """Yield (answer, choice of maps, maps, status) until the answer is whole."""
        visitor = str(request.session_hash)
        try:
            task = task_of(self.desk.visitors.path(visitor), *given)
            if task in self.cases.tasks:
                yield *self.prepared(task), ""
                return
            with self.desk.workers.turn(visitor) as turn:
                async for found in self._run(turn, visitor, task):
                    yield found
        except Refusal as error:
            said = pages.refusal(self.desk.visitors.public(visitor, str(error)))
            yield said, gr.skip(), gr.skip(), ""
        except Stopped as stop:
            yield gr.skip(), gr.skip(), gr.skip(), status(str(stop))

    def page(self, task: Task) -> str:
        """Return the answer of a prepared case."""
        ranking = self.cases.tasks[task]["ranking"]
        return task_page(task, ranking, note=self.cases.made, link=query_of(task))

    def prepared(self, task: Task) -> tuple[str, Any, Maps]:
        """Return (answer, choice of maps, maps) of a prepared case."""
        maps = self.cases.tasks[task]["maps"]
        return self.page(task), _choice(maps), maps

    async def _run(
        self, turn: Turn, visitor: str, task: Task
    ) -> AsyncIterator[tuple[Any, Any, Any, str]]:
        kept = gr.skip(), gr.skip(), gr.skip()
        async for text in self.desk.checked(turn, visitor, task.models, [task.dataset]):
            yield *kept, status(text)
        run = turn.start(jobs.rank, task)
        async for text in run.progress(f"Measuring {len(task.models)} models"):
            yield *kept, status(text)
        ranking = run.result()
        page = task_page(
            task,
            ranking,
            link=query_of(task),
            public=lambda text: self.desk.visitors.public(visitor, text),
        )
        maps: Maps = {}
        yield page, gr.skip(), gr.skip(), status("Drawing the maps…")
        for model in [x["model"] for x in ranking["candidates"] if not x["error"]]:
            run = turn.start(jobs.embed, model, task)
            async for text in run.progress(f"Drawing the map of {short_name(model)}"):
                yield page, gr.skip(), gr.skip(), status(text)
            maps[model] = run.result()
        yield page, _choice(maps), maps, ""

    def restore(self, request: gr.Request) -> Any:
        """Return the inputs that a link names, and the answer where it is prepared."""
        query = dict(request.query_params)
        if query.get("tab") != "task":
            return gr.skip()
        inputs = inputs_of(query)
        try:
            task = task_of("", *inputs)
        except Refusal as error:
            return (*inputs, pages.refusal(str(error)), _choice({}), {})
        if task in self.cases.tasks:
            return (*inputs, *self.prepared(task))
        return (*inputs, pages.render("ready.html"), _choice({}), {})


def draw(model: str | None, maps: Maps | None) -> Any:
    """Return the figure of a model's map, hidden where there is none."""
    return gr.Plot(**plot_of(model, maps))


def plot_of(model: str | None, maps: Maps | None) -> dict[str, Any]:
    """Return value and visibility of the figure of a model's map."""
    if not maps or model not in maps:
        return {"visible": False}
    found = maps[model]
    title = f"What the model sees ({found['method']}, {len(found['points'])} samples)"
    return {"value": map_chart(found["points"], found["labels"], title), "visible": True}


def choice_of(maps: Maps) -> dict[str, Any]:
    """Return choices, value and visibility of the choice of a map."""
    names = [(short_name(model), model) for model in maps]
    return {"choices": names, "value": next(iter(maps), None), "visible": bool(maps)}


def _choice(maps: Maps) -> Any:
    return gr.Radio(**choice_of(maps))
