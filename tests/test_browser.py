"""The watch over pages sees what goes wrong on them."""

from __future__ import annotations

import time

import pytest

from browser import FOREIGN, PHONE, Visit, overflow, screenshot, serious_violations, start

# Serves PAGE without gradio: it starts at once.
SERVER = """
import http.server, os, pathlib, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/broken":
            try:
                raise RuntimeError("on purpose")
            except RuntimeError:
                import traceback; traceback.print_exc()
        body = pathlib.Path("page.html").read_bytes()
        self.send_response(404 if path == "/lacking.js" else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)

address = "127.0.0.1", int(os.environ["GRADIO_SERVER_PORT"])
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""
REACHES_OUT = """
import urllib.request
try:
    urllib.request.urlopen("http://example.org")
except OSError:
    pass
"""
PAGE = """<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,">
<style>body { background: white; margin: 0; } @media (prefers-color-scheme: dark)
{ body { background: black; color: white; } }</style></head>
<body><main><h1>A page</h1></main></body></html>"""


@pytest.fixture(scope="module")
def app(start_app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "serve.py").write_text(SERVER)
    (folder / "page.html").write_text(PAGE)
    return start_app("serve.py", cwd=folder)


@pytest.fixture
def watched(browser):
    """A visit whose end asserts nothing."""
    context = browser.new_context()
    yield Visit(context)
    context.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("console.error('red')", "console: red"),
        ("setTimeout(() => { throw new Error('thrown') })", "page error: thrown"),
        ("fetch('https://fonts.example.org/a.woff').catch(x => x)", "foreign request: https://f"),
        ("new WebSocket('wss://example.org/')", "wss://example.org/"),
        ("fetch('/lacking.js')", "404"),
    ],
)
def test_what_goes_wrong_on_a_page_is_seen(app, watched, code, words):
    page = watched(app)
    assert watched.troubles() == []
    page.evaluate(code + "; 0")
    deadline = time.monotonic() + 5
    while not watched.troubles() and time.monotonic() < deadline:
        page.wait_for_timeout(20)  # lets events arrive
    assert any(words in x for x in watched.troubles()), watched.troubles()


def test_a_traceback_of_the_app_is_seen_and_can_be_allowed(app, watched):
    watched(app, "/broken")
    assert "on purpose" in "\n".join(watched.troubles())
    watched.allow("on purpose")
    assert watched.troubles() == []


def test_an_app_that_reaches_out_is_seen(browser, tmp_path):
    (tmp_path / "serve.py").write_text(REACHES_OUT + SERVER)
    (tmp_path / "page.html").write_text(PAGE)
    app = start("serve.py", tmp_path, tmp_path)
    app.stop()
    assert f"{FOREIGN} example.org" in app.said()


def test_what_is_hard_to_read_is_a_serious_violation(app, visit):
    page = visit(app)
    assert serious_violations(page) == []
    page.evaluate("document.querySelector('h1').style.color = '#ccc'")
    assert "serious color-contrast" in serious_violations(page)[0]


def test_themes_sizes_and_pictures(app, visit, tmp_path, monkeypatch):
    monkeypatch.setenv("RESQUE_SCREENSHOTS", str(tmp_path / "shots"))
    page = visit(app, size=PHONE, dark=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(0, 0, 0)"
    assert overflow(page) == 0
    page.evaluate("document.body.style.width = '500px'")
    assert overflow(page) == 110
    assert screenshot(page, "page").read_bytes().startswith(b"\x89PNG")


def test_an_app_that_ends_at_once_says_why(start_app, tmp_path):
    (tmp_path / "ends.py").write_text("raise SystemExit('no such thing')")
    with pytest.raises(AssertionError, match="no such thing"):
        start_app("ends.py", cwd=tmp_path)
