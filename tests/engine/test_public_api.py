"""The public promises for one site: names, arguments, units, columns, and what a plan can tell about itself."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys

import pandas as pd
import pytest
from pydantic import ValidationError

import engine
from engine import Battery, GridConnection, InputError, PvArray, Site, optimise

COLUMNS = [
    "charge_kw",
    "discharge_kw",
    "import_kw",
    "export_kw",
    "pv_kw",
    "curtailment_kw",
    "load_kw",
    "soc",
    "cost_eur",
]
# Loaded with the first plan, the first figure, or on another floor: never by `import engine`.
HEAVY = ["pulp", "highspy", "celery", "starlette", "uvicorn", "nicegui", "plotly", "sqlalchemy", "httpx"]


def test_the_promised_names_are_public():
    promised = {"Battery", "GridConnection", "PvArray", "Site", "Plan", "optimise", "InputError"}
    assert promised <= set(engine.__all__)
    assert all(hasattr(engine, name) for name in engine.__all__)


def test_assets_take_the_promised_arguments_and_no_place():
    site = Site(
        battery=Battery(
            capacity_kwh=10,
            max_charge_kw=5,
            max_discharge_kw=5,
            charge_efficiency=0.95,
            discharge_efficiency=0.95,
            min_soc=0.1,
            max_soc=1.0,
            wear_eur_per_kwh=0.02,
        ),
        grid=GridConnection(import_limit_kw=17, export_limit_kw=10),
        pv=PvArray(curtailable=True),
    )
    assert site.battery.round_trip_efficiency == pytest.approx(0.9025)
    with pytest.raises(TypeError):
        Battery(10, 5, 5)


def test_what_is_not_said_about_a_site_is_the_ideal():
    site = Site(battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5))
    battery = site.battery
    assert (battery.charge_efficiency, battery.discharge_efficiency) == (1.0, 1.0)
    assert (battery.min_soc, battery.max_soc, battery.wear_eur_per_kwh) == (0.0, 1.0, 0.0)
    assert (site.grid.import_limit_kw, site.grid.export_limit_kw, site.pv) == (None, None, None)
    assert (PvArray().curtailable, site.timezone) == (False, "UTC")


@pytest.mark.parametrize(
    ("asset", "field"), [("battery", "capacity_kwh"), ("grid", "import_limit_kw"), ("pv", "curtailable")]
)
def test_assets_are_frozen(sample_case, asset, field):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(getattr(sample_case().site, asset), field, 1)


def test_a_site_and_a_plan_are_frozen(sample_case, sample_plan):
    with pytest.raises(ValidationError, match="frozen"):
        sample_case().site.name = "mine"
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample_plan.status = "else"
    with pytest.raises(AttributeError):
        sample_plan.cost_eur = 0.0


def test_optimise_takes_the_promised_arguments_by_name():
    parameters = dict(inspect.signature(optimise).parameters)
    assert parameters.pop("site").kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    needed = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    assert needed == ["import_price", "export_price", "initial_soc"]
    optional = {"load": None, "pv": None, "final_soc_min": None, "terminal_value_eur_per_kwh": None, "solver": "auto"}
    assert {name: parameters[name].default for name in optional} == optional


@pytest.mark.parametrize("solver", ["auto", "dp", "lp"])
def test_every_solver_gives_a_plan_of_the_same_cost(sample_case, sample_plan, solver):
    asked = sample_case()
    plan = optimise(asked.site, **asked.inputs(), solver=solver)
    assert plan.cost_eur == pytest.approx(sample_plan.cost_eur, abs=1e-9)
    assert plan.solver.startswith("HiGHS LP" if solver == "lp" else "storage DP")


def test_a_site_without_load_and_sun_trades_alone(home):
    index = pd.date_range("2026-02-03T00:00Z", periods=2, freq="h")
    prices = pd.Series([0.1, 0.5], index)
    plan = optimise(home, import_price=prices, export_price=prices, initial_soc=0.0)
    assert plan.table["load_kw"].tolist() == [0.0, 0.0]
    assert plan.table["export_kw"].tolist() == pytest.approx([0.0, 4.05])
    assert plan.cost_eur == pytest.approx(5 * 0.1 - 4.05 * 0.5)


def test_the_table_has_the_promised_columns_in_order_on_utc(sample_case, sample_plan):
    table = sample_plan.table
    assert list(table.columns) == COLUMNS
    assert table.index.name == "start"
    assert str(table.index.tz) == "UTC"
    assert (table.index == sample_case().load.index).all()
    assert set(map(str, table.dtypes)) == {"float64"}


def test_powers_are_kw_money_is_eur_and_soc_is_a_fraction_at_the_end(case):
    """Two half hours, worked by hand: fill with 4 kW, then give 3.24 kW, with wear on what is given."""
    site = Site(
        battery=Battery(
            capacity_kwh=4,
            max_charge_kw=4,
            max_discharge_kw=4,
            charge_efficiency=0.9,
            discharge_efficiency=0.9,
            wear_eur_per_kwh=0.02,
        )
    )
    plan = case(site, import_price=[0.1, 0.5], export_price=[0.0, 0.4], load=1.0, step="30min", initial_soc=0.0).plan()
    filled, emptied = plan.table.to_dict("records")
    assert filled == pytest.approx(
        dict(zip(COLUMNS, [4, 0, 5, 0, 0, 0, 1, 4 * 0.5 * 0.9 / 4, 5 * 0.5 * 0.1], strict=True))
    )
    wear_eur, sold_eur = 3.24 * 0.5 * 0.02, 2.24 * 0.5 * 0.4
    assert emptied == pytest.approx(
        dict(zip(COLUMNS, [0, 3.24, 0, 2.24, 0, 0, 1, 0, wear_eur - sold_eur], strict=True)), abs=1e-9
    )
    assert plan.cost_eur == pytest.approx(0.25 + wear_eur - sold_eur)
    markets = {"trading_eur": 0.0, "imbalance_eur": 0.0, "balancing_eur": 0.0}
    assert dataclasses.asdict(plan.breakdown) == pytest.approx(
        {"import_eur": 0.25, "export_eur": sold_eur, "wear_eur": wear_eur, "demand_eur": 0.0, **markets}
    )


def test_signs_are_those_of_the_conventions(sample_plan):
    table = sample_plan.table
    grid_kw = table["import_kw"] - table["export_kw"]
    balance = grid_kw + table["pv_kw"] + sample_plan.battery_kw
    assert balance.tolist() == pytest.approx(table["load_kw"].tolist(), abs=1e-9)
    assert (table.drop(columns="cost_eur") >= 0).all(axis=None)
    stored_more = table["soc"].diff().dropna()
    assert ((stored_more > 1e-9) == (sample_plan.battery_kw < -1e-9).iloc[1:]).all()


def test_the_cost_is_the_sum_of_the_intervals_and_of_the_breakdown(sample_plan):
    parts = sample_plan.breakdown
    assert sample_plan.cost_eur == pytest.approx(sample_plan.table["cost_eur"].sum(), abs=1e-9)
    assert sample_plan.cost_eur == pytest.approx(parts.import_eur - parts.export_eur + parts.wear_eur, abs=1e-9)


def test_a_plan_says_how_it_was_found(sample_plan):
    assert sample_plan.status == "optimal"
    assert sample_plan.solver == "storage DP"
    assert "convex" in sample_plan.why
    assert sample_plan.seconds > 0
    assert sample_plan.breaches == ()


def test_intervals_are_plain_json_of_the_table(sample_plan):
    read_back = pd.DataFrame(json.loads(json.dumps(sample_plan.intervals(), allow_nan=False))).set_index("start")
    assert read_back.index[0] == "2024-04-09T22:00:00+00:00"
    assert pd.to_datetime(read_back.index).tolist() == list(sample_plan.table.index)
    assert list(read_back.columns) == COLUMNS
    assert (read_back.to_numpy() == sample_plan.table.to_numpy()).all()


@pytest.mark.parametrize(
    "time",
    [
        pytest.param("2024-04-10 12:35", id="local"),
        pytest.param("2024-04-10T10:35Z", id="UTC"),
        pytest.param("2024-04-10T12:35+02:00", id="with its offset"),
        pytest.param(pd.Timestamp("2024-04-10T10:30Z"), id="the start of the interval"),
        pytest.param(pd.Timestamp("2024-04-10T10:44:59Z"), id="just before its end"),
    ],
)
def test_a_time_is_explained_in_the_words_of_its_interval(sample_plan, time):
    text = sample_plan.explain(time)
    assert text.startswith("2024-04-10 12:30 CEST: ")
    assert "\n" not in text


def test_the_explanation_has_the_figures_of_the_interval(sample_plan):
    battery = sample_plan.site.battery
    for position, (start, row) in enumerate(sample_plan.table.iterrows()):
        text = sample_plan.explain(start)
        if row["charge_kw"] > 0.01:
            assert f"charge with {row['charge_kw']:.2f} kW from " in text
            # With or without the grid, by where the power is from.
            surplus_kw = max(0.0, row["pv_kw"] - row["load_kw"])
            assert ("the grid" in text.split(". ")[0]) == (row["charge_kw"] > surplus_kw + 0.01)
        elif row["discharge_kw"] > 0.01:
            assert f"discharge with {row['discharge_kw']:.2f} kW to the house" in text
            assert ("and the grid" in text) == (row["export_kw"] > 0.01)
        else:
            assert "rest" in text
        value = sample_plan.marginal_value.iloc[position]
        bought, sold = sample_plan.problem.import_price[position], sample_plan.problem.export_price[position]
        assert f"Buying costs {bought:.4f}, selling earns {sold:.4f} EUR/kWh" in text
        assert f"charging pays below {value * battery.charge_efficiency:.4f}" in text
        assert f"discharging above {value / battery.discharge_efficiency + 0.02:.4f}" in text
        assert ("the battery is full" in text) == (row["soc"] > 1 - 1e-6)
        assert (" charging is at its rating" in text) == (row["charge_kw"] > 5 - 1e-6)


@pytest.mark.parametrize(
    "time",
    [
        pytest.param("2024-04-09 23:59", id="before"),
        pytest.param("2024-04-11 00:00", id="at its end"),
        pytest.param("2024-04-10T22:00Z", id="at its end in UTC"),
        pytest.param("2030-01-01", id="years later"),
        pytest.param("noon", id="no time"),
    ],
)
def test_a_time_outside_the_plan_is_refused(sample_plan, time):
    with pytest.raises(InputError, match=r"^time: .*; (choose one from 2024-04-09T22:00:00|write it as )"):
        sample_plan.explain(time)


@pytest.mark.parametrize(
    ("begin", "time"),
    [
        pytest.param("2024-03-30T23:00Z", "2024-03-31 02:30", id="the hour left out"),
        pytest.param("2024-10-26T22:00Z", "2024-10-27 02:30", id="the hour that comes twice"),
    ],
)
def test_a_local_time_that_is_none_or_two_is_refused_with_the_way_out(case, home, begin, time):
    asked = case(
        home.model_copy(update={"timezone": "Europe/Amsterdam"}), import_price=0.2, export_price=0.1, intervals=92
    )
    index = pd.date_range(begin, periods=92, freq="15min")
    moved = {name: getattr(asked, name).set_axis(index) for name in ("import_price", "export_price", "load", "pv")}
    plan = asked.but(**moved).plan()
    with pytest.raises(InputError, match=r"^time: .*2024.*02:30"):
        plan.explain(time)
    assert plan.explain(f"{time}+01:00")


def test_the_figure_shows_prices_powers_and_state_of_charge(sample_plan):
    figure = sample_plan.plot()
    assert [trace.name for trace in figure.data] == [
        "import price",
        "export price",
        "load",
        "PV used",
        "grid planned",
        "battery planned",
        "SOC planned",
    ]
    drawn = {trace.name: list(trace.y) for trace in figure.data}
    table = sample_plan.table
    assert drawn["battery planned"][:-1] == pytest.approx(sample_plan.battery_kw.tolist())
    assert drawn["grid planned"][:-1] == pytest.approx((table["import_kw"] - table["export_kw"]).tolist())
    assert drawn["SOC planned"] == pytest.approx([50, *(table["soc"] * 100)])
    assert "Europe/Amsterdam" in figure.layout.xaxis3.title.text


@pytest.mark.parametrize(("intervals", "step"), [(4, "15min"), (2, "60min"), (1, "15min"), (1, "60min")])
def test_the_last_step_of_the_figure_reaches_the_end_of_the_last_interval(case, home, intervals, step):
    plan = case(home, import_price=0.2, export_price=0.1, load=1.0, intervals=intervals, step=step).plan()
    end = plan.table.index[-1] + pd.Timedelta(step)
    for trace in plan.plot().data:
        # The axis has the site's clock, here UTC, without an offset.
        assert pd.Timestamp(trace.x[-1]) == end.tz_localize(None), trace.name
        assert len(trace.x) == len(trace.y) == intervals + 1


def test_importing_the_engine_loads_no_solver_server_or_figure():
    script = f"import sys, engine; print([name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"
