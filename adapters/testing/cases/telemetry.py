"""What readings say: signs, units, times, and what is unknown."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt

from adapters.contract import (
    AdapterError,
    Channel,
    Discoverable,
    Readable,
    Watchable,
)
from adapters.testing.bench import Bench
from adapters.testing.case import (
    POWER_KW,
    SOC,
    NotApplicableError,
    case,
    known_read,
    lacks,
    must,
    near,
    numbers_of,
    settle,
)


async def _signs(bench: Bench) -> None:
    await settle(bench)
    seen: set[str] = set()
    truth = bench.site.plant.sample
    for channel, reading in (await bench.read_all()).items():
        if reading is None:
            continue
        must(reading.channel is channel, f"the reading says that it is of the {channel.value} channel", reading)
        for name in ("battery_kw", "grid_kw", "pv_kw", "load_kw"):
            value, wanted = getattr(reading, name), getattr(truth, name)
            if value is not None:
                seen.add(name)
                must(near(value, wanted, POWER_KW), f"{channel.value}: {name} is {wanted:.3f} kW", value)
        if reading.soc is not None:
            seen.add("soc")
            must(near(reading.soc, truth.soc, SOC), f"{channel.value}: soc is {truth.soc:.3f}", reading.soc)
        powers = (reading.load_kw, reading.grid_kw, reading.pv_kw, reading.battery_kw)
        if None not in powers:
            load, grid, pv, battery = (value or 0.0 for value in powers)
            must(near(load, grid + pv + battery, 3 * POWER_KW), "load = grid + pv + battery", reading)
    must(seen >= bench.expected.gives, f"telemetry has {sorted(bench.expected.gives)}", sorted(seen))


@case(Readable, load_kw=1.0, pv_kw=3.5)
async def test_c04_telemetry_of_a_charging_battery(bench: Bench) -> None:
    """Telemetry of a battery that charges from the sun: battery below 0, the identity holds."""
    await _signs(bench)
    must(bench.battery_kw < -2, "the emulated battery charges", bench.battery_kw)


@case(Readable, load_kw=2.5, pv_kw=0.5)
async def test_c05_telemetry_of_a_discharging_battery(bench: Bench) -> None:
    """Telemetry of a battery that covers the house: battery above 0, the identity holds."""
    await _signs(bench)
    must(bench.battery_kw > 1.9, "the emulated battery discharges", bench.battery_kw)


@case(Readable, load_kw=1.0, pv_kw=4.0, soc=1.0)
async def test_c06_telemetry_of_an_exporting_site(bench: Bench) -> None:
    """Telemetry of a full battery under the sun: grid below 0, the identity holds."""
    await _signs(bench)
    must(bench.site.plant.sample.grid_kw < -2.9, "the emulated site exports", bench.site.plant.sample)


@case(Readable, load_kw=2.0, pv_kw=0.5, soc=0.1)
async def test_c07_telemetry_of_an_importing_site(bench: Bench) -> None:
    """Telemetry of an empty battery: grid above 0, the identity holds."""
    await _signs(bench)
    must(bench.site.plant.sample.grid_kw > 1.4, "the emulated site imports", bench.site.plant.sample)


@case(Readable)
async def test_c08_times_are_the_vendors_own(bench: Bench) -> None:
    """A reading is as old as the vendor says, not as the answer."""
    if not bench.expected.stamps_readings:
        raise NotApplicableError("readings carry no time of the vendor")
    await settle(bench)
    for channel in Channel:
        cadence_s = getattr(bench.adapter.abilities, f"{channel.value}_cadence_s")
        into_s = bench.now.timestamp() % cadence_s
        bench.step((0.4 * cadence_s - into_s) % cadence_s)
        reading = await known_read(bench, channel)
        must(reading.measured_at.utcoffset() == dt.timedelta(0), "times are aware UTC", reading.measured_at)
        rows = [bench.site.reading(seconds).at for seconds in bench.subject.cadences_s]
        # Rows may reach the vendor's cloud in batches: then its latest is of the last of these, as the adapter says.
        rows.append(bench.now - dt.timedelta(seconds=bench.now.timestamp() % cadence_s))
        must(
            any(abs((reading.measured_at - row).total_seconds()) < 1 for row in rows),
            f"{channel.value}: measured_at is that of a row of the vendor",
            (reading.measured_at, bench.now),
        )


@case(Readable)
async def test_c09_frozen_telemetry_grows_old(bench: Bench) -> None:
    """A cloud that repeats its last reading shows as age."""
    await settle(bench)
    before = await known_read(bench)
    bench.switch(frozen=True)
    begin, cadence_s = bench.now, bench.adapter.abilities.power_cadence_s
    for _ in range(8):
        bench.step(max(cadence_s, 60))
        try:
            reading = await known_read(bench)
        except AdapterError:
            return  # a vendor without time stamps may say that it cannot tell
    age_s, passed_s = ((bench.now - since).total_seconds() for since in (reading.measured_at, begin))
    # Without a time of the vendor it takes a while to know that readings only repeat each other.
    least_s = passed_s - cadence_s if bench.expected.stamps_readings else passed_s / 4
    must(age_s >= least_s, f"a reading {least_s:.0f} s old at least", f"{age_s:.0f} s")
    must(reading.battery_kw == before.battery_kw, "the repeated reading is still the same", reading.battery_kw)


async def _unknown(bench: Bench, written: str) -> None:
    await settle(bench)
    bench.switch(numbers_as=written)
    for channel in Channel:
        try:
            reading = await bench.read(channel)
        except AdapterError:
            continue
        if reading is not None:
            must(not numbers_of(reading), f"{channel.value}: every number is unknown", numbers_of(reading))


@case(Readable)
async def test_c10_null_is_unknown(bench: Bench) -> None:
    """A number that is null is unknown, never 0."""
    await _unknown(bench, "null")


@case(Readable)
async def test_c11_not_available_is_unknown(bench: Bench) -> None:
    """A number that is "N/A" is unknown, never 0."""
    await _unknown(bench, "n/a")


@case(Readable)
async def test_c12_numbers_may_be_texts(bench: Bench) -> None:
    """Numbers that come as text are numbers."""
    bench.switch(numbers_as="text")
    await _signs(bench)


@case(Readable)
async def test_c13_odd_json_is_read_or_refused(bench: Bench) -> None:
    """JSON with odd names and braces is read as what it says, or ends in a typed error."""
    lacks(bench, "odd_json")
    bench.switch(odd_json=True)
    with contextlib.suppress(AdapterError):
        await _signs(bench)


@case(Discoverable)
async def test_c14_devices_are_listed(bench: Bench) -> None:
    """The account's devices are found by the identifiers that reading and driving take."""
    found = {device.device_id for device in await bench.adapter.devices()}
    must(bench.site.device_id in found, f"{bench.site.device_id} is among them", found)


@case(Watchable)
async def test_c15_readings_come_by_themselves(bench: Bench) -> None:
    """Readings that the vendor sends by itself are those of the plant."""
    await settle(bench)
    stream = bench.adapter.watch(bench.device())
    coming = asyncio.ensure_future(anext(stream))
    for _ in range(100):
        await asyncio.wait({coming}, timeout=0.05)
        if coming.done():
            break
        bench.step(1)
    must(coming.done(), "a reading within 100 s of the plant's time")
    wanted, value = bench.battery_kw, coming.result().battery_kw
    await stream.aclose()
    must(near(value, wanted, POWER_KW), f"battery_kw is {wanted:.3f}", value)
