"""Readings without a time of their own, dated when they came, unless the device only repeats itself."""

from __future__ import annotations

import datetime as dt
import logging

from adapters.contract import Clock

# So many readings to the bit alike are no chance, however far they are apart.
FEWEST_REPEATS = 5
_log = logging.getLogger(__name__)


class ReceptionTime:
    """When readings were taken, judged by their coming.

    A device that hangs goes on sending its last values. Once they have repeated each other to the bit for long enough
    their time stands still, so that they grow old like any other reading that is not followed by a new one.
    """

    def __init__(self, name: str, clock: Clock, frozen_after_s: float) -> None:
        self._name, self._clock, self._frozen_after = name, clock, dt.timedelta(seconds=frozen_after_s)
        self._content: object = None
        self._since: dt.datetime | None = None
        self._repeats = 0
        self._last: dt.datetime | None = None
        self.frozen_since: dt.datetime | None = None
        """Since when the values are the same, once that is too long to be true."""

    def of(self, content: object) -> dt.datetime:
        """The time to give to a reading that has just come.

        Args:
            content: All that the device said, comparable.

        Returns:
            Now; for values that are frozen, the time of the last reading before they were taken for frozen.
        """
        now = self._clock()
        if self._since is None or content != self._content:
            self._content, self._since, self._repeats, self.frozen_since = content, now, 0, None
        else:
            self._repeats += 1
        if self._last is not None and self._repeats >= FEWEST_REPEATS and now - self._since >= self._frozen_after:
            if self.frozen_since is None:
                _log.warning("%s: the same values since %s; taken for frozen", self._name, self._since.isoformat())
            self.frozen_since = self._since
            return self._last
        self._last = now
        return now
