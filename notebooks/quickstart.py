# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # A day in five lines
#
# One home, one day of quarter-hours, the cheapest plan with a proof. The series come with Tidewatt
# (`console/sample_data/ORIGIN.md` says from where).

# %%
import datetime as dt

from console.sample import sample_series
from engine import Battery, GridConnection, PvArray, Site, optimise

day = sample_series(dt.date(2024, 4, 10))
site = Site(
    battery=Battery(
        capacity_kwh=10,
        max_charge_kw=5,
        max_discharge_kw=5,
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
        min_soc=0.1,
        wear_eur_per_kwh=0.02,
    ),
    grid=GridConnection(import_limit_kw=17, export_limit_kw=10),
    pv=PvArray(curtailable=True),
    timezone="Europe/Amsterdam",
)
plan = optimise(
    site,
    import_price=day["import_price_eur_per_kwh"],
    export_price=day["export_price_eur_per_kwh"],
    load=day["load_kw"],
    pv=day["pv_kw"],
    initial_soc=0.5,
    final_soc_min=0.5,
)

# %%
print(f"{plan.cost_eur:.2f} EUR, {plan.breakdown}")
print(plan.explain("2024-04-10 19:15"))

# %%
plan.plot()

# %% [markdown]
# `plan.table` holds every interval; `plan.marginal_value` is what one more stored kWh would save.

# %%
plan.table.head()
