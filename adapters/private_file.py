"""Files that hold credentials: only their owner may read them, and nobody ever sees half of one."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a text in place of a file, at once and with mode 0600; it is on the disk when this returns.

    Raises:
        OSError: It cannot be written; the old file is as it was.
    """
    path = path.resolve()  # a link stays a link
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)  # left by a crash, or laid there by somebody: never written into
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself
    finally:
        os.close(folder)
