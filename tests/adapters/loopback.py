"""A server on loopback whose application each test brings; or its application without any server."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import uvicorn

from adapters.emulation import listen


class LoopbackServer:
    """uvicorn in a thread; what it serves is whatever was mounted last."""

    def __init__(self) -> None:
        self.app: Any = None
        listener = listen()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._route,
            interface="asgi3",
            log_level="critical",
            lifespan="off",
            access_log=False,
            date_header=False,
            log_config=None,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve(sockets=[listener])), daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline, "the loopback server did not start"
            time.sleep(0.005)

    async def _route(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)


def request_of(app: Any, method: str, path: str, body: bytes, address: str) -> tuple[int, bytes]:
    """One request to an application without a socket, so that it can seem to come from anywhere."""
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": (address, 40_000),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    # The emulator waits for nothing, so no event loop is needed, and a test that runs one may call this too.
    coroutine = app(scope, receive, send)
    try:
        coroutine.send(None)
    except StopIteration:
        texts = [message.get("body", b"") for message in answers if message["type"] == "http.response.body"]
        return answers[0]["status"], b"".join(texts)
    except Exception:
        return 500, b""
    coroutine.close()
    raise AssertionError("the application waited for something")
