"""An emulated AlphaESS cloud, the one account that it knows, and the document's algorithms written a second time."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from Crypto.Cipher import AES

from adapters.alphaess.emulated_system import System
from adapters.alphaess.emulator import AlphaEssCloud
from engine.plant import Plant
from tests.adapters.loopback import request_of
from tests.adapters.served import Served
from tests.intents import START

SERIAL_NUMBER = "AL0000000000001"
API_ACCOUNT = "apiacct01"
API_SECRET = "0123456789abcdef0123456789abcdef"
USERNAME = "installer01"
PASSWORD = "pass1234"


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


@dataclass
class World(Served):
    """One emulated cloud, its systems, and a caller who knows the account."""

    cloud: AlphaEssCloud
    systems: list[System]
    token: str = ""

    @property
    def system(self) -> System:
        return self.systems[0]

    @property
    def plant(self) -> Plant:
        return self.systems[0].site.plant

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
