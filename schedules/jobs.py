"""The jobs, as plain functions: whatever runs them (a loop, a worker, a test) only loads, calls and stores."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd

from adapters.contract import Channel, Clock, Telemetry
from engine import Battery, InputError, Plan, Site, Strategy, TidewattError, columns, optimise
from engine.intent import self_consumption_kw
from schedules import cycles, peaks, strategies, telemetry
from schedules.adoption import USUAL, Threshold
from schedules.envelope import Envelope, applied
from schedules.plans import Stretch, put_in_force, stretches_between
from schedules.sites import ControlledSite
from schedules.store import Database, SiteRow
from schedules.telemetry import FUTURE_MARGIN, OLDEST


class StaleTelemetryError(TidewattError):
    """The state of charge is unknown or too old to plan from."""


def plan_site(
    db: Database,
    clock: Clock,
    target: ControlledSite,
    series: pd.DataFrame,
    why: str,
    final_soc_min: float | None = None,
    threshold: Threshold | None = USUAL,
    estimated_from: dt.datetime | None = None,
    doubts: Sequence[str] = (),
) -> Plan:
    """Plan a site by its strategy, and make the plan the one in force if it gains enough or the strategy has changed.

    Args:
        db: The store.
        clock: The time.
        target: The site.
        series: As `propose` takes them.
        why: What made us plan, for the record.
        final_soc_min: Least state of charge at the end [fraction].
        threshold: What the plan has to gain over going on with the older one; None: nothing.
        estimated_from: From when on the prices are estimates; a plan that reaches so far is marked as degraded.
        doubts: Why the forecasts are less than they could be; with any the plan is marked as degraded.

    Raises:
        StaleTelemetryError: There is no recent state of charge.
        InputError: The horizon is over, an override has all of it, or the strategy contradicts itself or the site.
        TidewattError: As `engine.optimise` raises.
    """
    now = clock()
    wanted = strategies.of_site(db, target.id)
    plan = propose(db, now, target.id, target.site, series, wanted.strategy, final_soc_min)
    degraded = list(doubts)
    if estimated_from is not None and estimated_from < _end(series):
        degraded.insert(0, f"prices from {estimated_from:%Y-%m-%dT%H:%MZ} on are estimates: none were published")
    put_in_force(db, now, target, plan, why, threshold, wanted.numbers, "; ".join(degraded))
    return plan


def propose(
    db: Database,
    now: dt.datetime,
    site_id: int,
    site: Site,
    series: pd.DataFrame,
    strategy: Strategy,
    final_soc_min: float | None = None,
) -> Plan:
    """The plan for a site from its seen state of charge; nothing is stored.

    The plan begins with the first interval that starts now or later and that no override has. What is wanted until then
    stays in force, and the state of charge is carried forward over it. An override that is still to come binds the
    battery to its direction and power. Where the contract charges the peak import, a peak is held to. What the battery
    was seen to allow near full and empty limits it, and what it was seen to do counts against budgets of cycles.

    Args:
        db: The store.
        now: The time.
        site_id: The site's number.
        site: Its assets.
        series: Columns `import_price_eur_per_kwh`, `export_price_eur_per_kwh`, `load_kw`, `pv_kw` on an aware, regular
            index, and those of `engine.columns.MARKETS` that the strategy asks for; earlier rows are left out.
        strategy: What is wanted of it.
        final_soc_min: Least state of charge at the end [fraction].

    Raises:
        StaleTelemetryError: There is no recent state of charge.
        InputError: The horizon is over, or an override has all of it.
        TidewattError: As `engine.optimise` raises.
    """
    step = series.index[1] - series.index[0]
    overrides = [each for each in stretches_between(db, site_id, now, _end(series)) if each.row.override_id is not None]
    ahead = series.loc[series.index >= now]
    for override in overrides:
        # Until it is over nothing is ours to decide.
        if len(ahead) and override.begin <= ahead.index[0].to_pydatetime() < override.end:
            ahead = ahead.loc[ahead.index >= override.end]
    if ahead.empty:
        problem = "an override has all of it" if overrides else "it has no rows"
        raise InputError("series", f"{problem} from {now.isoformat()} on", "give a horizon that is not over")
    # The last interval alone does not tell its length; the whole series does.
    ahead = ahead.set_axis(pd.DatetimeIndex(ahead.index, freq=step))
    begin = ahead.index[0].to_pydatetime()
    state = _seen(db, site_id, now)
    soc, cycled = _carried_over(stretches_between(db, site_id, state.measured_at, begin), state, site.battery, series)
    if strategy.budgeted:
        strategy = cycles.counted(db, site_id, site, strategy, state.measured_at, begin, cycled)
    learned = site.model_copy(update={"battery": _as_learned(db, site_id, site.battery, now)})
    most_charge_kw, most_discharge_kw = _left_by(overrides, ahead, step, learned.battery)
    return optimise(
        learned,
        import_price=ahead["import_price_eur_per_kwh"],
        export_price=ahead["export_price_eur_per_kwh"],
        load=ahead["load_kw"],
        pv=ahead["pv_kw"] if site.pv else None,
        initial_soc=soc,
        final_soc_min=final_soc_min,
        strategy=strategy,
        import_limit_kw=peaks.caps_kw(db, site_id, learned, ahead, soc, strategy),
        max_charge_kw=most_charge_kw,
        max_discharge_kw=most_discharge_kw,
        **columns.arguments(ahead, strategy),
    )


def _end(series: pd.DataFrame) -> dt.datetime:
    return pd.Timestamp(series.index[-1] + (series.index[1] - series.index[0])).to_pydatetime()


def _as_learned(db: Database, site_id: int, battery: Battery, now: dt.datetime) -> Battery:
    with db.session() as session:
        known = Envelope.from_json(session.get_one(SiteRow, site_id).envelope)
    return applied(known, battery, now)


def _left_by(
    overrides: Sequence[Stretch], ahead: pd.DataFrame, step: pd.Timedelta, battery: Battery
) -> tuple[pd.Series | None, pd.Series | None]:
    """Charging and discharging power that overrides leave to a plan [kW]: theirs, in their direction only."""
    if not overrides:
        return None, None
    charge = pd.Series(battery.max_charge_kw, ahead.index, dtype=float)
    discharge = pd.Series(battery.max_discharge_kw, ahead.index, dtype=float)
    for override in overrides:
        # Of an interval that it has in part, the larger part counts.
        half = step / 2
        inside = (ahead.index > override.begin - half) & (ahead.index <= override.end - half)
        wanted_kw = pd.Series(override.intent.battery_kw, ahead.index)
        if not override.intent.has_set_point:
            wanted_kw = ahead["load_kw"] - ahead["pv_kw"]
        charge[inside] = np.minimum(charge, (-wanted_kw).clip(lower=0.0))[inside]
        discharge[inside] = np.minimum(discharge, wanted_kw.clip(lower=0.0))[inside]
    return charge, discharge


def _seen(db: Database, site_id: int, now: dt.datetime) -> Telemetry:
    """The newest reading with a state of charge, if it is young enough to plan from."""
    state = telemetry.latest(db, site_id, Channel.STATE)
    if state is None or state.soc is None or not -FUTURE_MARGIN <= now - state.measured_at <= OLDEST:
        seen = "never seen" if state is None or state.soc is None else f"seen at {state.measured_at.isoformat()}"
        raise StaleTelemetryError(
            f"soc: {seen}, not within {OLDEST} before {now.isoformat()}; read the device's state before planning"
        )
    return state


def _carried_over(
    stretches: Sequence[Stretch], state: Telemetry, battery: Battery, series: pd.DataFrame
) -> tuple[float, float]:
    """The state of charge that a reading leads to over what is in force after it, and the cycles that takes."""
    soc, cycled = float(state.soc or 0.0), 0.0
    for stretch in stretches:
        intent = stretch.intent
        hours = (stretch.end - stretch.begin) / dt.timedelta(hours=1)
        battery_kw = intent.battery_kw
        if not intent.has_set_point:
            forecast = series.loc[: pd.Timestamp(stretch.begin)].iloc[-1]
            battery_kw = self_consumption_kw(
                forecast["load_kw"], forecast["pv_kw"], battery.max_charge_kw, battery.max_discharge_kw
            )
        before, soc = soc, _carried(battery, soc, battery_kw, hours)
        cycled += max(0.0, before - soc)
    return soc, cycled


def _carried(battery: Battery, soc: float, battery_kw: float, hours: float) -> float:
    """A state of charge after some hours at a power, within the band or where it stood outside it."""
    stored_kw = -battery_kw * (battery.charge_efficiency if battery_kw < 0 else 1 / battery.discharge_efficiency)
    moved = soc + stored_kw * hours / battery.capacity_kwh
    return min(max(moved, min(battery.min_soc, soc)), max(battery.max_soc, soc))
