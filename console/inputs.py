"""Files that people write: a site in YAML, a day in CSV. Every fault is one line that says what to do."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import pandas as pd
import yaml
from pydantic import ValidationError

from engine import InputError, Site
from engine.errors import input_error_from

SERIES_COLUMNS = ("import_price_eur_per_kwh", "export_price_eur_per_kwh", "load_kw", "pv_kw")


def read_site(path: Path) -> Site:
    """Read a site from YAML.

    Raises:
        InputError: The file cannot be read, or what it says cannot be a site.
    """
    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise InputError(str(path), f"no YAML ({where})", "correct the syntax") from None
    if not isinstance(content, dict):
        raise InputError(str(path), "holds no fields", "write name, timezone, battery, grid and pv")
    try:
        return Site.model_validate(content)
    except ValidationError as error:
        raise input_error_from(error, prefix=f"{path.name}: ") from None


def read_series(path: Path, wanted: tuple[str, ...] = SERIES_COLUMNS) -> pd.DataFrame:
    """Read a day (or any horizon) from CSV: `start` with offset, then the columns wanted.

    Returns:
        The columns as numbers, indexed by `start` in UTC. Regularity, gaps and signs are judged by the engine.

    Raises:
        InputError: The file cannot be read, lacks a column, or has a cell that is no time or no number.
    """
    text = _text(path)
    try:
        raw = pd.read_csv(io.StringIO(text), dtype=str, skipinitialspace=True, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(path.name, f"no CSV table ({reason})", "write a header and one row per interval") from None
    raw.columns = [str(column).strip() for column in raw.columns]
    for column in ("start", *wanted):
        if column not in raw:
            raise InputError(
                f"{path.name}: {column}",
                f"missing (the file has {', '.join(raw.columns)})",
                f"give the columns start, {', '.join(wanted)}",
            )
    unknown = [column for column in raw if column not in ("start", *wanted)]
    if unknown:
        raise InputError(f"{path.name}: {unknown[0]}", "unknown column", "remove it or correct its spelling")
    if raw.empty:
        raise InputError(path.name, "it has no rows", "give at least two intervals")
    index = pd.DatetimeIndex([_time(path, row, text) for row, text in enumerate(raw["start"], start=2)], name="start")
    columns = {
        column: [_number(path, column, raw["start"].iloc[row], text) for row, text in enumerate(raw[column])]
        for column in wanted
    }
    return pd.DataFrame(columns, index=index)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(str(path), "no text in UTF-8", "save it as plain text") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "check path and permissions") from None


def _time(path: Path, row: int, text: str) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"{path.name}: start",
            f"value {text!r} in line {row} is no ISO time",
            "write it as 2026-02-03T00:00:00+01:00",
        ) from None
    if time.tzinfo is None:
        raise InputError(
            f"{path.name}: start",
            f"value {text!r} in line {row} has no offset",
            "write the offset too, as in 2026-02-03T00:00:00+01:00 or ...Z",
        )
    return time.astimezone(dt.UTC)


def _number(path: Path, column: str, start: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        shown = repr(text) if text.strip() else "empty"
        raise InputError(
            f"{path.name}: {column}",
            f"value {shown} at {start} is no number",
            "fill it; a missing value is never taken as 0",
        ) from None
    return number
