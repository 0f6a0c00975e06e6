# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # What does each wish cost?
#
# An owner wants the lowest bill, or a reserve for an outage, or a battery that never feeds the grid, or one that
# lasts. Each is a field of `Strategy`. On the same five weeks of real prices, load and PV: what does each wish cost,
# and is it granted?

# %%
import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from console.sample import sample_history, sample_market, sample_site
from engine import PvArray, Strategy
from engine.backtesting.result import BacktestResult
from engine.backtesting.sweep import History, product, sweep
from engine.forecast import PvRegression, SimilarDay
from engine.plotting import BLUE, GREY, ORANGE, PURPLE, RED, SKY
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
history = History(sample_market(), house["load_kw"], house["pv_kw"], contract)
home = sample_site().model_copy(update={"pv": PvArray(curtailable=True)})
forecasting = {"similar days": (SimilarDay(), PvRegression())}

# %% [markdown]
# ## Eight strategies

# %%
strategies = {
    "lowest cost": Strategy(),
    "self-consumption": Strategy(objective="self_consumption"),
    "no grid charging": Strategy(grid_charging=False),
    "no battery export": Strategy(battery_export="never"),
    "import below 2 kW": Strategy(import_target_kw=2.0),
    "no sale below 5 ct": Strategy(export_floor_eur_per_kwh=0.05),
    "reserve of 30 %": Strategy(reserve_soc=0.3),
    "reserve, no grid charging": Strategy(reserve_soc=0.3, grid_charging=False),
}
cases = product({"home": (home, history)}, strategies=strategies, forecasters=forecasting, yardsticks=False)
results: dict[str, BacktestResult] = {case.labels["strategy"]: case.run() for case in cases}

# %% [markdown]
# The bill beside what each strategy is about: energy drawn above 2 kW, sold below 5 ct, charged from the grid, and
# the share of the time that the store was below 30 %.

# %%
rows = {}
for name, result in results.items():
    table, hours = result.table, result.reality.step_h
    rows[name] = {
        "saved EUR": result.saved_eur,
        "full cycles": result.kpis["cycles"],
        "kWh above 2 kW": (table["import_kw"] - 2.0).clip(lower=0).sum() * hours,
        "kWh sold below 5 ct": table["export_kw"][table["export_price"] < 0.05].sum() * hours,
        "kWh charged from grid": table[["charge_kw", "import_kw"]].min(axis=1).sum() * hours,
        "% of time below 30 %": (table["soc"] < 0.295).mean() * 100,
    }
found = pd.DataFrame(rows).T
found.round(1)

# %%
cost_of_wish = found["saved EUR"]["lowest cost"] - found["saved EUR"]
dearest, cheapest = cost_of_wish.idxmax(), cost_of_wish.drop("lowest cost").idxmin()
left = found["kWh above 2 kW"]
below = found["% of time below 30 %"]
Markdown(
    f"The dearest wish is *{dearest}*: **{cost_of_wish[dearest]:.2f} EUR** in five weeks. The cheapest is "
    f"*{cheapest}*, {cost_of_wish[cheapest]:.2f} EUR.\n\nWishes are kept as far as can be seen ahead. With the "
    f"target, {left['import below 2 kW']:.1f} kWh are still drawn above 2 kW instead of {left['lowest cost']:.1f}: "
    "what remains is what the hourly plans did not foresee or the battery could not carry. With the reserve the "
    f"store is below 30 % for {below['reserve of 30 %']:.0f} % of the time instead of {below['lowest cost']:.0f} %."
)

# %%
ordered = found.sort_values("saved EUR")
figure = go.Figure(
    go.Bar(
        x=ordered["saved EUR"],
        y=ordered.index,
        orientation="h",
        marker_color=[ORANGE if name == "lowest cost" else BLUE for name in ordered.index],
        text=[
            f"{saved:.1f} EUR, {cycles:.0f} cycles" for saved, cycles in ordered[["saved EUR", "full cycles"]].values
        ],
        textposition="inside",
        insidetextanchor="end",
    )
)
figure.update_layout(
    template="plotly_white",
    title="Saved against no battery in five weeks [EUR]",
    xaxis_title="EUR",
    yaxis={"ticksuffix": "  "},
    margin={"l": 180, "t": 70, "b": 50},
)

# %% [markdown]
# ## How they spend a day
#
# The mean state of charge over the day says what a strategy is in the habit of.

# %%
figure = go.Figure()
for name, colour, dash in (
    ("lowest cost", ORANGE, "solid"),
    ("self-consumption", PURPLE, "dash"),
    ("no sale below 5 ct", SKY, "dot"),
    ("reserve of 30 %", RED, "solid"),
):
    soc = results[name].table["soc"].tz_convert(home.timezone)
    by_time = soc.groupby(soc.index.hour + soc.index.minute / 60).mean() * 100
    figure.add_scatter(x=by_time.index, y=by_time, name=name, mode="lines", line={"color": colour, "dash": dash})
figure.update_layout(
    template="plotly_white",
    title="Mean state of charge by time of day [%]",
    xaxis={"tickvals": list(range(0, 25, 3)), "ticktext": [f"{hour}:00" for hour in range(0, 25, 3)]},
    yaxis={"title": "%", "range": [0, 100], "ticklabelstandoff": 8},
    margin={"t": 90, "b": 40},
    legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
)

# %% [markdown]
# ## A battery that should last
#
# Every plan already pays 2 ct of wear for a discharged kWh. `throughput_price_eur_per_kwh` asks for more: a cycle is
# only made where it earns that much besides. How much money does a spared cycle cost?

# %%
spreads = {f"{cents} ct": Strategy(throughput_price_eur_per_kwh=cents / 100) for cents in (0, 2, 5, 10, 15, 20, 25)}
swept = sweep(
    product({"home": (home, history)}, strategies=spreads, forecasters=forecasting, yardsticks=False)
).set_index("strategy")
swept[["saved_eur", "cycles"]].round(1)

# %%
none, some, most = swept.loc["0 ct"], swept.loc["10 ct"], swept.loc["25 ct"]


def eur_per_cycle(one: pd.Series, other: pd.Series) -> float:
    return (one["saved_eur"] - other["saved_eur"]) / (one["cycles"] - other["cycles"])


Markdown(
    f"The first cycles are cheap to spare: 10 ct spare **{none['cycles'] - some['cycles']:.1f} of "
    f"{none['cycles']:.1f}** and give up {none['saved_eur'] - some['saved_eur']:.2f} of {none['saved_eur']:.2f} EUR, "
    f"{eur_per_cycle(none, some):.2f} EUR for each. From there to 25 ct each costs **{eur_per_cycle(some, most):.2f} "
    "EUR**."
)

# %%
figure = go.Figure(
    go.Scatter(
        x=swept["cycles"],
        y=swept["saved_eur"],
        text=swept.index,
        mode="lines+markers+text",
        textposition="bottom right",
        line={"color": GREY},
        marker={"color": BLUE, "size": 10},
    )
)
figure.update_layout(
    template="plotly_white",
    title="Least spread: saved money against full cycles in five weeks",
    xaxis_title="full cycles",
    yaxis_title="saved EUR",
    margin={"t": 70, "b": 50},
)
