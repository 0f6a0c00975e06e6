# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # The same home under six contracts
#
# What does a home with PV pay in a year under a fixed price, at the market's price, or under the grid tariffs of
# Denmark, Germany and Great Britain; and what does a battery of 10 kWh save under each?
#
# The year is laid out from five real weeks (`console/sample_year.py`): market prices and loads are real Dutch and
# Californian ones that come back every five weeks, the sun is that of 2025 over Amsterdam. All contracts get the same
# market, home and sun, so that they alone differ; none of the bills is a forecast for its country. Tariff figures and
# their sources are in `engine/tariffs`; supplier fees, levies and rates of exchange are round figures of ours.
# Standing charges are left out.

# %%
import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown
from plotly.subplots import make_subplots

from console.contracts import all_in
from console.sample import sample_site
from console.sample_year import sample_year
from engine import backtest
from engine.forecast import PvRegression, SimilarDay
from engine.plotting import BLUE, GREY, ORANGE
from engine.tariffs import Band, Charge, Rates, Tariff, de, dk, gb, generic

NETHERLANDS = {"currency": "EUR", "timezone": "Europe/Amsterdam", "vat": 0.21}
TAX = 0.1088

# %% [markdown]
# ## The contracts

# %%
day_and_night = Rates(
    standard=0.14 + TAX,
    bands=(
        Band(price=0.09 + TAX, hours=("23:00-07:00",), days="Monday-Friday"),
        Band(price=0.09 + TAX, days="Saturday-Sunday"),
    ),
)
contracts: dict[str, Tariff] = {
    "fixed": generic.time_of_use(Rates(standard=0.12 + TAX), feed_in=0.05, **NETHERLANDS),
    "day and night": generic.time_of_use(day_and_night, feed_in=0.05, **NETHERLANDS),
    "spot": generic.spot_contract(
        Charge.flat("supplier fee", 0.02), Charge.flat("energy tax", TAX, "tax"), export_fee=0.02, **NETHERLANDS
    ),
    "Danish N1": dk.household(dk.N1, supplier_fee=0.08, export_fee=0.04),
    "German Module 3": de.dynamic(
        de.EW_WANFRIED_2025, supplier_fee=0.02, levies=0.0265, concession_fee=0.0132, feed_in=0.08
    ),
    "Agile, GB": gb.agile(gb.AGILE_2018["A"], export=0.05),
}
UNITS_PER_EUR = {"EUR": 1.0, "DKK": 7.46, "GBP": 0.85}
year = sample_year(2025)
prices = {name: all_in(year.prices, contract, UNITS_PER_EUR[contract.currency]) for name, contract in contracts.items()}

# %% [markdown]
# ## When is a kWh dear?
#
# The mean all-in price of a bought kWh by month and hour, in euro cents. The market's own hours are the same
# everywhere; what a contract lays over them is its own.

# %%
figure = make_subplots(
    rows=2, cols=3, subplot_titles=list(contracts), horizontal_spacing=0.06, vertical_spacing=0.14, shared_yaxes=True
)
for number, table in enumerate(prices.values()):
    local = table.index.tz_convert("Europe/Amsterdam")
    cents = (table["import_price"] * 100).groupby([local.hour, local.month]).mean().unstack()
    heat = go.Heatmap(z=cents, x=cents.columns, y=cents.index + 0.5, coloraxis="coloraxis", hovertemplate="%{z:.1f} ct")
    figure.add_trace(heat, row=number // 3 + 1, col=number % 3 + 1)
figure.update_xaxes(tickvals=list(range(1, 13)), ticktext=list("JFMAMJJASOND"))
figure.update_yaxes(tickvals=[0, 6, 12, 18, 24], range=[0, 24], showgrid=False)
figure.update_layout(
    template="plotly_white",
    height=720,
    margin={"t": 100, "b": 30},
    title="Price of a bought kWh by month and hour of Amsterdam [ct/kWh]",
    coloraxis={"colorscale": "Cividis", "colorbar": {"title": "ct/kWh"}},
)

# %% [markdown]
# ## A year under each
#
# The battery is planned every hour with the prices that were known then and forecasts of load and PV.

# %%
results = {
    name: backtest(
        sample_site(),
        prices=table,
        load=year.load,
        pv=year.pv,
        load_forecaster=SimilarDay(),
        pv_forecaster=PvRegression(),
        step="1h",
        yardsticks=False,
    )
    for name, table in prices.items()
}
bills = pd.DataFrame(
    {
        name: {
            "without a battery EUR": result.costs_eur["no battery"],
            "self-consumption rule EUR": result.costs_eur["self-consumption rule"],
            "planned EUR": result.cost_eur,
            "saved EUR": result.saved_eur,
            "% of hours sold above bought": (prices[name]["export_price"] > prices[name]["import_price"]).mean() * 100,
            "of perfect foresight %": result.capture_rate() * 100,
            "full cycles": result.kpis["cycles"],
        }
        for name, result in results.items()
    }
).T
bills.round(0)

# %%
saved, cycles = bills["saved EUR"], bills["full cycles"]
planning = (bills["self-consumption rule EUR"] - bills["planned EUR"]).sort_values()
Markdown(
    f"The battery saves most under *{saved.idxmax()}*, **{saved.max():.0f} EUR** a year, and least under "
    f"*{saved.idxmin()}*, **{saved.min():.0f} EUR**. What a plan adds to the simple rule of storing what is left over "
    f"runs from {planning.iloc[0]:.0f} EUR (*{planning.index[0]}*) to {planning.iloc[-1]:.0f} EUR "
    f"(*{planning.index[-1]}*): where prices follow neither market nor clock, there is nothing to plan.\n\nUnder "
    "*Agile* a sold kWh earns a fixed price, and that is above the price of a bought one in "
    f"{bills['% of hours sold above bought']['Agile, GB']:.0f} % of the hours. The battery buys to sell then, and "
    f"makes {cycles['Agile, GB']:.0f} cycles a year; under the others it makes {cycles.drop('Agile, GB').max():.0f} "
    "at most."
)

# %%
ordered = bills.sort_values("planned EUR", ascending=False)
figure = go.Figure(
    [
        go.Bar(
            y=ordered.index,
            x=ordered[f"{name} EUR"],
            name=name,
            orientation="h",
            marker_color=colour,
            text=[f"{eur:.0f}" for eur in ordered[f"{name} EUR"]],
            textposition="outside",
        )
        for name, colour in (("planned", BLUE), ("self-consumption rule", ORANGE), ("without a battery", GREY))
    ]
)
figure.update_layout(
    template="plotly_white",
    height=560,
    title="Bill of a year, wear of the battery included, standing charges left out [EUR]",
    xaxis_title="EUR",
    legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right", "traceorder": "reversed"},
    yaxis={"ticksuffix": "  "},
    margin={"l": 140, "t": 90, "b": 50},
)

# %% [markdown]
# ## Which part of the bill shrinks?
#
# The ledger books every settlement period by what it is paid for. Under Danish rules the tax is paid on every bought
# kWh, so a battery that lets the home buy less saves tax as well as energy and grid.

# %%
contract, result = contracts["Danish N1"], results["Danish N1"]
market, rate = year.prices.to("DKK", UNITS_PER_EUR["DKK"]), UNITS_PER_EUR["DKK"]
parts = pd.DataFrame(
    {
        name: result.ledger(contract, market, account=account, units_per_eur=rate).table.sum().astype(float)
        for name, account in (("without a battery", "no battery"), ("planned", "metered"))
    }
)
parts.round(0)

# %%
smaller = parts["without a battery"] - parts["planned"]
Markdown(
    f"Of **{smaller['total']:,.0f} DKK** that the bill is smaller, {smaller['energy']:,.0f} DKK are energy, "
    f"{smaller['network']:,.0f} DKK grid, {smaller['tax']:,.0f} DKK tax, and wear takes {-smaller['wear']:,.0f} DKK "
    "back."
)

# %%
shown = smaller[["energy", "network", "tax", "wear", "total"]]
figure = go.Figure(
    go.Waterfall(
        x=shown.index,
        y=shown,
        measure=["relative"] * 4 + ["total"],
        text=[f"{dkk:,.0f}" for dkk in shown],
        textposition="outside",
        increasing={"marker": {"color": BLUE}},
        decreasing={"marker": {"color": ORANGE}},
        totals={"marker": {"color": GREY}},
        connector={"line": {"color": GREY, "width": 1}},
    )
)
figure.update_layout(
    template="plotly_white",
    margin={"t": 70, "b": 40},
    title="What the battery takes off a Danish bill in a year [DKK]",
    yaxis_title="DKK",
)
