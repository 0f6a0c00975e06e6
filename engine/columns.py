"""What the series of `optimise` are called as columns of a table: in files, in stores, on screens."""

from __future__ import annotations

from typing import Any, get_args

import pandas as pd

from engine.balancing import ProductName
from engine.market_inputs import used_by
from engine.strategy import Strategy

PRICES = {"import_price": "import_price_eur_per_kwh", "export_price": "export_price_eur_per_kwh"}
POWERS = {"load": "load_kw", "pv": "pv_kw"}
# A product's series go by its name and a dot, as in `balancing_price.fcr_n`.
MARKETS = {
    "position_kw": "position_kw",
    "bid_price": "bid_price_eur_per_kwh",
    "ask_price": "ask_price_eur_per_kwh",
    "imbalance_price": "imbalance_price_eur_per_kwh",
    "schedule_kw": "schedule_kw",
    "carbon_kg_per_kwh": "carbon_kg_per_kwh",
    **{f"balancing_price.{product}": f"{product}_price_eur_per_kw_h" for product in get_args(ProductName)},
    **{f"balancing_sold_kw.{product}": f"{product}_sold_kw" for product in get_args(ProductName)},
}
"""Series that only some strategies ask for, and the column of each."""
NAMES = PRICES | POWERS | MARKETS
COMMITTED = frozenset(
    column for name, column in MARKETS.items() if name == "position_kw" or name.startswith("balancing_sold_kw.")
)
"""What is sold already: where nothing is said of it, nothing is."""


def asked_for(strategy: Strategy) -> list[str]:
    """The columns of `MARKETS` that a strategy reads, those of `COMMITTED` among them."""
    return [MARKETS[name] for name, (_, is_used) in used_by(strategy).items() if is_used]


def arguments(table: pd.DataFrame, strategy: Strategy | None = None) -> dict[str, Any]:
    """What `optimise` takes of a table besides prices, load and PV.

    Args:
        table: Any of the columns of `MARKETS`, and others, which are left out.
        strategy: Only what it asks for. None: all that is there, so that what nobody asks for is refused.
    """
    found: dict[str, Any] = {}
    wanted = set(MARKETS.values() if strategy is None else asked_for(strategy))
    for name, column in MARKETS.items():
        if column not in table or column not in wanted:
            continue
        argument, _, product = name.partition(".")
        if product:
            found.setdefault(argument, {})[product] = table[column]
        else:
            found[argument] = table[column]
    return found
