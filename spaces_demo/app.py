"""The demo: what a shift or a new task costs a model, for people without a terminal.

python spaces_demo/app.py        obeys GRADIO_SERVER_NAME and GRADIO_SERVER_PORT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))  # workers start from another folder


def leave_tokens() -> None:
    """Forget the Space's own token, and report no visit.

    What visitors name is read as anybody may read it.
    """
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        os.environ.pop(name, None)
    for name in ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_RUN_HISTORY", "HF_UPDATE_DOWNLOAD_COUNTS"):
        os.environ[name] = "False"


def build(workers: Any, visitors: Any) -> Any:
    """Return the page."""
    import gradio as gr

    import shift_view
    import studies_tab
    import studies_text
    import task_view
    from cases import read_cases
    from desk import Desk, chosen_tab
    from shift_tab import ShiftTab
    from task_tab import TaskTab

    cases, desk = read_cases(), Desk(workers, visitors)
    # Whatever gradio keeps of uploads is removed within an hour, ours when the visitor leaves.
    with gr.Blocks(title="RESQUE", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML((FOLDER / "templates" / "head.html").read_text(encoding="utf-8"))
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Shift", id="shift"):
                shift_view.build(ShiftTab(cases, desk), page)
            with gr.Tab("New task", id="task"):
                task_view.build(TaskTab(cases, desk), page)
            with gr.Tab("Does it hold?", id=studies_text.TAB):
                studies_tab.build()
        page.load(chosen_tab, None, tabs, show_progress="hidden", api_visibility="private")
        page.unload(visitors.leave)
    return page.queue(default_concurrency_limit=None)  # the workers' line is the queue


def main() -> None:
    """Serve the page until it is stopped."""
    leave_tokens()
    import jobs
    import look
    from limits import MAX_UPLOAD_BYTES
    from visitors import Visitors
    from workers import Workers

    workers, visitors = Workers(max(1, min(2, os.cpu_count() or 1))), Visitors.with_own_cache()
    workers.warm(jobs.warm, workers.count)
    workers.warm(jobs.warm_map, 1)  # the others find on disk what it compiled
    try:
        build(workers, visitors).launch(
            theme=look.theme(),
            css_paths=sorted(FOLDER.glob("*.css")),
            head=(FOLDER / "page.html").read_text(encoding="utf-8"),
            max_file_size=MAX_UPLOAD_BYTES,
            show_error=False,
            footer_links=[],
            state_session_capacity=200,
            ssr_mode=False,
            quiet=True,
        )
    finally:
        workers.stop()
        visitors.close()


if __name__ == "__main__":
    main()
