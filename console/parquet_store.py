"""Figures of finished backtests in a folder, one Parquet file for each."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
from pyarrow import parquet

from engine.backtesting.sweep import Row


class ParquetStore:
    """One file per case, named by its key, there whole or not at all; `pandas.read_parquet(folder)` reads them all."""

    def __init__(self, folder: Path) -> None:
        """Take a folder, made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def get(self, key: str) -> Row | None:
        """The figures of a case, None where it was not finished."""
        file = self._file(key)
        if not file.exists():
            return None
        row: Row = parquet.read_table(file).to_pylist()[0]
        return row

    def put(self, key: str, figures: Row) -> None:
        """Write them; whoever is killed on the way leaves a file with another ending."""
        part = self._file(key).with_suffix(f".part-{os.getpid()}")
        with part.open("wb") as file:
            pd.DataFrame([figures]).to_parquet(file, index=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._file(key))

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.parquet"
