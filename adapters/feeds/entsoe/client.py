"""Calls to ENTSO-E by entsoe-py, which brings its own HTTP library: the only module where that is let near a socket.

The security token travels in the address. So the session goes to the configured address only, follows nobody
elsewhere, and whatever is raised or logged inside, which quotes the address, comes out as a kind of error alone.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pandas as pd
from pydantic import SecretStr

from adapters.contract import CONNECTED_WITHIN_S, Clock, ConfigurationError
from adapters.feeds.acceptance import accepted
from adapters.feeds.contract import DayPrices, Fault, FeedError
from adapters.feeds.entsoe import mapping
from adapters.feeds.http import REFUSED_FOR_GOOD, FeedSettings
from adapters.feeds.markets import AREAS, SDAC
from adapters.quiet import hush
from adapters.settings import WebAddress

ONE_DAY = dt.timedelta(days=1)


class Settings(FeedSettings):
    """Where the platform is, and the token of an account there."""

    base_url: WebAddress = "https://web-api.tp.entsoe.eu"
    security_token: SecretStr


class Entsoe:
    """`PriceFeed` of all zones of SDAC, in euros."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._raw = _raw_client(settings)

    async def day_ahead(self, area: str, day: dt.date, before: DayPrices | None = None) -> DayPrices:
        """Prices of a day; see `PriceFeed`."""
        SDAC.require(area, mapping.SOURCE)
        try:
            async with asyncio.timeout(self._settings.timeout_s + CONNECTED_WITHIN_S):
                document = await asyncio.to_thread(self._document, area, day)
        except TimeoutError:
            raise FeedError(Fault.UNREACHABLE, f"{mapping.SOURCE}: no answer in time") from None
        quote = mapping.quote(document, SDAC.index(day), SDAC.step(day))
        return accepted(mapping.SOURCE, SDAC, area, day, [quote], self._clock(), before)

    async def close(self) -> None:
        """Let go of connections."""
        self._raw.session.close()

    def _document(self, area: str, day: dt.date) -> str:
        from entsoe.exceptions import NoMatchingDataError
        from requests import RequestException

        begin, end = (pd.Timestamp(SDAC.begin(each)) for each in (day - ONE_DAY, day + ONE_DAY))
        sequence = mapping.SEQUENCES.get(area)
        try:
            return str(self._raw.query_day_ahead_prices(AREAS[area], start=begin, end=end, sequence=sequence))
        except NoMatchingDataError:
            raise FeedError(Fault.LATE, f"{mapping.SOURCE}: {area} {day}: no prices yet") from None
        except RequestException as error:
            status = None if error.response is None else error.response.status_code
            if status in REFUSED_FOR_GOOD:
                raise ConfigurationError(f"{mapping.SOURCE}: HTTP {status}; check security_token") from None
            problem = f"HTTP {status}" if status else f"no answer ({type(error).__name__})"
            raise FeedError(Fault.UNREACHABLE, f"{mapping.SOURCE}: {problem}") from None
        except Exception as error:  # the library raises what it likes, the address in its text
            problem = f"no usable answer ({type(error).__name__})"
            raise FeedError(Fault.UNREACHABLE, f"{mapping.SOURCE}: {problem}") from None


class _Pinned:
    """As much of a session as the library uses; every call goes to one address, in time, and is led nowhere else."""

    def __init__(self, session: Any, settings: Settings) -> None:
        self._session, self._url = session, f"{settings.base_url.rstrip('/')}/api"
        self._timeout_s = (CONNECTED_WITHIN_S, settings.timeout_s)
        self.headers, self.close = session.headers, session.close

    def get(self, params: Any, **_: Any) -> Any:
        return self._session.get(self._url, params=params, timeout=self._timeout_s, allow_redirects=False)


def _raw_client(settings: Settings) -> Any:
    """The library's client.

    Raises:
        ConfigurationError: The library is not installed.
    """
    try:
        import requests
        from entsoe import entsoe
    except ImportError:
        raise ConfigurationError("entsoe: needs entsoe-py; install tidewatt[entsoe]") from None
    hush("entsoe", "entsoe.entsoe", "entsoe.decorators")
    hush("urllib3", "urllib3.connectionpool", "urllib3.util.retry")
    library: Any = entsoe
    token = settings.security_token.get_secret_value()
    # Twice, as a kept connection may be closed by now, and without the pause that the library makes in between.
    return library.EntsoeRawClient(token, session=_Pinned(requests.Session(), settings), retry_count=2, retry_delay=0)
