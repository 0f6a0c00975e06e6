"""What a backtest is of: a YAML file, options on the command line, or the packaged sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from console.contracts import all_in, tariff_named
from console.inputs import read_fields
from console.sample import sample_history, sample_site
from console.series_files import Span, between, only_column, read_figures, read_table
from engine import DemandCharge, PriceCurve, Site, Strategy
from engine.backtesting.sweep import History
from engine.errors import InputError, input_error_from

BOTH_SIDES = ("import_price_eur_per_kwh", "export_price_eur_per_kwh")


class SeriesFile(BaseModel):
    """A file and which of its columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    column: str | None = None
    """None: the only one that it can be."""


class Subject(BaseModel):
    """A site, its contract and what is wanted of it; the series may be given on the command line as well."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: Site = Field(default_factory=sample_site)
    tariff: dict[str, Any] | None = None
    """`name`, its terms, and `units_per_eur` where it is in another currency; None: the prices are all-in."""
    demand_charges: tuple[DemandCharge, ...] = ()
    strategy: Strategy = Strategy()
    initial_soc: Annotated[float, Field(ge=0, le=1)] = 0.5
    location: tuple[float, float] | None = None
    """Latitude and longitude [degrees], for forecasters that know the sun."""
    prices: SeriesFile | None = None
    load: SeriesFile | None = None
    pv: SeriesFile | None = None


def read_subject(path: Path) -> Subject:
    """Read a YAML file: `site` and whatever else `Subject` has, or a site alone as for `tidewatt plan`.

    `strategy` may be the name of a file, and `prices`, `load`, `pv` those of theirs, seen from this one.

    Raises:
        InputError: A file cannot be read, or a field is unknown or out of its bound.
    """
    content = read_fields(path, "site, prices, load and what else a backtest takes")
    if "battery" in content:
        content = {"site": content}
    if isinstance(content.get("strategy"), str):
        content["strategy"] = read_fields(path.parent / content["strategy"], "fields of a strategy")
    for name in ("prices", "load", "pv"):
        if isinstance(content.get(name), str):
            content[name] = {"file": content[name]}
        if isinstance(content.get(name), dict) and "file" in content[name]:
            content[name] = {**content[name], "file": path.parent / str(content[name]["file"])}
    try:
        return Subject.model_validate(content)
    except ValidationError as error:
        raise input_error_from(error, prefix=f"{path.name}: ") from None


def history_of(subject: Subject, span: Span) -> History:
    """Read what happened, between two times.

    Raises:
        InputError: As for the files; there are no prices but other series, or the tariff has no price for a time.
    """
    if subject.prices is None:
        if subject.load or subject.pv or subject.tariff:
            raise InputError("--prices", "missing", "give a file of market prices; the sample's go with no other home")
        cut = {name: between(series, span) for name, series in sample_history().items()}
        return History(cut["prices"], cut["house"]["load_kw"], cut["house"]["pv_kw"], location=subject.location)
    load, pv = (
        None if given is None else _series(given, stem, span)
        for stem, given in (("load", subject.load), ("pv", subject.pv))
    )
    return History(_prices(subject, span), load, pv, location=subject.location)


def _series(given: SeriesFile, stem: str, span: Span) -> pd.Series:
    table = read_table(given.file)
    return read_figures(given.file, table, given.column or only_column(given.file, table, stem), span)


def _prices(subject: Subject, span: Span) -> pd.DataFrame | pd.Series:
    given = subject.prices
    assert given is not None
    table = read_table(given.file)
    if given.column is None and set(BOTH_SIDES) <= set(table):
        bought, sold = (read_figures(given.file, table, name, span) for name in BOTH_SIDES)
        return pd.DataFrame({"import_price": bought, "export_price": sold})
    market = read_figures(given.file, table, given.column or only_column(given.file, table, "price"), span)
    if subject.tariff is None:
        return market
    terms = dict(subject.tariff)
    units_per_eur = terms.pop("units_per_eur", None)
    if "name" not in terms:
        raise InputError("tariff.name", "missing", "name a tariff")
    tariff = tariff_named(**terms)
    if units_per_eur is None and tariff.currency != "EUR":
        raise InputError("tariff.units_per_eur", "missing", f"say what a euro comes to in {tariff.currency}")
    return all_in(PriceCurve(market, "EUR"), tariff, units_per_eur or 1.0)
