"""Messages as files, for one machine without a broker: Kombu's transport, with messages that appear whole.

Kombu creates a message under its name before it writes it; a reader in between finds it empty, and its worker ends.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem


class Channel(filesystem.Channel):
    """Writes a message under another name first."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        """Put a message into a queue's folder; the earlier its name sorts, the earlier it is read."""
        # Wall-clock and monotonic time of one machine both sort; the former does so across restarts of it.
        name = f"{time.time_ns()}_{uuid.uuid4()}"
        folder = Path(self.data_folder_out)
        part = folder / f"{name}.part"
        part.write_text(json.dumps(payload), encoding="utf-8")
        part.rename(folder / f"{name}.{queue}.msg")


class Transport(filesystem.Transport):
    """The transport with that channel."""

    Channel = Channel


def install() -> None:
    """Let every `filesystem://` of this process be this transport."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
