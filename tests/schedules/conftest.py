"""What the tests of `schedules` are handed."""

from __future__ import annotations

import base64
from typing import Any

import pandas as pd
import pytest
import stamina

from schedules.accounts import put_account
from schedules.clock import SimulatedClock
from schedules.seal import Sealer
from schedules.store import AccountRow, Database
from tests.schedules.account_worker import AccountWorker
from tests.schedules.bench import CHARGE_KW, T0, Bench
from tests.schedules.fake_battery import SITE
from tests.schedules.guards import without
from tests.schedules.served_vendor import ServedVendor
from tests.servers import PostgreSql


@pytest.fixture
def bench(tmp_path):
    """A bench whose battery is half full."""
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def charging(bench):
    """A bench with one intent: charge with 2 kW for a quarter of an hour."""
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 900))
    return bench


@pytest.fixture
def series(bench):
    """Three hours at 15 minutes from the start of the bench, cheap and then dear: a plan charges, then discharges."""
    index = pd.date_range(bench.T0, periods=12, freq="15min", name="start")
    return pd.DataFrame(
        {
            "import_price_eur_per_kwh": [0.10] * 4 + [0.45] * 8,
            "export_price_eur_per_kwh": [0.05] * 4 + [0.20] * 8,
            "load_kw": 0.9,
            "pv_kw": 0.3,
        },
        index=index,
    )


@pytest.fixture(scope="session")
def make_bench():
    """For tests that need many benches: give a folder, get a bench; close it yourself."""
    return Bench


@pytest.fixture(scope="session")
def site():
    """The site of every bench."""
    return SITE


@pytest.fixture(scope="session")
def without_guard():
    """Take one guard out of a method, to show that a test notices."""
    return without


@pytest.fixture(scope="session")
def postgresql():
    """A real server that runs for as long as the tests, brought by a Python package."""
    try:
        server = PostgreSql()
    except ImportError:
        pytest.skip("the PostgreSQL package has no wheel for this")
    yield server
    server.end()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path):
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.sqlite'}"
        return
    server = request.getfixturevalue("postgresql")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
def store(store_url):
    """A store that is up to date, once on each database."""
    opened = Database(store_url)
    yield opened
    opened.close()


@pytest.fixture
def clock():
    return SimulatedClock(T0)


@pytest.fixture
def account_id(store):
    """An account in the store that nobody has opened."""
    with store.write() as session:
        row = AccountRow(name="barn", adapter="huawei")
        session.add(row)
        session.flush()
        return row.id


@pytest.fixture
def serve_vendor(site):
    """Start a vendor's emulated cloud: `serve_vendor("huawei")`."""
    served: list[ServedVendor] = []

    def start(vendor: str, **place: Any) -> ServedVendor:
        served.append(ServedVendor(vendor, **{"site": site, "start": T0, **place}))
        return served[-1]

    # Reads that fail are tried again as often as ever, without the waits.
    with stamina.set_testing(True, attempts=100, cap=True):
        yield start
        for vendor in served:
            vendor.stop()


@pytest.fixture
def account_key():
    """A key as `TIDEWATT_KEY` has it."""
    return base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def sealer(account_key):
    return Sealer.from_environment({"TIDEWATT_KEY": account_key})


@pytest.fixture
def start_worker(store, store_url, sealer, account_key):
    """Put a served vendor's account into the store, and start processes that work on it: `start_worker(vendor)`."""
    started: list[AccountWorker] = []

    def start(vendor: ServedVendor, **settings: Any) -> AccountWorker:
        wanted = {**vendor.settings, **settings}
        account_id = put_account(store, sealer, vendor.clock.now, vendor.vendor, vendor.vendor, wanted, "test")
        started.append(AccountWorker(store_url, account_id, account_key))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
