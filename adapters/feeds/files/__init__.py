"""Prices from a CSV or Parquet file: of a contract, of another system, of history."""
