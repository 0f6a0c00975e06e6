"""Credentials and tokens at rest: AES-256-GCM with a ring of keys, each blob bound to the row that it is in.

Layout: version (1 byte), id of the key (8), nonce (12), tag (16), ciphertext. To change the key, put a new one before
the old one and restart all processes; then `rotate`, and drop the old one. No error here shows a value.

Source: NIST SP 800-38D (GCM); random nonces are good for 2^32 blobs a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from Crypto.Cipher import AES
from Crypto.Cipher._mode_gcm import GcmMode
from sqlalchemy import select

from adapters.contract import ConfigurationError
from adapters.private_file import write_private
from schedules.settings import Settings
from schedules.store import AccountRow, Database, MarketRow, TokenRow

KEY, KEY_FILE = "TIDEWATT_KEY", "TIDEWATT_KEY_FILE"
KEY_FILE_NAME = "key"
"""Of the file in the installation's folder that serves where neither is set."""
KEY_BYTES = 32
VERSION = b"\x01"
ID_END, NONCE_END, TAG_END = 9, 21, 37
WAY_OUT = f"make one with `head -c {KEY_BYTES} /dev/urandom | base64`"


class Sealer:
    """Seals with the first key of its ring and opens with any."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take a ring of keys of 32 bytes, the newest first.

        Raises:
            ConfigurationError: There is none, or one has another length.
        """
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ConfigurationError(f"key: each must have {KEY_BYTES} bytes, and one at least is needed; {WAY_OUT}")
        self._ring = {_id_of(key): key for key in keys}
        self._newest = _id_of(keys[0])

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Sealer:
        """The ring in TIDEWATT_KEY, or in the file that TIDEWATT_KEY_FILE names: base64, the newest first.

        Where neither is set it is in the installation's folder.

        Raises:
            ConfigurationError: Both are set, there is no key, others may use its file, or it is none.
            InputError: The environment names no folder.
        """
        text, path = environment.get(KEY, ""), environment.get(KEY_FILE, "")
        if text and path:
            raise ConfigurationError(f"{KEY}, {KEY_FILE}: both are set; set one of them")
        if not text:
            own = Settings.from_environment(environment).state / KEY_FILE_NAME
            if not path and not own.exists():
                raise ConfigurationError(
                    f"{KEY}, {KEY_FILE}: none is set, and there is no {own}; make one with `tidewatt init`"
                )
            text = _private_text(Path(path) if path else own)
        return cls([_decoded(word, KEY if environment.get(KEY) else KEY_FILE) for word in text.split()])

    def seal(self, plain: bytes, place: str) -> bytes:
        """Encrypt for one place, such as `account/3`; nowhere else can it be opened."""
        header, nonce = VERSION + self._newest, os.urandom(NONCE_END - ID_END)
        ciphertext, tag = self._cipher(header, nonce, place).encrypt_and_digest(plain)
        return header + nonce + tag + ciphertext

    def open(self, sealed: bytes, place: str) -> bytes:
        """Decrypt what was sealed for a place.

        Raises:
            ConfigurationError: Its key is not in the ring, or it was changed or moved.
        """
        header = sealed[:ID_END]
        if header[:1] != VERSION or header[1:] not in self._ring:
            raise ConfigurationError(
                f"{place}: sealed with a key that is not in the ring; add it behind the newest, or import the account "
                "again if it is lost"
            )
        try:
            cipher = self._cipher(header, sealed[ID_END:NONCE_END], place)
            return cipher.decrypt_and_verify(sealed[TAG_END:], sealed[NONCE_END:TAG_END])
        except ValueError:
            raise ConfigurationError(
                f"{place}: was changed, or belongs to another row; import the account again"
            ) from None

    def _cipher(self, header: bytes, nonce: bytes, place: str) -> GcmMode:
        cipher = AES.new(self._ring[header[1:]], AES.MODE_GCM, nonce=nonce, mac_len=TAG_END - NONCE_END)
        return cipher.update(header + place.encode())


def make_key(settings: Settings, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Make a key in the installation's folder, for its owner only; one that is there is never touched.

    Returns:
        The new file; None where there is a key, or the environment has one.

    Raises:
        InputError: The folder cannot be made.
        OSError: The file cannot be written.
    """
    settings.make_folders()
    path = settings.state / KEY_FILE_NAME
    if environment.get(KEY) or environment.get(KEY_FILE) or path.exists():
        return None
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    write_private(draft, base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n")
    try:
        # Whole and only if there is none: of two that do this at once the second finds the key of the first.
        os.link(draft, path)
    except FileExistsError:
        return None
    finally:
        draft.unlink()
    return path


def settings_place(account_id: int) -> str:
    """Where the settings of an account are."""
    return f"account/{account_id}"


def token_place(account_id: int) -> str:
    """Where the tokens of an account are."""
    return f"token/{account_id}"


def sources_place(market_id: int) -> str:
    """Where the sources of a market are."""
    return f"market/{market_id}"


def rotate(db: Database, sealer: Sealer) -> int:
    """Seal everything anew with the newest key, all or nothing; returns how many blobs there are.

    Raises:
        ConfigurationError: One cannot be opened; nothing is changed then.
    """
    with db.write() as session:
        accounts = session.scalars(
            select(AccountRow).where(AccountRow.sealed_settings.is_not(None)).order_by(AccountRow.id).with_for_update()
        ).all()
        for account in accounts:
            assert account.sealed_settings is not None
            place = settings_place(account.id)
            account.sealed_settings = sealer.seal(sealer.open(account.sealed_settings, place), place)
        tokens = session.scalars(select(TokenRow).order_by(TokenRow.account_id).with_for_update()).all()
        for token in tokens:
            place = token_place(token.account_id)
            token.sealed = sealer.seal(sealer.open(token.sealed, place), place)
        markets = session.scalars(
            select(MarketRow).where(MarketRow.sealed_sources.is_not(None)).order_by(MarketRow.id).with_for_update()
        ).all()
        for market in markets:
            assert market.sealed_sources is not None
            place = sources_place(market.id)
            market.sealed_sources = sealer.seal(sealer.open(market.sealed_sources, place), place)
    return len(accounts) + len(tokens) + len(markets)


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"tidewatt key id" + key).digest()[: ID_END - len(VERSION)]


def _decoded(word: str, name: str) -> bytes:
    try:
        key = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{name}: holds no base64 of {KEY_BYTES} bytes; {WAY_OUT}")
    return key


def _private_text(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigurationError(f"{path.name}: others may use this key; chmod it to 600")
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"{path.name}: cannot be read ({error.strerror}); check {KEY_FILE}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.name}: holds no base64; {WAY_OUT}") from None
