"""Files that people write: a site in YAML, a day in CSV. Every fault is one line that says what to do."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import yaml
from pydantic import BaseModel, ValidationError

from engine import InputError, Site, Strategy, columns
from engine.errors import input_error_from

M = TypeVar("M", bound=BaseModel)
SERIES_COLUMNS = (*columns.PRICES.values(), *columns.POWERS.values())
MARKET_COLUMNS = tuple(columns.MARKETS.values())


class NoRepeats(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, looking for repeated keys."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(str(key), "given twice", "keep one of them")
        return super().construct_mapping(node, deep)


def read_site(path: Path) -> Site:
    """Read a site from YAML.

    Raises:
        InputError: The file cannot be read, or what it says cannot be a site.
    """
    return _read(Site, path, "name, timezone, battery, grid and pv")


def read_strategy(path: Path) -> Strategy:
    """Read a strategy from YAML.

    Raises:
        InputError: The file cannot be read, or what it says cannot be a strategy.
    """
    return _read(Strategy, path, "fields of a strategy, such as reserve_soc: 0.3")


def _read(model: type[M], path: Path, expected: str) -> M:
    try:
        return model.model_validate(read_fields(path, expected))
    except ValidationError as error:
        raise input_error_from(error, prefix=f"{path.name}: ") from None


def read_fields(path: Path, expected: str) -> dict[str, Any]:
    """Read names and values from YAML.

    Args:
        path: The file.
        expected: What belongs in it, for the error.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    try:
        content = yaml.load(read_text(path), Loader=NoRepeats)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise InputError(str(path), f"no YAML ({where})", "correct the syntax") from None
    if not isinstance(content, dict):
        raise InputError(str(path), "holds no fields", f"write {expected}")
    return {str(name): value for name, value in content.items()}


def read_series(
    path: Path,
    wanted: tuple[str, ...] = SERIES_COLUMNS,
    *,
    some_suffice: bool = False,
    optional: tuple[str, ...] = (),
) -> pd.DataFrame:
    """Read a day (or any horizon) from CSV: `start` with offset, then the columns wanted, or with `some_suffice` some.

    Columns in `optional` may be there, too.

    Returns:
        The columns as numbers, indexed by `start` in UTC. Regularity, gaps and signs are judged by the engine.

    Raises:
        InputError: The file cannot be read, lacks a column, or has a cell that is no time or no number.
    """
    lines = [line for line in csv.reader(io.StringIO(read_text(path)), skipinitialspace=True) if line]
    if not lines:
        raise InputError(path.name, "it is empty", "write a header and one row per interval")
    header = [name.strip() for name in lines[0]]
    if some_suffice:
        wanted = tuple(column for column in wanted if column in header) or wanted
    needed, wanted = wanted, (*wanted, *(column for column in optional if column in header))
    for column in ("start", *wanted):
        if column not in header:
            raise InputError(
                f"{path.name}: {column}",
                f"missing (the file has {', '.join(header)})",
                f"give the columns start, {', '.join(needed)}",
            )
    for column in header:
        if column not in ("start", *wanted) or header.count(column) > 1:
            fault = "is there twice" if header.count(column) > 1 else "unknown column"
            raise InputError(f"{path.name}: {column}", fault, "remove it or correct its spelling")
    rows = lines[1:]
    if not rows:
        raise InputError(path.name, "it has no rows", "give at least two intervals")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path.name}: line {number}",
                f"it has {len(row)} fields, the header {len(header)}",
                "give every row one field per column",
            )
    table = [dict(zip(header, row, strict=True)) for row in rows]
    index = pd.DatetimeIndex(
        [_time(path, number, row["start"]) for number, row in enumerate(table, start=2)], name="start"
    )
    columns = {column: [_number(path, column, row["start"], row[column]) for row in table] for column in wanted}
    return pd.DataFrame(columns, index=index)


@contextmanager
def in_file_terms(path: Path) -> Iterator[None]:
    """Let the engine's errors about series name the file and its columns."""
    try:
        yield
    except InputError as error:
        # As in `import_price.index` and `balancing_price.fcr_n.index`.
        series, part = error.field.removesuffix(".index"), error.field.endswith(".index")
        if series not in columns.NAMES:
            raise
        way_out = error.way_out
        if series == "pv" and "PvArray" in way_out:
            way_out = "give the site a line pv: {curtailable: false}, or let pv_kw be 0"
        column = "start" if part else columns.NAMES[series]
        raise InputError(f"{path.name}: {column}", error.problem, way_out) from None


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: It cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(str(path), "no text in UTF-8", "save it as plain text") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "check path and permissions") from None


def _time(path: Path, row: int, text: str) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(text.strip())
        if time.tzinfo is not None:
            return time.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise InputError(
            f"{path.name}: start",
            f"value {text!r} in line {row} is no ISO time",
            "write it as 2026-02-03T00:00:00+01:00",
        ) from None
    raise InputError(
        f"{path.name}: start",
        f"value {text!r} in line {row} has no offset",
        "write the offset too, as in 2026-02-03T00:00:00+01:00 or ...Z",
    )


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
