"""One measured or market series from a CSV or Parquet file of any origin; faults name file, column and row."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from engine.errors import InputError
from engine.timeline import utc_index

OFFSET = re.compile(r".*(Z|[+-]\d\d:?\d\d)\s*")
# By what the name of a column ends with: what its figures are divided by to be in kW or currency/kWh.
DIVISORS = {"_per_mwh": 1000.0, "_per_kwh": 1.0, "_kw": 1.0, "_w": 1000.0, "_mw": 0.001}
# The first row of figures in a file with a header, as editors count.
FIRST_ROW = 2

Span = tuple[pd.Timestamp | None, pd.Timestamp | None]


def read_table(path: Path) -> pd.DataFrame:
    """A file's columns as text or numbers, its times as the index in UTC.

    Times are those of the first column, or of a Parquet file's index, with offsets.

    Raises:
        InputError: It cannot be read, or a time is none or has no offset.
    """
    try:
        if path.suffix == ".parquet":
            with path.open("rb") as file:
                table = pd.read_parquet(file)
            table = table.reset_index() if isinstance(table.index, pd.DatetimeIndex) else table
        else:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise InputError(str(path), problem, "check path and permissions") from None
    except (ValueError, EOFError) as error:
        problem = f"is no table ({str(error).splitlines()[0]})"
        raise InputError(path.name, problem, "give CSV with a header (.csv, .csv.gz) or Parquet (.parquet)") from None
    if table.empty or table.shape[1] < 2:
        raise InputError(path.name, "it has no rows or no column besides the first", "give times and figures")
    name, text = str(table.columns[0]), table.iloc[:, 0].astype(str)
    times = pd.DatetimeIndex(pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce"))
    wrong = np.asarray(times.isna()) | ~text.str.fullmatch(OFFSET).to_numpy(bool)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{path.name}: {name}",
            f"value {text.iloc[row]!r} in row {row + FIRST_ROW} is no time with an offset",
            "write it as 2026-02-03T00:00:00+01:00 or ...Z",
        )
    return table.iloc[:, 1:].set_axis(times, axis="index")


def read_figures(path: Path, table: pd.DataFrame, column: str, span: Span) -> pd.Series:
    """One column of a table between two times [kW or currency/kWh, by the end of its name].

    Raises:
        InputError: There is no such column, nothing in that time, or a figure there is missing or none.
    """
    if column not in table:
        raise InputError(
            f"{path.name}: {column}", f"missing (the file has {', '.join(map(str, table))})", "name one of these"
        )
    numbered = table[[column]].assign(row=np.arange(len(table)) + FIRST_ROW)
    try:
        kept = between(numbered, span)
    except InputError as error:
        raise InputError(f"{path.name}: {column}", error.problem, error.way_out) from None
    given = kept[column]
    values = pd.to_numeric(given, errors="coerce").astype(float)
    wrong = ~np.isfinite(values.to_numpy())
    if wrong.any():
        at = int(wrong.argmax())
        shown = repr(given.iloc[at]) if str(given.iloc[at]).strip() else "empty"
        raise InputError(
            f"{path.name}: {column}",
            f"value {shown} in row {kept['row'].iloc[at]} ({given.index[at]:%Y-%m-%dT%H:%MZ}) is no number"
            f"{f', nor are {int(wrong.sum()) - 1} after it' if wrong.sum() > 1 else ''}",
            "fill it or leave its time out with --from and --to; a missing value is never taken as 0",
        )
    try:
        index = utc_index(column, pd.DatetimeIndex(values.index))
    except InputError as error:
        raise InputError(f"{path.name}: times", error.problem, error.way_out) from None
    divisor = next((divisor for ending, divisor in DIVISORS.items() if column.lower().endswith(ending)), None)
    if divisor is None:
        raise InputError(
            f"{path.name}: {column}",
            "its name does not end with its unit",
            f"rename it, so that it ends with {', '.join(DIVISORS)}",
        )
    return values.set_axis(index) / divisor


def between(table: pd.DataFrame, span: Span) -> pd.DataFrame:
    """Its rows in [begin, end); None is no bound.

    Raises:
        InputError: There are none.
    """
    begin, end = span
    after = True if begin is None else table.index >= begin
    before = True if end is None else table.index < end
    kept = table[np.full(len(table), True) & after & before]
    if kept.empty:
        first, last = table.index[[0, -1]]
        raise InputError(
            "time", f"nothing is in it, the data is from {first:%Y-%m-%d} to {last:%Y-%m-%d}", "change --from or --to"
        )
    return kept


def only_column(path: Path, table: pd.DataFrame, stem: str) -> str:
    """The one column whose name has a stem (`price`, `load`, `pv`), or the file's only one.

    Raises:
        InputError: There are several, or none.
    """
    names = [str(name) for name in table]
    having = [name for name in names if stem in name.lower()] or names
    if len(having) > 1:
        raise InputError(f"{path.name}: column", f"it could be any of {', '.join(having)}", "choose one by name")
    return having[0]
