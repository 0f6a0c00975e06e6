"""Builders shared by the adapter tests: a served emulator, a scripted vendor, clocks and accounts.

Nothing here imports another test module (pytest runs with `--import-mode=importlib`): what tests share comes as a
fixture that builds it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import http.server
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pandas as pd
import pytest
import stamina
import uvicorn
from Crypto.Cipher import AES
from pydantic import SecretStr

from adapters.alphaess.adapter import AlphaEssAdapter
from adapters.alphaess.client import AlphaEssClient, Settings
from adapters.alphaess.emulated_system import System
from adapters.alphaess.emulator import CADENCES_S, Account, AlphaEssCloud
from adapters.contract import Device
from adapters.emulation import EmulatedClock, EmulatedSite, EventLog, FaultBox, Faults, House, listen
from engine import Battery
from engine.plant import Plant

# The same examples each time: a red run can be run again.
hypothesis.settings.register_profile("adapters", derandomize=True, deadline=None)
hypothesis.settings.load_profile("adapters")

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
SERIAL_NUMBER = "AL0000000000001"
API_ACCOUNT = "apiacct01"
API_SECRET = "0123456789abcdef0123456789abcdef"
USERNAME = "installer01"
PASSWORD = "pass1234"


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    """Retries happen as often as in production, without the pauses between them."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Loading the certificates of the world takes each new client 20 ms, and nothing here speaks TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("no-certificates")))
        yield


@pytest.fixture(autouse=True)
def _quiet_libraries() -> Iterator[None]:
    """What a test changes about log levels must not outlive it."""
    levels = {name: logging.getLogger(name).level for name in ("", "httpx", "httpcore", "stamina", "uvicorn")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def independent_signature(fields: Mapping[str, Any], secret: str) -> str:
    """Section 10 of the document, written without looking at the product: hashlib, and a sort over upper case."""
    pairs = [(key, value) for key, value in fields.items() if key != "sign"] + [("secretkey", secret)]
    text = "".join(f"{key}={value}" for key, value in sorted(pairs, key=lambda pair: pair[0].upper()))
    return hashlib.md5(text.encode("utf-8")).hexdigest()


def independent_decryption(text: str, key_seed: str) -> str:
    """Section 9 backwards: AES-256-CBC under SHA-256 and MD5 of the seed, PKCS#7 taken off by hand."""
    key, vector = hashlib.sha256(key_seed.encode()).digest(), hashlib.md5(key_seed.encode()).digest()
    padded = AES.new(key, AES.MODE_CBC, iv=vector).decrypt(base64.b64decode(text, validate=True))
    length = padded[-1]
    assert 1 <= length <= 16
    assert padded[-length:] == bytes([length]) * length
    return padded[:-length].decode()


@pytest.fixture(scope="session")
def signature() -> Callable[[Mapping[str, Any], str], str]:
    return independent_signature


@pytest.fixture(scope="session")
def decryption() -> Callable[[str, str], str]:
    return independent_decryption


# --- accounts, clocks, devices ---


class ManualClock:
    """A client's clock that stands until it is moved."""

    def __init__(self, time: dt.datetime = START) -> None:
        self.time = time

    def __call__(self) -> dt.datetime:
        return self.time


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def start() -> dt.datetime:
    return START


@pytest.fixture(scope="session")
def settings() -> Callable[..., Settings]:
    """Settings of the one account that emulator and scripted vendor know."""

    def build(**changes: Any) -> Settings:
        account = {"api_account": API_ACCOUNT, "api_secret": API_SECRET, "username": USERNAME, "password": PASSWORD}
        return Settings.model_validate({**account, "timeout_s": 5.0, **changes})

    return build


@pytest.fixture(scope="session")
def connect(settings: Callable[..., Settings]) -> Callable[..., contextlib.AbstractAsyncContextManager[AlphaEssClient]]:
    """Context managers of an open client, from an address, a clock and changed settings."""

    @contextlib.asynccontextmanager
    async def open_client(url: str, clock: Callable[[], dt.datetime], **changes: Any) -> AsyncIterator[AlphaEssClient]:
        client = AlphaEssClient(settings(base_url=url, **changes), clock)
        try:
            yield client
        finally:
            await client.close()

    return open_client


@pytest.fixture(scope="session")
def adapt(
    connect: Callable[..., contextlib.AbstractAsyncContextManager[AlphaEssClient]],
) -> Callable[..., contextlib.AbstractAsyncContextManager[AlphaEssAdapter]]:
    """Context managers of an open adapter, from an address, a clock and changed settings."""

    @contextlib.asynccontextmanager
    async def open_adapter(
        url: str, clock: Callable[[], dt.datetime], **changes: Any
    ) -> AsyncIterator[AlphaEssAdapter]:
        async with connect(url, clock, **changes) as client:
            yield AlphaEssAdapter(client, changes.get("upload_time_zone", "UTC"))

    return open_adapter


@pytest.fixture(scope="session")
def device() -> Callable[..., Device]:
    def build(
        serial_number: str = SERIAL_NUMBER,
        charge_kw: float = 5.0,
        discharge_kw: float = 4.0,
        min_soc: float = 0.1,
        max_soc: float = 0.9,
        capacity_kwh: float = 10.0,
    ) -> Device:
        battery = Battery(
            capacity_kwh=capacity_kwh,
            max_charge_kw=charge_kw,
            max_discharge_kw=discharge_kw,
            min_soc=min_soc,
            max_soc=max_soc,
        )
        return Device(serial_number, battery)

    return build


# --- a real server on loopback whose application each test brings ---


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


@pytest.fixture(scope="session")
def loopback_server() -> Iterator[LoopbackServer]:
    server = LoopbackServer()
    yield server
    server.stop()


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


# --- the emulated vendor ---


@dataclass
class World:
    """One emulated cloud, its systems, its clock, and a caller who knows the account."""

    cloud: AlphaEssCloud
    clock: EmulatedClock
    log: EventLog
    systems: list[System]
    url: str
    faults: FaultBox
    token: str = ""

    @property
    def system(self) -> System:
        return self.systems[0]

    @property
    def plant(self) -> Plant:
        return self.systems[0].site.plant

    def switch(self, **faults: Any) -> None:
        """Put these faults in force instead of the others."""
        self.faults.switch(Faults(**faults))

    def step(self, seconds: float) -> None:
        """Let emulated time pass."""
        self.clock.step_to(self.clock.now() + dt.timedelta(seconds=seconds))
        self.cloud.advance()

    def events(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log.events if entry["event"] == event]

    def at(self, seconds: float) -> str:
        """A time after the start, as the log writes it."""
        return (START + dt.timedelta(seconds=seconds)).isoformat()

    def post(self, path: str, body: Any, address: str = "127.0.0.1", method: str = "POST") -> tuple[int, Any]:
        """Any body to any path, without a client in between; HTTP status and the answer."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = request_of(self.cloud.app, method, path, text, address)
        try:
            return status, json.loads(answer)
        except ValueError:
            return status, None

    def signed(self, fields: Mapping[str, Any], secret: str = API_SECRET) -> dict[str, Any]:
        """Fields completed to a request as the document wants it."""
        body = {"api_account": API_ACCOUNT, "timestamp": int(self.clock.now().timestamp()), **fields}
        return {"sign": independent_signature(body, secret), **body}

    def login(self, address: str = "127.0.0.1") -> str:
        encrypted = "S+QtkJNDR5d82NFl7czJ2A=="  # pass1234 under installer01
        status, answer = self.post(
            "/ras/v2/Login", self.signed({"username": USERNAME, "password": encrypted}), address=address
        )
        assert (status, answer["ReturnCode"]) == (200, 0)
        self.token = answer["Token"]
        return self.token

    def call(self, name: str, address: str = "127.0.0.1", **fields: Any) -> tuple[int, Any]:
        """A data call, correctly signed; the token of the last login unless another is given."""
        body = self.signed({"Token": fields.pop("Token", self.token), **fields})
        return self.post(f"/ras/v2/{name}", body, address=address)

    def ok(self, name: str, **fields: Any) -> Any:
        """The `Result` of a call that must succeed."""
        status, answer = self.call(name, **fields)
        assert (status, answer["ReturnCode"]) == (200, 0)
        return answer["Result"]

    def code(self, name: str, **fields: Any) -> int:
        status, answer = self.call(name, **fields)
        assert status == 200
        return int(answer["ReturnCode"])

    def dispatch(self, power_kw: float = 2.0, serial_number: str | None = SERIAL_NUMBER, **fields: Any) -> None:
        """A dispatch in the vendor's words: mode 2 with the target state of charge that the direction has room for."""
        target = {"SOC": 250 if power_kw < 0 else 0, "Status": 1, "ControlMode": 2, "ReactivePower": 32_000}
        sn = {} if serial_number is None else {"Sn": serial_number}
        self.ok("RemoteDispatch", **{"ActivePower": 32_000 + round(power_kw * 1000), **target, **sn, **fields})

    def stop(self) -> None:
        self.dispatch(0.0, Status=0)


@pytest.fixture(scope="session")
def emulate(loopback_server: LoopbackServer) -> Callable[..., World]:
    """Build an emulated cloud and serve it: `emulate(load_kw=1, pv_kw=0, soc=0.5, ...)`."""

    def build(
        load_kw: float = 1.0,
        pv_kw: float = 0.0,
        soc: float = 0.5,
        battery: Battery | None = None,
        serial_numbers: tuple[str, ...] = (SERIAL_NUMBER,),
        start: dt.datetime = START,
        zone: str = "UTC",
        house: pd.DataFrame | None = None,
        log: EventLog | None = None,
        speed: float | None = None,
        largest_page: int = 100,
    ) -> World:
        log = log or EventLog()
        clock, faults = EmulatedClock(start, speed), FaultBox()
        battery = battery or Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5)
        if house is None:
            index = pd.date_range("2024-01-01", periods=2, freq="1h", tz="UTC")
            house = pd.DataFrame({"load_kw": [load_kw] * 2, "pv_kw": [pv_kw] * 2}, index=index)
        sites = [
            EmulatedSite(serial_number, Plant(battery, soc), House(house), start, CADENCES_S, log, faults)
            for serial_number in serial_numbers
        ]
        account = Account(
            api_account=API_ACCOUNT,
            api_secret=SecretStr(API_SECRET),
            username=USERNAME,
            password=SecretStr(PASSWORD),
        )
        cloud = AlphaEssCloud(sites, clock, log, faults, account, zone, largest_page)
        loopback_server.app = cloud.app
        systems = [cloud.system(serial_number) for serial_number in serial_numbers]
        return World(cloud, clock, log, systems, loopback_server.url, faults)

    return build


# --- the scripted vendor: says what a test wants it to say, and remembers every byte ---


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


@pytest.fixture
def vendor() -> Iterator[ScriptedVendor]:
    server = ScriptedVendor()
    yield server
    server.close()


@pytest.fixture(scope="session")
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def closed_port_url() -> str:
    """Where nobody listens."""
    listener = listen()
    port = listener.getsockname()[1]
    listener.close()
    return f"http://127.0.0.1:{port}"
