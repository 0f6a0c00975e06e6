"""Server-sent events out of a stream of bytes (WHATWG HTML, section 9.2).

`httpx-sse` decodes them too, but holds an event of any size, leaves a byte order mark in the first field, keeps a line
that ends in CR until more bytes come, and has its decoder in a private module behind an httpx response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# An event of a plant has about a kilobyte; nothing of this size is one.
LARGEST_EVENT = 256 * 1024
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Event:
    """One event; ids and reconnection times are not kept, since nothing is ever replayed."""

    name: str
    """Empty where the sender gave none."""
    data: str


class EventDecoder:
    """Bytes in pieces of any size become events; what the stream's end leaves unfinished is never told.

    Attributes:
        oversize: How many events were dropped because they were larger than `LARGEST_EVENT`.
    """

    def __init__(self, largest: int = LARGEST_EVENT) -> None:
        self._largest = largest
        self._line = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0
        self._drops = False
        """Whether the event that is being received is too large, and so skipped until it ends."""
        self._after_cr = False
        self._may_have_mark = True
        self.oversize = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes and give the events that they complete, in order."""
        if self._after_cr and chunk:
            # The line has ended with its CR already; the LF of the same line end comes only now.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        events = []
        *ended, rest = _LINE_END.split(chunk)
        for part in ended:
            self._grow(part)
            event = self._end_line()
            if event is not None:
                events.append(event)
        self._grow(rest)
        return events

    def _grow(self, part: bytes) -> None:
        """Lengthen the line, within bounds."""
        self._size += len(part)
        if self._size > self._largest:
            self._drops = True
            # An empty line ends an event: what is dropped must not look like one.
            del self._line[1:]
            self._data.clear()
            part = part[:1]
        self._line += part

    def _end_line(self) -> Event | None:
        line = bytes(self._line)
        self._line.clear()
        if self._may_have_mark:
            line = line.removeprefix(BYTE_ORDER_MARK)
            self._may_have_mark = False
        if not line:
            return self._end_event()
        if self._drops:
            return None
        if line.startswith(b":"):
            self._size -= len(line)  # comments belong to no event
            return None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value
        return None

    def _end_event(self) -> Event | None:
        # Lines are cut at ASCII bytes, so no character was cut in two; what is no UTF-8 is the sender's fault.
        name, text = (part.decode("utf-8", "replace") for part in (self._name, b"\n".join(self._data)))
        complete = bool(self._data) and not self._drops
        self.oversize += self._drops
        self._data, self._name, self._size, self._drops = [], b"", 0, False
        return Event(name, text) if complete else None
