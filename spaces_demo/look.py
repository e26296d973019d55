"""The page's theme: gradio's own, with system fonts, one accent and readable hints."""

from __future__ import annotations

from typing import Any

import gradio as gr

ACCENT, ACCENT_DARK = "#2f6f8f", "#7cc0de"  # as in style.css
SOFT, SOFT_DARK = "#55606a", "#a9b3bb"


def theme() -> Any:
    """Return the theme. Fonts are the visitor's: none is fetched."""
    base = gr.themes.Default(
        neutral_hue="slate",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )
    return base.set(
        body_text_color_subdued=SOFT,
        body_text_color_subdued_dark=SOFT_DARK,
        block_info_text_color=SOFT,
        block_info_text_color_dark=SOFT_DARK,
        button_primary_background_fill=ACCENT,
        button_primary_background_fill_dark=ACCENT,
        button_primary_background_fill_hover="#255a75",
        button_primary_background_fill_hover_dark="#255a75",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        slider_color=ACCENT,
        slider_color_dark=ACCENT_DARK,
        color_accent=ACCENT,
        checkbox_background_color_selected=ACCENT,
        checkbox_background_color_selected_dark=ACCENT,
        checkbox_border_color_selected=ACCENT,
        checkbox_border_color_selected_dark=ACCENT,
        input_border_color_focus=ACCENT,
        input_border_color_focus_dark=ACCENT_DARK,
        input_placeholder_color=SOFT,
        input_placeholder_color_dark=SOFT_DARK,
    )
