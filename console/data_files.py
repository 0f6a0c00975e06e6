"""Files of measured data as they come: CSV of any dialect, or Parquet. What is wrong inside, the engine says."""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from engine.errors import InputError
from engine.quality.reading import numbers_of

SEPARATORS = (",", ";", "\t")
PARQUET = (".parquet", ".pq")
_OFFSET = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Samples:
    """What a file holds."""

    frame: pd.DataFrame
    """Numbers, or text where some are none, by their times."""
    words: tuple[str, ...]
    """Columns that hold no number at all, left out."""


def read_samples(path: Path, time_column: str | None = None, columns: list[str] | None = None) -> Samples:
    """Read a file of samples.

    Args:
        path: CSV (separated by comma, semicolon or tab; ``.gz`` too) with a header, or Parquet.
        time_column: Name of the column of times. Unset: the index of Parquet, else the first column.
        columns: Those wanted. Unset: all that hold numbers.

    Raises:
        InputError: The file cannot be read, lacks a column, or has a time that is none.
    """
    table = _parquet(path) if path.suffix in PARQUET else _csv(path)
    if time_column is None and not isinstance(table.index, pd.DatetimeIndex):
        time_column = str(table.columns[0])
    for column in (*([time_column] if time_column else []), *(columns or ())):
        if column not in table.columns:
            raise InputError(
                f"{path.name}: {column}", f"missing (the file has {', '.join(table.columns)})", "name one of these"
            )
    if time_column is not None:
        table = table.set_index(_times(path, time_column, table[time_column])).drop(columns=time_column)
    if columns:
        return Samples(table[columns], ())
    words = tuple(str(name) for name in table if _is_words(table[name]))
    table = table.drop(columns=list(words))
    if table.empty:
        raise InputError(path.name, "it has no rows or no column of numbers", "give times and at least one series")
    return Samples(table, words)


def write_samples(path: Path, table: pd.DataFrame) -> None:
    """Write samples by `start` as CSV (``.gz`` too) or Parquet, as the name of the file says."""
    if path.suffix in PARQUET:
        table.to_parquet(path)
        return
    stamps = [time.isoformat().replace("+00:00", "Z") for time in table.index]
    text = table.set_axis(pd.Index(stamps, name="start")).to_csv(lineterminator="\n")
    content = text.encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(str(path), "no Parquet", "give CSV or Parquet") from None


def _csv(path: Path) -> pd.DataFrame:
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile):
        raise InputError(str(path), "no text in UTF-8", "save it as plain text, or gzip of it") from None
    separator = max(SEPARATORS, key=text.partition("\n")[0].count)
    lines = [line for line in csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True) if line]
    header = [name.strip() for name in lines[0]] if lines else []
    if not header or len(set(header)) < len(header):
        raise InputError(
            path.name, f"its header is {', '.join(header) or 'empty'}", "give each column a name of its own"
        )
    if len(lines) == 1:
        raise InputError(path.name, "it has no rows", "give at least two")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise InputError(
                f"{path.name}: line {number}",
                f"it has {len(line)} fields, the header {len(header)}",
                "give every row one field per column; decimal commas need another separator",
            )
    return pd.DataFrame(lines[1:], columns=header)


def _times(path: Path, column: str, stamps: pd.Series) -> pd.DatetimeIndex:
    """Times of a column: UTC where they carry an offset, else as they are."""
    if isinstance(stamps.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_dtype(stamps.dtype):
        return pd.DatetimeIndex(stamps, name="start")
    text = stamps.astype(str).str.strip()
    given = (text != "").to_numpy()
    # The hyphens of a bare date look like an offset.
    offset = (text.str.contains(_OFFSET) & (text.str.len() > len("2026-02-03"))).to_numpy()
    try:
        times = pd.to_datetime(text.where(text != "", None), format="ISO8601", errors="coerce", utc=bool(offset.any()))
    except (ValueError, OverflowError):
        times = pd.Series(pd.NaT, index=text.index)
    none = given & times.isna().to_numpy()
    _refuse_time(path, column, text, none, "is no ISO time", "write it as 2026-02-03T00:00:00Z")
    if offset.any():
        _refuse_time(
            path, column, text, given & ~offset, "has no offset, others have", "write it in all rows or in none"
        )
    return pd.DatetimeIndex(times, name="start")


def _refuse_time(path: Path, column: str, text: pd.Series, bad: np.ndarray, problem: str, way_out: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{path.name}: {column}", f"value {text.iloc[row]!r} in line {row + 2} {problem}", way_out)


def _is_words(samples: pd.Series) -> bool:
    read = numbers_of(samples)
    return bool(read.unreadable.any() and np.isnan(read.values).all())
