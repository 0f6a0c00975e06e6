"""Every installed adapter keeps what all adapters promise; the cases can fail; the document's example passes them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adapters import registry
from adapters.alphaess import adapter as alphaess
from adapters.contract import (
    Accepted,
    AdapterError,
    ConfigurationError,
    QuotaExceededError,
    Rejected,
    Unknown,
    VendorUnavailableError,
)
from adapters.solax import adapter as solax
from adapters.testing import Expected, installed
from adapters.testing.__main__ import main
from adapters.testing.contract import *  # noqa: F403
from adapters.testing.contract import CASES
from adapters.xolta import adapter as xolta
from engine.intent import IntentMode

ROOT = Path(__file__).parents[2]
SUBJECTS = {subject.name: subject for subject in installed()}


@pytest.fixture(params=sorted(SUBJECTS))
def subject(request):
    return SUBJECTS[request.param]


def test_every_registered_adapter_is_a_subject():
    assert sorted(SUBJECTS) == registry.names()


def test_the_cases_are_numbered_without_a_gap():
    names = [case.run.__name__ for case in CASES]

    assert [case.number for case in CASES] == list(range(1, len(CASES) + 1))
    assert [int(re.match(r"test_c(\d+)_", name)[1]) for name in names] == [case.number for case in CASES]
    assert set(names) <= globals().keys(), "all of them are imported here"


# --- each case that guards safety fails for an adapter that breaks its promise ---


class TurnsRound(alphaess.AlphaEssAdapter):
    def translate(self, intent, device, latest):
        other = {IntentMode.CHARGE: IntentMode.DISCHARGE, IntentMode.DISCHARGE: IntentMode.CHARGE}
        return super().translate(dataclasses.replace(intent, mode=other.get(intent.mode, intent.mode)), device, latest)


class ReleasesInsteadOfHolding(alphaess.AlphaEssAdapter):
    def translate(self, intent, device, latest):
        if intent.mode is IntentMode.HOLD:
            return self.release(device)
        return super().translate(intent, device, latest)


class HoldsInsteadOfReleasing(alphaess.AlphaEssAdapter):
    def release(self, device):
        command = super().release(device)
        return dataclasses.replace(command, payload={**command.payload, "Status": 1})


class TakesAnyPower(alphaess.AlphaEssAdapter):
    def translate(self, intent, device, latest):
        rating_kw = max(intent.power_kw, 5.0)
        battery = device.battery.model_copy(update={"max_charge_kw": rating_kw, "max_discharge_kw": rating_kw})
        return super().translate(intent, dataclasses.replace(device, battery=battery), latest)


class ForgetsLimits(alphaess.AlphaEssAdapter):
    def translate(self, intent, device, latest):
        del latest
        return super().translate(intent, device, None)


class TakesNobody(alphaess.AlphaEssAdapter):
    def translate(self, intent, device, latest):
        return super().translate(
            intent, dataclasses.replace(device, device_id=device.device_id.strip() or "all"), latest
        )


class Watts(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        reading = await super().read(device, channel)
        return dataclasses.replace(
            reading, battery_kw=None if reading.battery_kw is None else reading.battery_kw * 1000
        )


class FlipsTheGrid(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        reading = await super().read(device, channel)
        return dataclasses.replace(reading, grid_kw=None if reading.grid_kw is None else -reading.grid_kw)


class KnowsNothing(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        return dataclasses.replace(await super().read(device, channel), soc=None)


class TakesNullForZero(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        reading = await super().read(device, channel)
        return dataclasses.replace(reading, battery_kw=reading.battery_kw or 0.0)


class StampsItself(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        return dataclasses.replace(await super().read(device, channel), measured_at=self._client.now())


class SendsTwice(alphaess.AlphaEssAdapter):
    async def send(self, command):
        receipt = await super().send(command)
        return await super().send(command) if isinstance(receipt, Unknown) else receipt


class TrustsTheVoid(alphaess.AlphaEssAdapter):
    async def send(self, command):
        await super().send(command)
        return Accepted()


class NeverRetries(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        self._client._transport.ask = self._client._transport.tell
        return await super().read(device, channel)


class RetriesForEver(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        for _ in range(20):
            try:
                return await super().read(device, channel)
            except VendorUnavailableError as error:
                last = error
        raise last


class TriesCredentialsAgain(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        self._client._refused = None
        return await super().read(device, channel)


class TakesCredentialsForWeather(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        try:
            return await super().read(device, channel)
        except ConfigurationError as error:
            raise VendorUnavailableError(str(error)) from None


class TellsItsToken(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        try:
            return await super().read(device, channel)
        except VendorUnavailableError as error:
            raise VendorUnavailableError(f"{error} with {self._client._token}") from None


class ShowsItsPassword(alphaess.AlphaEssAdapter):
    def __repr__(self):
        return f"adapter of {self._client._settings.password.get_secret_value()}"


class LogsItsSecret(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        logging.getLogger("adapters").debug("signing with %s", self._client._settings.api_secret.get_secret_value())
        return await super().read(device, channel)


class StaysOpen(alphaess.AlphaEssAdapter):
    closed = 0

    async def close(self):
        self.closed += 1
        if self.closed > 2:  # the bench's own, after the case
            await super().close()


class WaitsForEver(alphaess.AlphaEssAdapter):
    async def read(self, device, channel):
        self._client._transport._timeout_s = 2.0
        return await super().read(device, channel)


class SendsToAnswer(alphaess.AlphaEssAdapter):
    async def send(self, command):
        receipt = await super().send(command)
        if not isinstance(receipt, Accepted):
            raise VendorUnavailableError(receipt.reason)
        return receipt


# --- and for one that keeps answers for a while, as fair use wants it ---


class StampsItsKeptAnswer(xolta.XoltaAdapter):
    async def read(self, device, channel):
        return dataclasses.replace(await super().read(device, channel), measured_at=self._clock())


class KeepsTooLong(xolta.XoltaAdapter):
    """Longer than the cadence that it declares."""

    kept = None

    async def read(self, device, channel):
        now = self._clock()
        if self.kept is None or now - self.kept > xolta.STATE_HOLDS:
            self.kept = now
        else:
            self._asked_at = now
        return await super().read(device, channel)


class KeepsWhatItHasWhenRefused(xolta.XoltaAdapter):
    async def _statuses(self):
        try:
            return await super()._statuses()
        except AdapterError:
            return self._seen


class AsksAgainInThePause(xolta.XoltaAdapter):
    async def _statuses(self):
        self._client._meter = xolta.XoltaClient(self._settings, self._clock)._meter
        return await super()._statuses()


# --- and for those whose vendors limit the calls ---


class CountsNoReads(xolta.XoltaAdapter):
    def __init__(self, client, settings, clock):
        super().__init__(client, settings, clock)
        client._meter.allow("read", ())


class CountsNoCommands(xolta.XoltaAdapter):
    def __init__(self, client, settings, clock):
        super().__init__(client, settings, clock)
        client._meter.allow("command", ())


class CountsNothing(solax.SolaxAdapter):
    def __init__(self, client, *options):
        super().__init__(client, *options)
        client._meter.allow("solax calls", ())


class ComplainsOnceItHasAsked(xolta.XoltaAdapter):
    async def _statuses(self):
        try:
            return await super()._statuses()
        except QuotaExceededError:
            self._client._tokens._token = None
            with contextlib.suppress(AdapterError):
                await self._client._token_before(None, "any")
            raise


class NeverSaysWhen(xolta.XoltaAdapter):
    async def read(self, device, channel):
        try:
            return await super().read(device, channel)
        except QuotaExceededError as error:
            raise QuotaExceededError(error.kind, self._clock()) from None


class CannotTellWhetherItSent(xolta.XoltaAdapter):
    async def send(self, command):
        receipt = await super().send(command)
        return Unknown(receipt.reason) if isinstance(receipt, Rejected) else receipt


MUTANTS = [
    (CountsNoReads, 28),
    (CountsNoCommands, 28),
    (CountsNothing, 28),
    (ComplainsOnceItHasAsked, 28),
    (NeverSaysWhen, 28),
    (CannotTellWhetherItSent, 28),
    (TurnsRound, 16),
    (TurnsRound, 17),
    (ReleasesInsteadOfHolding, 18),
    (HoldsInsteadOfReleasing, 19),
    (HoldsInsteadOfReleasing, 20),
    (TakesAnyPower, 25),
    (TakesNobody, 26),
    (ForgetsLimits, 27),
    (Watts, 4),
    (FlipsTheGrid, 6),
    (FlipsTheGrid, 7),
    (KnowsNothing, 5),
    (StampsItself, 8),
    (StampsItself, 9),
    (TakesNullForZero, 10),
    (TakesNullForZero, 11),
    (SendsTwice, 30),
    (SendsTwice, 31),
    (TrustsTheVoid, 30),
    (TrustsTheVoid, 37),
    (TrustsTheVoid, 39),
    (SendsToAnswer, 31),
    (NeverRetries, 32),
    (RetriesForEver, 33),
    (RetriesForEver, 35),
    (WaitsForEver, 34),
    (TriesCredentialsAgain, 40),
    (TakesCredentialsForWeather, 40),
    (TellsItsToken, 41),
    (ShowsItsPassword, 41),
    (LogsItsSecret, 41),
    (StaysOpen, 42),
    (StampsItsKeptAnswer, 8),
    (KeepsTooLong, 29),
    (KeepsTooLong, 35),
    (KeepsWhatItHasWhenRefused, 29),
    (KeepsWhatItHasWhenRefused, 35),
    (AsksAgainInThePause, 29),
]


@pytest.mark.parametrize(
    ("mutant", "number"),
    MUTANTS,
    ids=lambda value: getattr(value, "__name__", f"C{value:02}" if isinstance(value, int) else None),
)
def test_a_case_fails_for_an_adapter_that_breaks_its_promise(monkeypatch, mutant, number):
    module = sys.modules[mutant.__base__.__module__]
    name = module.__name__.split(".")[1]
    monkeypatch.setattr(module, mutant.__base__.__name__, mutant)
    opened = []

    def create(settings, clock):
        opened.append(module.create(settings, clock))
        return opened[-1]

    broken = dataclasses.replace(SUBJECTS[name], create=create)

    with pytest.raises((AssertionError, VendorUnavailableError)):
        CASES[number - 1].run(broken)


def test_an_expectation_that_the_adapter_does_not_meet_fails():
    watched = dataclasses.replace(SUBJECTS["alphaess"], expected=Expected(drives=False))

    with pytest.raises(AssertionError, match="drives batteries"):
        CASES[1].run(watched)


# --- the table, and the document ---


def test_the_table_has_every_case_and_tells_by_its_exit_code(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("adapters.testing.__main__.CASES", CASES[:3])

    assert main(["alphaess"]) == 0
    shown = capsys.readouterr().out
    assert [f"C{number:02}" in shown for number in (1, 2, 3)] == [True] * 3
    assert shown.count("passed") == 3
    assert main(["nobody"]) == 2


def test_the_table_tells_what_failed_and_why(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("adapters.testing.__main__.CASES", CASES[1:2])
    wrong = dataclasses.replace(SUBJECTS["alphaess"], expected=Expected(drives=False))
    monkeypatch.setattr("adapters.testing.__main__.installed", lambda: [wrong])

    assert main([]) == 1
    assert "C02 alphaess: AssertionError: drives batteries" in capsys.readouterr().out


def test_the_example_of_the_document_passes_every_case_as_it_stands(tmp_path):
    text = (ROOT / "docs" / "writing-an-adapter.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", text, flags=re.DOTALL))
    assert set(files) == {"pebble/mapping.py", "pebble/adapter.py", "pebble/emulator.py", "test_pebble.py"}
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")

    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-W", "error", "-p", "no:cacheprovider", "test_pebble.py"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )

    assert done.returncode == 0, done.stdout[-5000:]
    passed, skipped = (int(re.search(rf"(\d+) {word}", done.stdout)[1]) for word in ("passed", "skipped"))
    assert passed + skipped == len(CASES)
    assert passed >= 30, done.stdout
