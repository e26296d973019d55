"""Apps as real processes, looked at by an installed browser.

`start_app` starts one for a module's tests, `visit` opens its pages. After each test `visit`
fails it where a page logged or raised an error, asked another host than the app's own, or where
the app wrote a traceback; `visit.allow(pattern)` admits what a test means to provoke.

The browser is never downloaded: RESQUE_BROWSER names one, else an installed one is taken. It
resolves no host name, so that a test that would reach for the network cannot.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
DESKTOP = (1280, 900)
PHONE = (390, 844)  # CSS pixels
READY_S = 90.0  # a cold start of the libraries on two busy cores
FOREIGN = "foreign connection:"
BAD_LOG = rf"Traceback \(most recent call last\)|{FOREIGN}"
HIDDEN_TABS = ".tab-container.visually-hidden"  # gradio's own, to measure tabs; 6.20 let Tab in
PATIENCE_MS = 20_000  # for one expectation on a page


# Runs in the app before all else: it may talk to this machine alone.
NO_STRANGERS = f"""
import sys

def watch(event, details):
    if event == "socket.getaddrinfo":
        host = details[0]
    elif event == "socket.connect" and isinstance(details[1], tuple):
        host = details[1][0]
    else:
        return
    if host not in (None, "", "127.0.0.1", "::1", "localhost", b"localhost"):
        print("{FOREIGN}", host, file=sys.stderr, flush=True)
        raise OSError("tests have no network")

sys.addaudithook(watch)
"""


def chromium() -> str | None:
    """Return the path of an installed browser, or None."""
    chosen = os.environ.get("RESQUE_BROWSER")
    return shutil.which(chosen) if chosen else next(filter(None, map(shutil.which, NAMES)), None)


@dataclass(frozen=True)
class App:
    """A process that serves pages at `url`; it writes what it says to `log`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Return all that it wrote to stdout and stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    def stop(self) -> None:
        """End it and what it started."""
        for signal_ in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, signal_)
                self.process.wait(timeout=10)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()


def start(file: str | Path, cwd: Path, folder: Path, **env: str) -> App:
    """Start `python FILE` and wait until it answers.

    Args:
        file: the script, relative to `cwd` or absolute.
        cwd: where it runs.
        folder: an empty folder for its log and for gradio's files.
        **env: further environment variables.

    Raises:
        AssertionError: where it ended, or did not answer in time; with its log.
    """
    port = _free_port()
    environment = os.environ | {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "GRADIO_ANALYTICS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        **env,
    }
    (folder / "sitecustomize.py").write_text(NO_STRANGERS)
    log = folder / "log.txt"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, str(file)],
            cwd=cwd, env=environment, stdout=sink, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    app = App(f"http://127.0.0.1:{port}", process, log)
    if not _answers(app):
        app.stop()
        raise AssertionError(f"{file} did not answer within {READY_S:.0f} s:\n{app.said()}")
    return app


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(app: App) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            with direct.open(app.url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:  # nobody listens yet
            pass
        try:
            app.process.wait(timeout=0.1)
            return False
        except subprocess.TimeoutExpired:
            continue
    return False


@dataclass
class Visit:
    """Opens pages of apps, each test in a browser context of its own, and keeps what went wrong."""

    context: BrowserContext
    allowed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    apps: dict[str, tuple[App, int]] = field(default_factory=dict)  # by host; log's size before

    def __call__(
        self, app: App, path: str = "/", *, size: tuple[int, int] = DESKTOP, dark: bool = False
    ) -> Page:
        """Open a page of an app, and wait until gradio, where it is gradio's, has drawn it.

        Args:
            app: the app.
            path: path and query.
            size: width and height, CSS pixels.
            dark: gradio's dark theme, and a visitor who prefers dark.
        """
        self.apps.setdefault(app.host, (app, len(app.said())))
        page = self.context.new_page()
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        self._listen(page, app.host)
        theme = f"{'&' if '?' in path else '?'}__theme={'dark' if dark else 'light'}"
        page.goto(app.url + path + theme)
        if page.evaluate("'gradio_config' in window"):
            page.locator(".gradio-container main .block").first.wait_for(state="attached")
            # Components come one by one, and take the focus away, until this is gone.
            page.get_by_text("Loading...", exact=True).wait_for(state="detached")
        return page

    def allow(self, pattern: str) -> None:
        """Admit errors in which this regular expression is found."""
        self.allowed.append(pattern)

    def troubles(self) -> list[str]:
        """Return what went wrong so far and was not allowed."""
        logs = [app.said()[before:] for app, before in self.apps.values()]
        found = self.errors + [f"the app's log:\n{x}" for x in logs if re.search(BAD_LOG, x)]
        return [x for x in found if not any(re.search(pattern, x) for pattern in self.allowed)]

    def _listen(self, page: Page, host: str) -> None:
        def note(kind: str, text: object) -> None:
            self.errors.append(f"{kind}: {text}")

        def asked(kind: str, url: str) -> None:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host:
                note(kind, url)

        page.on("pageerror", lambda error: note("page error", error))
        page.on("console", lambda x: note("console", x.text) if x.type == "error" else None)
        page.on("request", lambda request: asked("foreign request", request.url))
        page.on("websocket", lambda socket_: asked("foreign socket", socket_.url))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module's tests.

    Not for the session: while Playwright runs, this thread has a running asyncio loop, and other
    modules' tests could not call `asyncio.run`.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if path is None:
        pytest.skip(f"no browser: set RESQUE_BROWSER or install one of {', '.join(NAMES)}")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def start_app(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., App]]:
    """Start an app, `start_app(file, cwd=folder, **env)`; it stops after the module's tests."""
    if importlib.util.find_spec("gradio") is None:  # importing it would take seconds
        pytest.skip("gradio is not installed")
    apps: list[App] = []

    def starter(file: str | Path, *, cwd: Path, **env: str) -> App:
        apps.append(start(file, cwd, tmp_path_factory.mktemp("app"), **env))
        return apps[-1]

    yield starter
    for app in apps:
        app.stop()
    strangers = [x for app in apps for x in app.said().splitlines() if FOREIGN in x]
    assert not strangers, "\n".join(strangers)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open pages, `visit(app, path, size=PHONE, dark=True)`; at the end nothing went wrong."""
    context = browser.new_context(accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    found = Visit(context)
    yield found
    context.close()
    troubles = found.troubles()
    assert not troubles, "\n".join(troubles)


def settle(page: Page) -> None:
    """Wait until nothing fades or slides any more; what turns for ever is left turning."""
    page.evaluate(
        """() => Promise.all(document.getAnimations()
            .filter(x => x.effect.getComputedTiming().endTime !== Infinity)
            .map(x => x.finished.catch(() => null)))"""
    )


def serious_violations(page: Page, within: str = "") -> list[str]:
    """Return what axe-core finds serious or critical: rule, what is wrong, where.

    Args:
        page: the page as it stands.
        within: a CSS selector that limits the search.
    """
    from axe_playwright_python.base import AXE_SCRIPT

    settle(page)
    page.evaluate(AXE_SCRIPT)
    context = {"include": [within or "html"], "exclude": [HIDDEN_TABS]}
    answer = page.evaluate("where => axe.run(where, {resultTypes: ['violations']})", context)
    return [
        f"{found['impact']} {found['id']}: {_where(node)}"
        for found in answer["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def _where(node: dict[str, Any]) -> str:
    said = " ".join(str(node.get("failureSummary", "")).split())
    return f"{' '.join(map(str, node['target']))}\n  {node['html'][:200]}\n  {said}"


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def screenshot(page: Page, name: str, *, whole: bool = True) -> Path:
    """Write NAME.png into the folder that RESQUE_SCREENSHOTS names, else beside pytest's files.

    Args:
        page: the page.
        name: the file's name without its ending.
        whole: the whole page, not only what the window shows.
    """
    folder = Path(os.environ.get("RESQUE_SCREENSHOTS") or Path(tempfile.gettempdir(), "resque"))
    folder.mkdir(parents=True, exist_ok=True)
    settle(page)
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path
