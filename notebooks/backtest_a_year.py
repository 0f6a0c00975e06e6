# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # What does a battery earn in a year, if nobody can see ahead?
#
# A home battery of 10 kWh is planned every hour with the prices that were known then and forecasts of load and PV.
# What is left of the saving that somebody who knew everything would have made, and in which months?
#
# Tidewatt comes with five real weeks: Dutch day-ahead prices of spring 2024, and load and PV of a metered home
# (`console/sample_data/ORIGIN.md`). We ask them first. Then we lay a year out of them.

# %%
import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from console.sample import sample_history, sample_market, sample_site
from console.sample_year import sample_year
from engine import backtest
from engine.forecast import PvRegression, SimilarDay
from engine.plotting import BLUE, GREY, PURPLE
from engine.tariffs import Charge
from engine.tariffs.generic import spot_contract

contract = spot_contract(
    Charge.flat("supplier fee", 0.02),
    Charge.flat("energy tax", 0.1088, "tax"),
    currency="EUR",
    timezone="Europe/Amsterdam",
    vat=0.21,
    export_fee=0.02,
    name="Dutch home without net metering",
)
settings = {"load_forecaster": SimilarDay(), "pv_forecaster": PvRegression(), "step": "1h"}

# %% [markdown]
# ## Five real weeks

# %%
market, house = sample_market(), sample_history()["house"]
spring = backtest(sample_site(), prices=market, tariff=contract, load=house["load_kw"], pv=house["pv_kw"], **settings)
spring.comparison().round(3)

# %% [markdown]
# A mean hides how much days differ. What each week saved, against a home without a battery:

# %%
daily = spring.daily_costs_eur
saved = daily["no battery"] - daily["metered"]
weekly = saved.groupby([day.isocalendar().week for day in saved.index]).sum()
yearly = saved.mean() * 365
spread = saved.std() / len(saved) ** 0.5 * 365
Markdown(
    f"The best week saved **{weekly.max():.2f} EUR** and the worst **{weekly.min():.2f} EUR**. Times 365 days that is "
    f"{yearly:.0f} EUR a year, give or take {spread:.0f} EUR for the luck of the days alone (one standard error), and "
    "without a word about summer and winter."
)

# %% [markdown]
# ## A year laid out from them
#
# `sample_year` repeats the five weeks, weekday on weekday, and lets the sun over Amsterdam rise and set as it does in
# the year: a December day has a December sun under a sky that was really seen. So **prices and loads are real, but
# they come back every five weeks**: the market has no winter and the home no holidays, and the roof, under
# Californian skies, gives more than a Dutch one. What we can learn is what the season of the sun does to a battery.
#
# With a year of your own: `prices=` takes a Series of EUR/kWh, `load=` and `pv=` one of kW, at any step.

# %%
year = sample_year(2025)
result = backtest(sample_site(), prices=year.prices, tariff=contract, load=year.load, pv=year.pv, **settings)
print(result.summary())

# %%
result.plot()

# %% [markdown]
# ## Month by month

# %%
costs = result.daily_costs_eur
months = costs.groupby(pd.to_datetime(costs.index).to_period("M").to_timestamp()).sum()
saved = months[["self-consumption rule", "metered", "perfect foresight"]].rsub(months["no battery"], axis=0)
pv_kw = result.table["pv_kw"] + result.table["curtailment_kw"]
pv_kwh = pv_kw.tz_convert("Europe/Amsterdam").tz_localize(None).resample("MS").sum() * result.reality.step_h
saved.set_axis(saved.index.strftime("%B")).round(1)

# %%
best, worst = saved["metered"].idxmax(), saved["metered"].idxmin()
gap = (saved["metered"] - saved["self-consumption rule"]).div(saved["metered"])
Markdown(
    f"The battery saves most in **{best:%B}** ({saved['metered'].max():.0f} EUR, PV {pv_kwh[best]:.0f} kWh) and least "
    f"in **{worst:%B}** ({saved['metered'].min():.0f} EUR, PV {pv_kwh[worst]:.0f} kWh). Planning, rather than storing "
    f"whatever is left over, is {gap.max():.0%} of the saving in {gap.idxmax():%B} and {gap.min():.0%} in "
    f"{gap.idxmin():%B}. Over the year the battery saves **{result.saved_eur:.0f} EUR**, {result.capture_rate():.0%} "
    f"of what perfect foresight would; five weeks of spring times 365 days had said {yearly:.0f} EUR."
)

# %%
figure = go.Figure(
    [
        go.Bar(x=saved.index, y=saved["self-consumption rule"], name="self-consumption rule", marker_color=PURPLE),
        go.Bar(x=saved.index, y=saved["metered"], name="planned every hour", marker_color=BLUE),
        go.Bar(x=saved.index, y=saved["perfect foresight"], name="perfect foresight", marker_color=GREY),
    ]
)
figure.update_layout(
    template="plotly_white",
    margin={"t": 90, "b": 40},
    title="What the battery saves by month [EUR]",
    yaxis_title="EUR",
    xaxis={"dtick": "M1", "tickformat": "%b"},
    legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
)
