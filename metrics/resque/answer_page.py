"""The metric's answer, or what is wrong with the input, as HTML and as JSON."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from metric_answers import Answer, measure

SHOWN_CLASSES = 12
MEANINGS = {
    "dist": "The index is the angle between each class's representations before and after, over "
    "π. Interval: where the index of infinitely many samples lies. Noise floor: what two samples "
    "of the same data would give. Sampling makes the index too large, so that it may lie above its "
    "interval. Debiased: without that. p: the probability of so large an index with no shift.",
    "task": "The index is 1 − the adjusted Rand index of clusters and classes. Interval: where "
    "the index of infinitely many samples lies.",
}


def in_words(answer: Answer) -> str:
    """Return what the answer says, in a sentence or two."""
    numbers = answer.result
    if answer.config == "task":
        return (
            "Clusters of the model's representations agree with the new classes by an adjusted "
            f"Rand index of {1 - numbers['resque_task']:.3f}: 1 would be a perfect match, 0 "
            "chance. The better they agree, the less there is to retrain."
        )
    index, floor, p = numbers["resque_dist"], numbers["noise_floor"], numbers["p_value"]
    if not floor or p is None:
        return (
            "There is no noise floor to compare with: it takes at least 5 different samples of "
            "each class on both sides."
        )
    if p >= 0.05:
        return (
            f"No shift can be told from noise: two samples of the same data would give {floor:.3f} "
            f"on average at this size, and as much as here with a probability of {p:.2f}."
        )
    return (
        f"This shift is {index / floor:.1f} times the noise floor, which two samples of the same "
        "data would give at this size. The nearer the index to 1, the more there is to retrain."
    )


def draw(answer: Answer) -> str:
    """Return the answer as HTML: sentence, scale, numbers, classes, warnings."""
    numbers = answer.result
    name = f"resque_{answer.config}"
    top = 1.5 if answer.config == "task" else 1.0
    parts = [
        f'<p class="sentence">{escape(in_words(answer))}</p>',
        _scale(numbers[name], numbers["interval"], numbers["noise_floor"], top),
        _numbers_list(answer),
        f'<p class="hint">{MEANINGS[answer.config]}</p>',
        _classes(numbers.get("per_class", {})),
    ]
    if answer.notes:
        items = "".join(f"<li>{escape(note)}.</li>" for note in answer.notes)
        parts.append(f'<ul class="notes" aria-label="Warnings">{items}</ul>')
    return f'<section class="answer" aria-label="Answer">{"".join(parts)}</section>'


def _scale(index: float, interval: list[float | None], floor: float | None, top: float) -> str:
    low, high = (min(max((x or 0.0) / top, 0), 1) * 100 for x in interval)
    tick = f'<i class="floor" style="left:{floor / top * 100:.2f}%"></i>' if floor else ""
    ends = ("0, no shift", "1, opposite") if top == 1 else ("0, perfect match", "1.5")
    return (
        f'<div class="scale" aria-hidden="true"><div class="track">'
        f'<i class="band" style="left:{low:.2f}%;width:{max(high - low, 0.4):.2f}%"></i>{tick}'
        f'<i class="dot" style="left:{index / top * 100:.2f}%"></i></div>'
        f'<div class="ends"><span>{ends[0]}</span><span>{ends[1]}</span></div></div>'
    )


def _numbers_list(answer: Answer) -> str:
    numbers = answer.result
    low, high = (_digits(x) for x in numbers["interval"])
    rows = [
        (_mark("dot"), f"RESQUE_{answer.config}", _digits(numbers[f"resque_{answer.config}"])),
        (_mark("band"), "95 % interval", f"{low} to {high}"),
    ]
    if answer.config == "dist":
        p = numbers["p_value"]
        rows += [
            (_mark("floor"), "noise floor", _digits(numbers["noise_floor"])),
            ("", "debiased", _digits(numbers["debiased"])),
            ("", "p, if nothing shifted", "&lt; 0.001" if p and p < 0.001 else _digits(p)),
        ]
    cells = "".join(
        f"<div><dt>{mark}{name}</dt><dd>{value}</dd></div>" for mark, name, value in rows
    )
    return f'<dl class="numbers">{cells}</dl>'


def _mark(kind: str) -> str:
    return f'<i class="{kind}" aria-hidden="true"></i>'


def _digits(x: float | None) -> str:
    return "none" if x is None else f"{x:.3f}"


def _classes(per_class: dict[str, float]) -> str:
    if not per_class:
        return ""
    ordered = sorted(per_class.items(), key=lambda pair: -pair[1])
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_digits(x)}</td>'
        f'<td class="bar" aria-hidden="true"><i style="width:{x * 100:.2f}%"></i></td></tr>'
        for name, x in ordered[:SHOWN_CLASSES]
    )
    more = len(ordered) - SHOWN_CLASSES
    rest = f"<p>{more} more classes are in the JSON.</p>" if more > 0 else ""
    head = "<caption>Index of each class, largest first</caption>"
    return f'<table class="classes">{head}<tbody>{rows}</tbody></table>{rest}'


def tell(problem: str) -> str:
    """Return a problem as HTML."""
    return f'<section class="answer problem" role="alert"><p>{escape(problem)}</p></section>'


def answered(*inputs: Any) -> tuple[str, str]:
    """Return the answer as HTML and as Markdown of JSON, or what is wrong with the input."""
    try:
        answer = measure(*inputs)
    except (ValueError, TypeError) as error:
        return tell(str(error)), ""
    return draw(answer), f"```json\n{json.dumps(answer.result, indent=2)}\n```"
