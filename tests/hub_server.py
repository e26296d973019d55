"""A Hub on this machine, over real sockets, its repositories in memory.

The clients of huggingface_hub, transformers, datasets and evaluate run against it unmodified, with
HF_ENDPOINT. It knows repositories with their history, branches and pull requests; private and
gated ones; tokens that read or write; and faults on demand (`hub_faults`).

Where it deviates from the documented Hub:
- Ids have a namespace; there are no renamed repositories, so nothing redirects.
- Large files (LFS by their suffix, not by .gitattributes) are served from the same address, without
  a redirect to another host; there is no Xet (clients: HF_HUB_DISABLE_XET=1) and no upload in
  several parts.
- Lists come in one page, without Link or RateLimit headers; commits carry one date.
- validate-yaml knows the rules that huggingface_hub and the documentation state (front matter is
  YAML, model-index, licence, colours and SDK of a Space), not the Hub's lists of languages and
  licences.
- A gated repository refuses its files, not its description; nobody can ask for access.
- No likes, settings, webhooks, collections, buckets, and no data-set viewer (datasets asks its
  server only on huggingface.co).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_faults import Fault, Faults, reset
from hub_repositories import Account, Refused, Repository
from hub_routes import Request

CHUNK = 7  # bytes of a trickle


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        address: for HF_ENDPOINT.
        repositories: by `models/org/name`.
        accounts: by token. "hf_secret" writes to the namespaces "someone" and "org".
        blobs: uploaded large files by SHA-256.
        faults: which requests fail.
        requests: (method, path) of each request, in order.
        tokens: every token that came with a request.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    requests: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    lock: Any = field(default_factory=threading.RLock)
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.accounts["hf_secret"] = Account("someone", "write", ("org",))

    def repository(self, name: str) -> Repository:
        """Return a repository (`models/org/name`), made where it is missing."""
        with self.lock:
            if name not in self.repositories:
                self.repositories[name] = Repository(name)
            return self.repositories[name]

    def put(self, name: str, path: str, content: bytes) -> None:
        """Commit a file to a repository (`models/org/name`), made where it is missing."""
        with self.lock:
            self.repository(name).commit({path: content}, f"Add {path}")

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return the files of a repository by path; none where it is missing."""
        with self.lock:
            found = self.repositories.get(name)
            return dict(found.at(revision).files) if found else {}

    def sha(self, name: str, revision: str = "main") -> str:
        """Return the repository's newest commit."""
        return self.repositories[name].at(revision).oid

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """Return the environment of a process that uses this Hub, with its caches in `home`."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        own = {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return kept | own | ({"HF_TOKEN": token} if token else {})


@contextmanager
def inside(hub: Hub, home: Path) -> Iterator[Hub]:
    """Let huggingface_hub and datasets of this process use the Hub, with their caches in `home`.

    They read the environment at import, so their constants are changed, and restored after.
    """
    from unittest.mock import patch

    import datasets.config
    from huggingface_hub import constants, hf_api

    changes = {
        constants: {
            "ENDPOINT": hub.address,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_HUB_DISABLE_XET": True,
            "HF_TOKEN_PATH": str(home / "token"),
        },
        hf_api.api: {"endpoint": hub.address},  # behind huggingface_hub.create_repo and its like
        datasets.config: {
            "HF_ENDPOINT": hub.address,
            "HUB_DATASETS_URL": hub.address + "/datasets/{repo_id}/resolve/{revision}/{path}",
            "HF_HUB_OFFLINE": False,
            "HF_DATASETS_CACHE": home / "datasets",
        },
    }
    with contextlib.ExitStack() as stack:
        for module, values in changes.items():
            for name, value in values.items():
                stack.enter_context(patch.object(module, name, value))
        stack.callback(_forget_clients)
        yield hub


def _forget_clients() -> None:
    from huggingface_hub.utils import close_session

    close_session()
    kept = sys.modules.get("transformers.utils.hub")
    if hasattr(kept, "_hf_api"):  # a client with the address of its first use
        kept._hf_api = None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body go together: 40 ms less a request
    fault: Fault | None
    body: bytes

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client may have gone
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def do_HEAD(self) -> None:
        self._serve()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD

    def _serve(self) -> None:
        url = urlsplit(self.path)
        self.body = self._body()
        self.hub.requests.append((self.command, unquote(url.path)))
        self.fault = self.hub.faults.next(f"{self.command} {unquote(self.path)}")
        if self._fails():
            return
        try:
            with self.hub.lock:
                answer = self._request(url.path, parse_qs(url.query)).answer()
        except Refused as refused:
            headers = {"X-Error-Message": refused.message}
            headers |= {"X-Error-Code": refused.code} if refused.code else {}
            headers |= {"X-Repo-Commit": refused.commit} if refused.commit else {}
            text = json.dumps({"error": refused.message}).encode()
            answer = (refused.status, text, headers)
        self._send(*answer)

    def _fails(self) -> bool:
        """Answer with the fault that comes in place of any work, if there is one."""
        kind = self.fault.kind if self.fault else ""
        if kind == "silence":
            self.hub.closing.wait()
            self.close_connection = True
        elif kind == "502":
            self._send(502, b"<html><h1>502 Bad Gateway</h1></html>", {"Content-Type": "text/html"})
        elif kind == "412":
            message = "A commit has happened since. Please refresh and try again."
            self._send(412, b'{"error": "stale"}', {"X-Error-Message": message})
        elif kind in ("429", "500"):
            after = {"Retry-After": str(self.fault.retry_after)} if kind == "429" else {}
            self._send(int(kind), b'{"error": "later"}', after)
        else:
            return False
        return True

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _request(self, path: str, query: dict[str, list[str]]) -> Request:
        wrong = self.fault is not None and self.fault.kind == "etag"
        asked = self.headers.get("Range", "")
        return Request(
            self.hub, self.command, path, query, self.body, asked, self._account(), wrong
        )

    def _account(self) -> Account | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            return None
        self.hub.tokens.add(token)
        if token not in self.hub.accounts:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return self.hub.accounts[token]

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        kind = self.fault.kind if self.fault else ""
        empty = self.command == "HEAD" or not content
        if kind == "lost" or (kind == "reset" and empty):
            self._end(reset_it=True)
            return
        with contextlib.suppress(OSError):  # the client may have gone
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value.encode("ascii", "replace").decode())
            self.end_headers()
            if self.command != "HEAD":
                self._write(content, kind)

    def _write(self, content: bytes, kind: str) -> None:
        if kind in ("reset", "truncate"):
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self._end(reset_it=kind == "reset")
        elif kind == "trickle" and self.fault:
            for start in range(0, len(content), CHUNK):
                self.wfile.write(content[start : start + CHUNK])
                self.wfile.flush()
                if self.hub.closing.wait(self.fault.pause):
                    break
        else:
            self.wfile.write(content)

    def _end(self, reset_it: bool) -> None:
        self.close_connection = True
        if reset_it:
            reset(self.connection)


@contextmanager
def serve() -> Iterator[Hub]:
    """Run the server on a free port of this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
