# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Where was the money lost?
#
# A planned battery saves less than one that knows the future. How much of that is lost to forecasts, to orders that
# are not the plan, to what the battery could not do, and to the meter; on which days; and what was different on the
# worst?

# %%
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from console.sample import sample_history, sample_market, sample_site
from engine import backtest
from engine.forecast import PvRegression, SimilarDay
from engine.plotting import GREY, ORANGE, RED, SKY
from engine.tariffs import Charge
from engine.tariffs.generic import spot_contract

contract = spot_contract(
    Charge.flat("supplier fee", 0.02),
    Charge.flat("energy tax", 0.1088, "tax"),
    currency="EUR",
    timezone="Europe/Amsterdam",
    vat=0.21,
    export_fee=0.02,
)
house = sample_history()["house"]
history = {"prices": sample_market(), "tariff": contract, "load": house["load_kw"], "pv": house["pv_kw"]}
forecasts = {"load_forecaster": SimilarDay(), "pv_forecaster": PvRegression()}
result = backtest(sample_site(), **history, **forecasts)
print(result.summary())

# %% [markdown]
# ## Day by day
#
# `result.attribution` says it for every day, and its columns add up to the cent.

# %%
lost = result.attribution.drop(columns=["perfect_eur", "total_eur"])
lost["lost_eur"] = lost.sum(axis=1)
worst = lost.sort_values("lost_eur", ascending=False)
worst.head(5).round(2)

# %%
half = int(np.searchsorted(worst["lost_eur"].cumsum(), worst["lost_eur"].sum() / 2)) + 1
Markdown(
    f"In all **{worst['lost_eur'].sum():.2f} EUR** were lost, and **{half} of {len(worst)} days** lost half of it. "
    f"The worst was {worst.index[0]:%A} {worst.index[0].day} {worst.index[0]:%B} with {worst['lost_eur'].iloc[0]:.2f} "
    f"EUR. On {(lost['lost_eur'] < 0).sum()} days we did better than perfect foresight did: it is the best over the "
    "whole history, not on each of its days."
)

# %%
figure = go.Figure(
    go.Bar(
        x=lost.index,
        y=lost["lost_eur"],
        marker_color=[RED if day in worst.index[:5] else GREY for day in lost.index],
        showlegend=False,
    )
)
figure.update_layout(
    template="plotly_white",
    margin={"t": 70, "b": 40},
    title="Lost against perfect foresight by day [EUR], the five worst in red",
    yaxis_title="EUR",
    xaxis={"tickformat": "%a %-d %b", "dtick": 7 * 24 * 3600 * 1000},
)

# %% [markdown]
# ## The worst day, drawn open

# %%
result.plot_day(worst.index[0])

# %%
on_day = result.reality.index.tz_convert(result.site.timezone).date == worst.index[0]
day, best, hours = result.table[on_day], result.accounts["perfect foresight"], result.reality.step_h
dawn, capacity_kwh = int(on_day.argmax()), result.site.battery.capacity_kwh
began = result.table["soc"].iloc[dawn - 1]
best_began = result.initial_soc + best.stored_change[:dawn].sum() / capacity_kwh
sold_kwh, best_sold_kwh = day["export_kw"].sum() * hours, best.exported[on_day].sum()
earned = (day["export_kw"] * day["export_price"]).sum() * hours
Markdown(
    f"We began the day with {began:.0%} in store, perfect foresight with {best_began:.0%}: it had used up more "
    f"before, and so had more room for the day's sun: it sold {best_sold_kwh:.1f} kWh, we {sold_kwh:.1f} kWh, at "
    f"{earned / sold_kwh * 100:.1f} ct/kWh in the mean."
)

# %% [markdown]
# ## Modes against fixed set-points
#
# The orders that were carried out are modes: to follow the house where the plan does, otherwise a power. What if the
# battery had been told the plan's powers instead?

# %%
fixed = backtest(sample_site(), **history, **forecasts, modes=False, yardsticks=False)
steps = ["forecast_eur", "command_eur", "execution_eur", "metering_eur"]
both = pd.DataFrame(
    {name: one.attribution[steps].sum() for name, one in (("modes", result), ("fixed set-points", fixed))}
)
both.loc["total"] = both.sum()
both.round(2)

# %%
by_modes, by_powers = both["modes"], both["fixed set-points"]
Markdown(
    f"Modes lose **{by_modes['total']:.2f} EUR** in all, fixed set-points **{by_powers['total']:.2f} EUR**. With "
    f"modes the plans as such lose {by_modes['forecast_eur']:.2f} EUR, for no load comes as it was foreseen, and "
    f"following the house wins {-by_modes['command_eur']:.2f} EUR of that back. A fixed set-point cannot: what it "
    f"holds until the next plan costs {by_powers['command_eur']:.2f} EUR, and the meter, where minutes that buy and "
    f"minutes that sell do not cancel, {by_powers['metering_eur']:.2f} EUR instead of {by_modes['metering_eur']:.2f}."
)

# %%
figure = go.Figure()
labels = [f"{name}:<br>{eur:.2f} EUR in all" for name, eur in both.loc["total"].items()]
for (step, row), colour in zip(both.drop("total").iterrows(), (ORANGE, SKY, RED, GREY), strict=True):
    figure.add_bar(y=labels, x=row, name=str(step).removesuffix("_eur"), orientation="h", marker_color=colour)
figure.add_scatter(
    y=labels,
    x=both.loc["total"],
    mode="markers",
    marker={"symbol": "diamond", "size": 14, "color": "black", "line": {"color": "white", "width": 2}},
    name="in all",
)
figure.update_layout(
    template="plotly_white",
    barmode="relative",
    height=360,
    title="Lost against perfect foresight in five weeks [EUR], gained below 0",
    xaxis_title="EUR",
    yaxis={"ticksuffix": "  "},
    legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
    margin={"l": 140, "t": 90, "b": 50},
)
