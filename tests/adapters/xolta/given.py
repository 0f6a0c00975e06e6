"""What the Xolta tests take as given: a moment, the secrets of an account, a status."""

from __future__ import annotations

import datetime as dt

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
SECRET = "zwitscher-secret"
TOKEN = "zwitscher-token"
SONG = "witscher"
STATUS = [
    {
        "deviceId": "BAT-80-0001",
        "state": "Running",
        "mode": "SelfConsumption",
        "utcTime": "2024-05-01T11:59:00Z",
        "inverterActivePower": 1.5,
    }
]
