"""Inputs that two tabs share: where a model would be retrained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gradio as gr

from jobs import Machine
from limits import MAX_SAMPLES, MIN_SAMPLES
from workers import Refusal

WORLD = "The world's average"
PROBE = "This page's computer: a probe of some steps"
NUMBERS = "My own numbers"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}  # of an event


def machine_controls() -> list[Any]:
    """Make the inputs: country, kind of rates, seconds a step, watts, price an hour."""
    with gr.Accordion("Where it would be retrained", open=False):
        country = gr.Dropdown(
            [(WORLD, ""), *_countries()], value="", label="Country", info="for the grid's carbon"
        )
        rates = gr.Radio([PROBE, NUMBERS], value=PROBE, label="Cost of a training step")
        with gr.Row(visible=False) as own:
            seconds = gr.Number(0.1, label="Seconds a step", minimum=0)
            watts = gr.Number(100, label="Watts while it trains", minimum=0)
        price = gr.Number(
            None, label="Price per hour", info="of the machine, in any currency", minimum=0
        )
    rates.change(
        lambda kind: gr.Row(visible=kind == NUMBERS),
        rates,
        own,
        **QUIET,
    )
    return [country, rates, seconds, watts, price]


def upload_buttons(name: str) -> list[Any]:
    """Make the buttons that take a visitor's file or folder.

    Args:
        name: start of their ids on the page.
    """
    with gr.Row():
        file = gr.UploadButton(
            "Upload a zip of images, or a csv or parquet of texts",
            size="sm",
            min_width=160,
            scale=2,
            elem_id=f"{name}-file",
        )
        folder = gr.UploadButton(
            "Upload a folder of images",
            file_count="directory",
            size="sm",
            min_width=120,
            elem_id=f"{name}-folder",
        )
    gr.HTML(
        '<p class="hint">Images lie in folders by class. Up to 20 MB; kept until you leave.</p>'
    )
    return [file, folder]


def machine_of(
    country: str, rates: str, seconds: float | None, watts: float | None, price: float | None
) -> Machine:
    """Return the machine that the inputs describe.

    Raises:
        Refusal: where a number is missing or below 0.
    """
    if price is not None and not price >= 0:
        raise Refusal(f"The price per hour is {price:g}; expected 0 or more, or nothing.")
    if rates != NUMBERS:
        return Machine(country, price)
    if not seconds or not watts or not (seconds > 0 and watts > 0):
        raise Refusal("Give seconds a step and watts above 0, or take the probe.")
    return Machine(country, price, seconds, watts)


def machine_query(machine: Machine) -> dict[str, Any]:
    """Return a machine as a part of a link's query."""
    return {
        "country": machine.country,
        "price": machine.price_per_hour,
        "seconds": machine.seconds_per_step,
        "watts": machine.watts,
    }


def machine_inputs(query: Mapping[str, str]) -> tuple[Any, ...]:
    """Return the inputs of `machine_controls` that a link names, in order."""
    return (
        query.get("country", ""),
        NUMBERS if "watts" in query else PROBE,
        number(query.get("seconds", ""), 0.1),
        number(query.get("watts", ""), 100),
        number(query.get("price", ""), None),
    )


def check_samples(samples: float | None) -> int:
    """Return how many samples an input asks for.

    Raises:
        Refusal: where they are missing or out of range.
    """
    if not samples or not MIN_SAMPLES <= samples <= MAX_SAMPLES:
        raise Refusal(f"Samples are {samples or 0:g}; expected {MIN_SAMPLES} to {MAX_SAMPLES}.")
    return int(samples)


def check_files(files: str) -> str:
    """Return the folder of the visitor's files.

    Raises:
        Refusal: where there are none.
    """
    if not files:
        raise Refusal("Upload your files first: the button is below the data.")
    return files


def number(
    text: str, otherwise: float | None, low: float = 0.0, high: float = math.inf
) -> float | None:
    """Return a link's number within its range, or another where it is none.

    >>> number("0.5", None), number("inf", 1), number("7", 1, high=5)
    (0.5, 1, 5)
    """
    try:
        found = float(text)
    except ValueError:
        return otherwise
    return min(max(found, low), high) if math.isfinite(found) else otherwise


def _countries() -> list[tuple[str, str]]:
    """Return (name, ISO 3166 code) of the countries whose grid codecarbon knows."""
    from codecarbon.input import DataSource

    known = DataSource().get_global_energy_mix_data()
    return sorted((x["country_name"], code) for code, x in known.items())
