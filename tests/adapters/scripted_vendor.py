"""A vendor that says what a test wants it to say, and remembers every byte."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One scripted answer."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    stalls: bool = False
    """Take the request and say nothing until the test is over."""
    cuts: bool = False
    """Close the connection after half of the body that was announced."""

    @classmethod
    def of(cls, content: Any, status: int = 200, **headers: str) -> Reply:
        return cls(json.dumps(content).encode(), status, headers)


@dataclass(frozen=True)
class Call:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    text: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.text)


class ScriptedVendor:
    """A real HTTP server on loopback without opinions."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.token = "11111111-2222-3333-4444-555555555555"
        self._script: dict[str, list[Reply]] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        vendor = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                # A client that gave up waiting is part of the tests, not an error of the server.
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def _serve(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                reply = vendor._take(Call(self.command, self.path, dict(self.headers), text))
                if reply.stalls:
                    vendor._over.wait(10)
                    return
                self.send_response_only(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cuts else reply.body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def on(self, name: str, *replies: Any) -> None:
        """Answer calls of a name with these in turn, the last one for ever. Plain data becomes a JSON answer."""
        self._script[name] = [reply if isinstance(reply, Reply) else Reply.of(reply) for reply in replies]

    def count(self, name: str) -> int:
        return sum(call.name == name for call in self.calls)

    def bodies(self, name: str) -> list[dict[str, Any]]:
        return [call.body for call in self.calls if call.name == name]

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def _take(self, call: Call) -> Reply:
        with self._lock:
            self.calls.append(call)
            script = self._script.get(call.name)
            if script:
                return script.pop(0) if len(script) > 1 else script[0]
        if call.name == "Login":
            return Reply.of({"ReturnCode": 0, "userType": "customer", "Token": self.token})
        return Reply.of({"ReturnCode": 0, "Result": None})
