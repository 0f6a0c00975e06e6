"""A dispatch and a read as the client makes them, and what may come back that is no usable answer."""

from __future__ import annotations

from adapters.alphaess import mapping
from tests.adapters.alphaess.world import SERIAL_NUMBER

NO_USABLE_ANSWER = {
    "500": {"status": 500},
    "502 with a page": {"status": 502, "body": b"<html>Bad gateway</html>"},
    "503": {"status": 503},
    "302": {"status": 302, "headers": {"Location": "/ras/v2/RemoteDispatch"}},
    "not JSON": {"body": b"<html>Sign in</html>"},
    "empty": {"body": b""},
    "half a body": {"body": b'{"ReturnCode": 0}', "cuts": True},
    "no code": {"body": b"{}"},
    "a list": {"body": b"[]"},
    "null": {"body": b"null"},
    "nested beyond reason": {"body": b"[" * 200_000},
}
DISPATCH = mapping.dispatch_fields(SERIAL_NUMBER, 1.0, 0.2)


def read(client):
    return client.get_running_data(SERIAL_NUMBER)
