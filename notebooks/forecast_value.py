# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # What is a good forecast worth?
#
# Forecasts are usually judged by their mean absolute error. A battery is paid for something else: for moving energy
# into the right hours. Which score tells what a forecaster earns?

# %%
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from console.sample import sample_history, sample_market, sample_site
from engine.backtesting.sweep import History, product, sweep
from engine.forecast import (
    Forecaster,
    Forecasts,
    GradientBoosting,
    Observed,
    PerfectForesight,
    Persistence,
    SeasonalNaive,
    SimilarDay,
    Stakes,
    score,
)
from engine.plotting import BLUE, GREY, ORANGE, PURPLE, RED, SKY
from engine.tariffs import Charge
from engine.tariffs.generic import spot_contract

# %% [markdown]
# ## Who forecasts
#
# Tidewatt's own, and two that are wrong on purpose. Whatever has a `name` and a `forecast` is a forecaster.


# %%
@dataclass(frozen=True)
class Level:
    """Knows no hours: the median of the last week, at all times."""

    name: str = "flat median"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        median = observed.values.rolling("7D").median().shift(1).reindex(decisions)
        return Forecasts(decisions, observed.step, np.repeat(median.to_numpy()[:, np.newaxis], steps, axis=1))


@dataclass(frozen=True)
class Biased:
    """Another's forecast times a factor: every hour keeps its rank, and all are wrong."""

    of: Forecaster
    factor: float

    @property
    def name(self) -> str:
        return f"{self.of.name} x {self.factor:g}"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        forecasts = self.of.forecast(observed, decisions, steps)
        return replace(forecasts, mean=forecasts.mean * self.factor)


forecasters: list[Forecaster] = [
    Persistence(),
    SeasonalNaive(),
    SimilarDay(),
    GradientBoosting(),
    Biased(SimilarDay(), 0.6),
    Biased(SimilarDay(), 1.5),
    Level(),
]

# %% [markdown]
# ## Three scores
#
# The load of a metered home over five weeks, forecast every day at 17:00 for 36 hours once a week is known. *tau* is
# the rank correlation of the first day's hours. *Regret* is what planning on the forecast costs more than planning on
# the truth, with PV and prices known and the plan's powers held.

# %%
contract = spot_contract(
    Charge.flat("supplier fee", 0.02),
    Charge.flat("energy tax", 0.1088, "tax"),
    currency="EUR",
    timezone="Europe/Amsterdam",
    vat=0.21,
    export_fee=0.02,
)
site, market, house = sample_site(), sample_market(), sample_history()["house"]
quarters = house.resample("15min").mean()
load = Observed(quarters["load_kw"], timezone=site.timezone)
stakes = Stakes(
    site,
    import_price=contract.import_price(market).hold("15min").series,
    export_price=contract.export_price(market).hold("15min").series,
    other=quarters["pv_kw"],
)
days = pd.date_range("2024-03-26 17:00", "2024-04-19 17:00", tz=site.timezone)
scores = score(forecasters, load, days.tz_convert("UTC"), steps=144, stakes=stakes)
scores[["mae_kw", "tau_day_1", "regret_eur"]].round(3)

# %%
scores["tau_day_1"] = scores["tau_day_1"].fillna(0.0)
smallest_error, least_regret = scores["mae_kw"].idxmin(), scores["regret_eur"].idxmin()
same = scores.loc[["similar day", "similar day x 0.6", "similar day x 1.5"]]
Markdown(
    f"The smallest error is that of *{smallest_error}*, the least regret that of *{least_regret}*. *similar day* and "
    f"its two biased copies have the same tau, {same['tau_day_1'].iloc[0]:.2f}, for they put the hours in the same "
    f"order; their regret runs from {same['regret_eur'].min():.2f} to {same['regret_eur'].max():.2f} EUR a plan. Too "
    "high a forecast is dearer than too low a one: power held for a load that does not come is sold at the lower "
    "price. Even *flat median*, which knows no hours and so has no tau, has less regret than *similar day*."
)

# %% [markdown]
# ## What each earns
#
# The same forecasters in a backtest of the five weeks, with PV known, planned anew every hour on the one expected
# load. Once the battery holds the plan's powers; once it is told what Tidewatt tells batteries: to follow the house
# where the plan does.

# %%
history = History(market, house["load_kw"], house["pv_kw"], contract)
named = {one.name: (one, PerfectForesight()) for one in [*forecasters, PerfectForesight()]}
earned = pd.DataFrame(
    {
        column: sweep(
            product({"home": (site, history)}, forecasters=named, modes=modes, futures=1, yardsticks=False)
        ).set_index("forecaster")["saved_eur"]
        for column, modes in (("held powers EUR", False), ("modes EUR", True))
    }
)
earned.sort_values("held powers EUR", ascending=False).round(2)

# %%
told = earned.drop("perfect foresight")
agreement = pd.DataFrame(
    {
        column: {
            "mean absolute error": -scores["mae_kw"].corr(told[column], method="kendall"),
            "tau": scores["tau_day_1"].corr(told[column], method="kendall"),
            "regret": -scores["regret_eur"].corr(told[column], method="kendall"),
        }
        for column in told
    }
)
agreement.round(2)

# %%
held, modes = told["held powers EUR"], told["modes EUR"]
perfect = earned.loc["perfect foresight"]
Markdown(
    "The table says how well the order by each score agrees with the order by money (1: the same order, 0: none). No "
    "score tells the money: with held powers the mean absolute error agrees by "
    f"{agreement['held powers EUR']['mean absolute error']:.2f}, tau by {agreement['held powers EUR']['tau']:.2f} and "
    f"regret by {agreement['held powers EUR']['regret']:.2f}; with modes by "
    f"{agreement['modes EUR']['mean absolute error']:.2f}, {agreement['modes EUR']['tau']:.2f} and "
    f"{agreement['modes EUR']['regret']:.2f}. Seven forecasters in one home are few; docs/forecasting.md has 17 "
    f"sites.\n\nWith held powers *{held.idxmax()}* earns most, **{held.max():.2f} EUR**, "
    f"{held.max() - held.min():.2f} EUR more than the last, and the perfect forecast would earn "
    f"{perfect['held powers EUR'] - held.max():.2f} EUR more still. Where the battery may follow the house, everybody "
    f"earns at least {(modes - held).min():.2f} EUR more, *{modes.idxmax()}* most of all (**{modes.max():.2f} EUR**), "
    f"and perfection is worth another **{perfect['modes EUR'] - modes.max():.2f} EUR** in five weeks. So what the "
    "battery is told to do is worth more here than any forecast of the load."
)

# %% [markdown]
# ## Ranks beside ranks
#
# One line per forecaster, the best on top. Lines that cross are scores that disagree.

# %%
ranks = pd.DataFrame(
    {
        "mean absolute error": scores["mae_kw"].rank(method="first"),
        "regret": scores["regret_eur"].rank(method="first"),
        "earned, held powers": held.rank(method="first", ascending=False),
        "earned, modes": modes.rank(method="first", ascending=False),
    }
)
figure = go.Figure()
for (name, row), colour in zip(ranks.iterrows(), (PURPLE, SKY, BLUE, "#009E73", ORANGE, RED, GREY), strict=True):
    figure.add_scatter(
        x=ranks.columns,
        y=row,
        mode="lines+markers",
        line={"color": colour, "width": 3},
        marker={"size": 12},
        showlegend=False,
        name=str(name),
    )
    figure.add_annotation(
        x=ranks.columns[-1],
        y=row.iloc[-1],
        text=str(name),
        font={"color": colour},
        xanchor="left",
        xshift=14,
        showarrow=False,
    )
figure.update_layout(
    template="plotly_white",
    title="Rank of each forecaster by score and by money",
    yaxis={"autorange": "reversed", "title": "rank", "dtick": 1, "showgrid": False},
    xaxis={"side": "top"},
    margin={"r": 160, "t": 110, "b": 30},
)
