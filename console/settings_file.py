"""Putting settings that were found into a file of accounts, changing nothing else of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from adapters.private_file import write_private
from console.accounts import parse_accounts
from console.inputs import read_text
from engine.errors import InputError


class SettingsFile:
    """A file of accounts as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            InputError: It cannot be read.
        """
        self._path = path
        self._text = read_text(path)

    def put(self, place: int, settings: Mapping[str, Any]) -> str:
        """Put settings into one account; the file keeps its kind and becomes readable by its owner only.

        Args:
            place: Which account of the file, from 1.
            settings: What its `account` shall hold besides what it holds; None takes a setting out.

        Returns:
            What was lost by it, in words; empty: nothing.

        Raises:
            InputError: The file was changed since it was opened, or would not read back as it is; it is as it was.
            OSError: It cannot be written.
        """
        if read_text(self._path) != self._text:
            raise InputError(
                self._path.name, "changed meanwhile, so nothing was written", "put the settings in by hand"
            )
        content = parse_accounts(self._path, self._text)
        inner = content["accounts"] if isinstance(content, dict) and "accounts" in content else content
        account = (inner if isinstance(inner, dict) else inner[place - 1])["account"]
        for name, value in settings.items():
            if value is None:
                account.pop(name, None)
            else:
                account[name] = value
        text, lost = self._rendered(content)
        if parse_accounts(self._path, text) != content:
            raise InputError(self._path.name, "cannot be written back as it is", "put the settings in by hand")
        write_private(self._path, text)
        return lost

    def _rendered(self, content: Any) -> tuple[str, str]:
        lines = [line for line in self._text.splitlines() if line.strip()]
        if _is_json(self._text):
            return json.dumps(content, indent=2 if len(lines) > 1 else None) + "\n", ""
        if all(map(_is_json, lines)):
            return "".join(json.dumps(entry) + "\n" for entry in content), ""
        text = yaml.dump(content, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True, width=120)
        has_comments = any(token in self._text for token in ("# ", "#\n")) or self._text.lstrip().startswith("#")
        return text, "the comments of the YAML" if has_comments else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
