"""Tokens in a private file, shared by all processes of this machine that call in one owner's name."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from filelock import AsyncFileLock, Timeout

from adapters.contract import ConfigurationError, VendorUnavailableError
from adapters.private_file import write_private
from adapters.tokens import Tokens, tokens_from_json, tokens_to_json

# A renewal is one call of seconds; who holds the lock for longer is stuck [s].
LONGEST_WAIT_S = 60.0


class FileTokenStore:
    """A `TokenStore` in one file; the lock beside it is let go of by the system when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # two links to a file are one store

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Held by one process at a time.

        Raises:
            ConfigurationError: The folder cannot be used, or anybody may write in it.
            VendorUnavailableError: Another process has held it for a minute.
        """
        lock = AsyncFileLock(
            f"{self._path}.lock",
            timeout=LONGEST_WAIT_S,
            mode=0o600,
            run_in_executor=False,
            fallback_to_soft=False,  # a lock file that its dead holder has to remove would stay for ever
            preserve_lock_file=True,
        )
        try:
            self._refuse_open_folder()
            await lock.acquire()
        except Timeout:
            raise VendorUnavailableError(
                f"{self._path.name}: another process has been renewing these tokens for {LONGEST_WAIT_S:g} s; wait"
            ) from None
        except OSError as error:
            raise self._unusable(error) from None
        try:
            yield
        finally:
            await lock.release()

    async def load(self) -> Tokens | None:
        """The tokens last saved, or None.

        Raises:
            ConfigurationError: The file cannot be read, others may read it too, or it holds no tokens.
        """
        try:
            if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
                raise ConfigurationError(
                    f"{self._path.name}: others may use this file, and with it the plants; chmod it to 600"
                )
            return tokens_from_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        except ValueError:
            raise ConfigurationError(
                f"{self._path.name}: holds no tokens; remove it and let the owner authorise again"
            ) from None

    async def save(self, tokens: Tokens) -> None:
        """Replace the tokens, all of them at once.

        Raises:
            OSError: They could not be saved; the earlier ones are as they were.
        """
        write_private(self._path, tokens_to_json(tokens) + "\n")

    def _refuse_open_folder(self) -> None:
        mode = self._path.parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise ConfigurationError(
                f"{self._path.name}: anybody may put another file in its place; keep it in a folder of your own"
            )

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(f"{self._path.name}: cannot be used ({error.strerror}); check path and permissions")
