"""Compiled kernels of the exact dynamic program over the state of charge. Plain arrays in, plain arrays out.

The value function V[t](s) is the least cost from interval t on, given s kWh in store. It is piecewise linear, and one
step back is a min-plus convolution with the interval's cost f[t](delta), delta being the change of the store:

    V[t](s) = min over delta of  f[t](delta) + band(kept * s + delta) + V[t+1](kept * s + delta)

where `kept` is what an interval's standing loss leaves of the store.

Where every f is convex, V stays convex: a list of slopes in ascending order, and the convolution is a merge of two such
lists, cut to the band at both ends (Xu, Korpas, Botterud, arXiv 1901.09507, and Hashmi, Mukhopadhyay, Busic,
arXiv 2002.01524, solve relatives of it). Where some f is not, both sides are split into convex pieces, every
pair is merged, and the lower envelope of all is taken: still exact, with more pieces.

All kernels are in this one file because numba's cache on disk notices a change of the file that a kernel is in, but
not of another that it calls into.

Energies are kWh, costs EUR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.float64]
Figure = float | npt.NDArray[Any]

INFINITE = 1e300
# Below this a length [kWh] or a cost [EUR] is arithmetic dust.
DUST = 1e-13
# Ends of an interval's cost this close to rest are at rest [kWh].
ROUNDING_KWH = 1e-9
# A change of the store this small is what rounding left of rest [kWh].
REST_KWH = 1e-12
# Slopes this close [EUR/kWh] are a tie: either choice costs the same to a billionth of a cent.
TIE = 1e-12
# Prices this close are the same [EUR/kWh].
SAME_PRICE = 1e-7
# What the next kWh costs is seen at so much of it [kWh].
NEXT_KWH = 1e-4
METER_PIECES = 5
MOST_PIECES = 24
MOST_BRANCHES = 5
# Power levels that `smooth` tells apart in each direction.
SMOOTH_LEVELS = 4
# What to do in a tie: rest if that is as good and otherwise go on as before; go on as before; move as little as is as
# good, which puts charging off.
REST_FIRST, AS_BEFORE, LEAST = 0, 1, 2


# Compiled for other kernels only: a wrapper for Python would cost more time to compile than the kernel itself.
_inner = njit(cache=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]


class KernelInput(NamedTuple):
    """One site's problem, or with one more leading axis in everything, those of many (`solve_many`).

    Series have shape (T,), or (1,) where they never change; `buy` is always (T,). Powers in kW, prices in EUR/kWh,
    energies in kWh.
    """

    step_h: Figure

    buy: Array
    sell: Array
    surplus_kw: Array
    """PV on offer less load: what the meter sees with an idle battery and nothing curtailed."""
    most_import_kw: Array
    """What the connection may draw."""
    most_export_kw: Array
    """What the connection may feed in."""
    spare_kw: Array
    """PV that may be curtailed."""
    over_import_kw: Array
    """How far `most_import_kw` may be exceeded, at the breach price."""
    over_export_kw: Array
    breach: Figure
    max_charge_kw: Array
    max_discharge_kw: Array
    solar_only: npt.NDArray[np.bool_]
    """Where the store may only be charged with PV although buying pays."""
    floor: Array
    """Below it, at the end of the interval, each kWh costs `floor_breach`."""
    floor_breach: Figure
    kept: Figure
    """What an interval leaves of the store."""
    eta_in: Figure
    eta_out: Figure
    wear: Array
    """Cost of a kWh given [EUR/kWh]."""
    low: Figure
    """The store moves within `low` and `high`."""
    high: Figure
    band_low: Figure
    """Below it each kWh and interval costs `below_band`."""
    band_high: Figure
    """Above it each kWh and interval costs `above_band`."""
    below_band: Figure
    above_band: Figure
    start: Figure
    final: Figure
    """Least store at the end; each kWh short costs `final_breach`."""
    final_breach: Figure
    end_at: Array
    """Upper edges of the pieces of the store's worth at the end [kWh]; the last is infinite."""
    end_value: Array
    """What a kWh of each piece is worth, falling."""
    smooth: Figure
    """Added to the slope for each of `SMOOTH_LEVELS` power levels; spreads power where that is free [EUR/kWh]."""
    tie: Figure
    """`REST_FIRST`, `AS_BEFORE` or `LEAST`."""
    bend_at: Array
    """Changes of the store above which a kWh costs more, shape (T, K); minus infinity: everywhere [kWh]. Where there
    are any, nothing may be curtailed and no site counts as convex."""
    bend_discharging: Array
    """How much more per kWh of change while discharging, shape (T, K) [EUR/kWh]."""
    bend_charging: Array


class Interval(NamedTuple):
    """One interval of a `KernelInput` in energies [kWh], numbers only.

    `net` is what the meter sees with an idle battery, `most_charge` and `most_discharge` are changes of the store.
    Taking an array out of a tuple counts a reference, which in the inner loops costs more than the arithmetic: `_rows`
    gathers all that an interval needs in one array first.
    """

    buy: float
    sell: float
    net: float
    most_in: float
    most_out: float
    spare: float
    over_in: float
    over_out: float
    most_charge: float
    most_discharge: float
    wear: float
    solar_only: bool
    breach: float
    eta_in: float
    eta_out: float


class Band(NamedTuple):
    """Where the store should be, and what it costs elsewhere; numbers only, as `Interval`."""

    low: float
    band_low: float
    band_high: float
    below: float
    above: float
    floor_breach: float


class Branches(NamedTuple):
    """Room for the convex branches of one interval's cost; branch i begins at change `at[i]` with cost `value[i]`.

    Its pieces are at `MOST_PIECES * i` and after: a list of lists in one, which needs no view of a row.
    """

    at: Array
    value: Array
    pieces: npt.NDArray[np.int64]
    """How many pieces a branch has."""
    slope: Array
    length: Array


class House(NamedTuple):
    """What really happens around a battery over T intervals of M minutes."""

    load_kw: Array
    """Shape (T, M)."""
    pv_kw: Array
    """What the sun offers, shape (T, M)."""


class Inverter(NamedTuple):
    """What `engine.plant` knows of a battery, as numbers: it holds a power for a minute."""

    max_charge_kw: float
    max_discharge_kw: float
    charge_soc: Array
    """States of charge of the points at which `charge_kw` tells what the cells take; none: `max_charge_kw` alone."""
    charge_kw: Array
    discharge_soc: Array
    discharge_kw: Array
    low: float
    high: float
    capacity: float
    eta_in: float
    eta_out: float
    kept: float
    """What a minute leaves of the store."""
    export_limit_kw: float
    """Of the connection; infinite where none binds."""
    pv_curtailable: bool


class Trace(NamedTuple):
    """What was wanted and what came of it, by interval, shape (T,) each; energies in kWh at the AC side."""

    planned_kw: Array
    """The plan's battery power, + discharges."""
    curtailed_kw: Array
    """The plan's curtailment."""
    follows: npt.NDArray[np.bool_]
    """Whether the battery was left to follow the house."""
    set_point_kw: Array
    """What it was told otherwise, + discharges."""
    export_limit_kw: Array
    """What it was told to feed in at most; infinite where nothing was said."""
    imported: Array
    exported: Array
    charged: Array
    discharged: Array
    generated: Array
    """What was used of the sun."""
    stored: Array
    """At the end of the interval."""
    worth: Array
    """What the plan held a stored kWh for at the end of the interval [EUR/kWh]."""


class Caps(NamedTuple):
    """What import is to be held to, for the sake of a charge on its peak."""

    import_kw: Array
    """By interval, to the end of the last horizon; infinite where any will do. Empty: none anywhere."""
    per: int
    """Intervals that the meter averages over."""
    offset: int
    """How many intervals into such a one the first interval is."""


class Habits(NamedTuple):
    """How plans become orders; see `engine.intent`."""

    follows_within_kw: float
    """A plan this close to following the house is taken as following it; below zero none is."""
    covers_more: bool
    """Whether a battery that is to cover part of the house is left to cover all of it where that pays by the meter."""
    smallest_set_point_kw: float
    smallest_curtailment_kw: float
    planned_anew_h: float
    """When there will be another plan; what is lost on the forecast itself is lost until then alone [h]."""


class Futures(NamedTuple):
    """What K futures thought possible make of the next intervals."""

    rows: Array
    """Of each future, as `_rows` has them, shape (K, intervals, columns)."""
    at: npt.NDArray[np.int64]
    """Where the mean value functions begin, as in `_value_functions`."""
    slope: Array
    length: Array


@_inner
def _new_branches():
    return Branches(
        np.empty(MOST_BRANCHES),
        np.empty(MOST_BRANCHES),
        np.zeros(MOST_BRANCHES, np.int64),
        np.empty(MOST_BRANCHES * MOST_PIECES),
        np.empty(MOST_BRANCHES * MOST_PIECES),
    )


@_inner
def _rows(data):
    """What changes from interval to interval, a row for each, in energies."""
    buy, sell, surplus_kw, spare_kw = data.buy, data.sell, data.surplus_kw, data.spare_kw
    most_import_kw, most_export_kw = data.most_import_kw, data.most_export_kw
    over_import_kw, over_export_kw = data.over_import_kw, data.over_export_kw
    max_charge_kw, max_discharge_kw = data.max_charge_kw, data.max_discharge_kw
    wear, solar_only, floor = data.wear, data.solar_only, data.floor
    h, gained, taken = data.step_h, data.step_h * data.eta_in, data.step_h / data.eta_out
    # Element by element: assigning whole slices takes numba seconds to compile.
    rows = np.empty((buy.shape[0], 13))
    for t in range(buy.shape[0]):
        rows[t, 0], rows[t, 1], rows[t, 2] = buy[t], _at(sell, t), -h * _at(surplus_kw, t)
        rows[t, 3], rows[t, 4] = h * _at(most_import_kw, t), h * _at(most_export_kw, t)
        rows[t, 5] = h * _at(spare_kw, t)
        rows[t, 6], rows[t, 7] = h * _at(over_import_kw, t), h * _at(over_export_kw, t)
        rows[t, 8], rows[t, 9] = gained * _at(max_charge_kw, t), taken * _at(max_discharge_kw, t)
        rows[t, 10], rows[t, 11], rows[t, 12] = _at(wear, t), _at(solar_only, t), _at(floor, t)
    return rows


@_inner
def _interval(rows, t, breach, eta_in, eta_out):
    return Interval(
        rows[t, 0], rows[t, 1], rows[t, 2], rows[t, 3], rows[t, 4], rows[t, 5], rows[t, 6], rows[t, 7], rows[t, 8],
        rows[t, 9], rows[t, 10], rows[t, 11] != 0.0, breach, eta_in, eta_out,
    )  # fmt: skip


@_inner
def _band(data):
    return Band(data.low, data.band_low, data.band_high, data.below_band, data.above_band, data.floor_breach)


@_inner
def _meter_piece(now, side, i):
    """The i-th of `METER_PIECES` convex pieces of the meter's cost, (slope, length), in ascending order of slope.

    The cost is that of a net draw before curtailment, cheapest over curtailment. With `sell <= buy` one convex function
    covers buying and selling (side 0). Otherwise it is the lower of two: one that only sells (side -1) and one that
    only buys (side 1), each with curtailment. Pieces that are not there have no length.
    """
    if i == 0:
        return now.sell - now.breach, now.over_out if side <= 0 else 0.0
    if i == 4:
        return now.buy + now.breach, now.over_in if side >= 0 else 0.0
    # Curtailing costs nothing: it comes before selling that pays, and after buying that is paid for.
    curtailing = 1 if side <= 0 and now.sell > 0.0 else 3 if side >= 0 and now.buy < 0.0 else 2
    if i == curtailing:
        return 0.0, now.spare
    if i == 1 or (i == 2 and curtailing == 1):
        return now.sell, now.most_out if side <= 0 else 0.0
    return now.buy, now.most_in if side >= 0 else 0.0


@_inner
def _meter_left(now, side):
    """Where the pieces of the meter's cost begin, and the cost there."""
    if side > 0:
        return -now.spare, 0.0
    cost = -now.sell * now.most_out - (now.sell - now.breach) * now.over_out
    return -now.spare - now.most_out - now.over_out, cost


@_inner
def _store_pieces(now, most_charge, most_discharge, side, slope, length, base):
    """Turn the meter's convex cost into one of the store's change delta, its pieces written from place `base` on.

    delta > 0 stores delta and draws delta / eta_in; delta < 0 gives -delta * eta_out, which wears the battery.

    Returns the number of pieces (-1 where nothing is possible), how many of them discharge, the change that they begin
    and end at, and the draw where they begin.
    """
    net, eta_in, eta_out = now.net, now.eta_in, now.eta_out
    left, _ = _meter_left(now, side)
    right = left
    for i in range(METER_PIECES):
        right += _meter_piece(now, side, i)[1]
    # Rest is always allowed, but where it is all that is allowed rounding may say otherwise.
    first = net if abs(left - net) < ROUNDING_KWH else left
    last = net if abs(right - net) < ROUNDING_KWH else right
    low = max(first, net - most_discharge * eta_out)
    high = min(last, net + most_charge / eta_in)
    if high < low:
        return -1, 0, 0.0, 0.0, low
    at = (low - net) / eta_out if low < net else (low - net) * eta_in
    n, discharging, top = base, base, at
    begin, edge = min(left, low), left
    for i in range(METER_PIECES):
        price, width = _meter_piece(now, side, i)
        if width <= 0.0:
            continue
        edge += width
        end = max(edge, high) if edge == right else edge
        lower, upper = max(begin, low), min(end, high)
        begin = end
        if upper <= lower:
            continue
        if lower < net:
            slope[n], length[n] = (price - now.wear) * eta_out, (min(upper, net) - lower) / eta_out
            top += length[n]
            n += 1
            discharging = n
        if upper > net:
            slope[n], length[n] = price / eta_in, (upper - max(lower, net)) * eta_in
            top += length[n]
            n += 1
    return n - base, discharging - base, at, top, low


@_inner
def _bent_at(at, discharging, charging, place):
    """What a bend adds to the cost of a change of the store."""
    if place <= at:
        return 0.0
    begin = 0.0 if at <= -INFINITE else at
    return discharging * (min(place, 0.0) - min(begin, 0.0)) + charging * (max(place, 0.0) - max(begin, 0.0))


@_inner
def _bent(at, discharging, charging, slope, length, base, n, begin, below):
    """Bend the cost in the pieces from `base` on, of which the first `below` discharge; returns both counts anew."""
    place, i = begin, 0
    while i < n:
        end = place + length[base + i]
        if place + DUST < at < end - DUST:
            for m in range(n, i, -1):
                slope[base + m], length[base + m] = slope[base + m - 1], length[base + m - 1]
            length[base + i], length[base + i + 1] = at - place, end - at
            n += 1
            below += 1 if i < below else 0
            end = at
        if end > at + DUST:
            slope[base + i] += discharging if i < below else charging
        place = end
        i += 1
    return n, below


@_inner
def _add_branches(now, most_charge, most_discharge, side, branch, branches, bends, t):
    """Add one or two convex branches of the interval's cost; returns the number of branches so far."""
    slope, length = branches.slope, branches.length
    bend_at, bend_discharging, bend_charging = bends
    base = branch * MOST_PIECES
    n, discharging, at, _, low = _store_pieces(now, most_charge, most_discharge, side, slope, length, base)
    if n < 0:
        return branch
    begin, cost = _meter_left(now, side)
    for i in range(METER_PIECES):
        price, width = _meter_piece(now, side, i)
        cost += price * max(0.0, min(begin + width, low) - begin)
        begin += width
    branches.at[branch], branches.value[branch] = at, cost + now.wear * max(0.0, now.net - low)
    for k in range(bend_at.shape[1]):
        bend, down, up = bend_at[t, k], bend_discharging[t, k], bend_charging[t, k]
        branches.value[branch] += _bent_at(bend, down, up, at)
        n, discharging = _bent(bend, down, up, slope, length, base, n, at, discharging)
    branches.pieces[branch] = n
    if 0 < discharging < n and slope[base + discharging] < slope[base + discharging - 1]:
        # Here both directions at once would pay: two branches that meet at rest, of which only one can be taken.
        branches.pieces[branch] = discharging
        branches.pieces[branch + 1] = n - discharging
        branches.at[branch + 1], branches.value[branch + 1] = 0.0, branches.value[branch]
        for i in range(discharging):
            branches.value[branch + 1] += slope[base + i] * length[base + i]
        for i in range(n - discharging):
            slope[base + MOST_PIECES + i] = slope[base + discharging + i]
            length[base + MOST_PIECES + i] = length[base + discharging + i]
        branch += 1
    return branch + 1


@_inner
def _interval_cost(now, branches, bends, t):
    """Fill in the convex branches of one interval's cost in the change of the store; returns how many."""
    branch = 0
    most_charge = now.most_charge
    if now.solar_only:
        # Charging is a branch of its own, with a meter that cannot buy.
        branch = _add_branches(now, most_charge, 0.0, -1, branch, branches, bends, t)
        most_charge = 0.0
    if now.sell <= now.buy:
        return _add_branches(now, most_charge, now.most_discharge, 0, branch, branches, bends, t)
    branch = _add_branches(now, most_charge, now.most_discharge, -1, branch, branches, bends, t)
    return _add_branches(now, most_charge, now.most_discharge, 1, branch, branches, bends, t)


@_inner
def _curtailment(now, change):
    """How much PV to leave unused for a given change of the store [kWh]: the cheapest that is allowed.

    The cost is piecewise linear in it, with kinks where the meter is at zero or at a limit: an end or a kink is best.
    """
    if now.spare <= 0.0:
        return 0.0
    most_in, most_out = now.most_in, now.most_out
    draw = now.net + (change / now.eta_in if change > 0.0 else change * now.eta_out)
    least = max(0.0, -draw - most_out - now.over_out)
    most = min(now.spare, most_in + now.over_in - draw)
    if now.solar_only and change > 0.0:
        most = max(least, min(most, -draw))
    best, best_cost = least, INFINITE
    for kink in (least, -draw, most_in - draw, -most_out - draw, most):
        tried = min(max(kink, least), most)
        meter = draw + tried
        cost = now.buy * meter if meter > 0.0 else now.sell * meter
        cost += now.breach * (max(0.0, meter - most_in) + max(0.0, -most_out - meter))
        if cost < best_cost - DUST:
            best, best_cost = tried, cost
    return best


@_inner
def _solve_convex(data, rows, delta, worth):
    """Solve one site whose interval costs are all convex, `rows` being those of `data`.

    Fills in `delta`, the changes of the store [kWh], and `worth`, what a kWh in store is worth after each interval
    [EUR/kWh], of shape (T,).
    """
    slopes, lengths, cost_pieces, most_up, first, v_slope, v_length = _value_functions(data, rows)
    _walk(data, slopes, lengths, cost_pieces, most_up, first, v_slope, v_length, delta, worth)


@_inner
def _value_functions(data, rows):
    """The way back: the slopes of every interval's cost and of every value function.

    Returns slopes and lengths of the costs, `MOST_PIECES` to an interval, how many each has, the change that each ends
    at; and where the value functions begin, V[T] first, in the lists of slopes and lengths that come last.
    """
    count = data.buy.shape[0]
    low, high, kept, breach = data.low, data.high, data.kept, data.breach
    eta_in, eta_out, smooth = data.eta_in, data.eta_out, data.smooth
    band = _band(data)
    slopes, lengths = np.empty(count * MOST_PIECES), np.empty(count * MOST_PIECES)
    cost_pieces = np.zeros(count, np.int64)
    most_up = np.empty(count)
    # All value functions behind each other; `first[t]` is where that of interval t begins.
    first = np.zeros(count + 2, np.int64)
    room = 16 * (count + 4) + data.end_at.shape[0]
    v_slope, v_length = np.empty(room), np.empty(room)
    used = 0
    # Whether the store may be outside its band at all.
    outside = low < band.band_low or band.band_high < INFINITE
    # first[k] holds V[count - k]: the list grows backwards in time.
    place = low
    for piece in range(data.end_at.shape[0]):
        end = min(data.end_at[piece], high)
        used = _push(v_slope, v_length, first[0], used, -data.end_value[piece], end - place)
        place = max(place, end)
    if low < data.final:
        used = _bend(v_slope, v_length, first[0], used, low, data.final, -data.final_breach, 0.0)
    used = _add_band(band, rows[count - 1, 12], v_slope, v_length, first[0], used)
    first[1] = used
    for k in range(1, count + 1):
        t = count - k
        base, now = t * MOST_PIECES, _interval(rows, t, breach, eta_in, eta_out)
        n, _, at, most_up[t], _ = _store_pieces(now, now.most_charge, now.most_discharge, 0, slopes, lengths, base)
        if smooth > 0.0:
            n = _smoothed(smooth, now, n, at, slopes, lengths, base)
        cost_pieces[t] = n
        if t == 0:
            break
        begin, end = first[k - 1], first[k]
        room = used + (end - begin) + 2 * MOST_PIECES
        if room > v_slope.shape[0]:
            v_slope, v_length = _grown(v_slope, 2 * room), _grown(v_length, 2 * room)
        # The list is in kept * s: it covers what `kept` makes of the band, and is stretched back to the band.
        skip, wanted = most_up[t] + (kept - 1.0) * low, kept * (high - low)
        used = _merge(slopes, lengths, base, cost_pieces[t], v_slope, v_length, begin, end, skip, wanted, kept)
        if outside or low < rows[t - 1, 12]:
            used = _add_band(band, rows[t - 1, 12], v_slope, v_length, first[k], used)
        first[k + 1] = used
    return slopes, lengths, cost_pieces, most_up, first, v_slope, v_length


@_inner
def _walk(data, slopes, lengths, cost_pieces, most_up, first, v_slope, v_length, delta, worth):
    """The way forward through the intervals of `delta`, whose lists are those of `_value_functions`."""
    count, low, high, kept, tie = delta.shape[0], data.low, data.high, data.kept, data.tie
    stored, before = data.start, 0.0
    for t in range(count):
        k = count - 1 - t
        begin, end = first[k], first[k + 1]
        # Walk the merged list to the store's place: what was taken from the interval's cost says where it goes.
        left = kept * stored - low + most_up[t]
        change = most_up[t]
        base = t * MOST_PIECES
        i, j = base + cost_pieces[t] - 1, begin
        # The slope where the walk stops is what energy is worth to both lists, and so explains the step taken. Where
        # it stops between two slopes every worth between theirs does: the one that goes on from before is taken.
        least = most = -v_slope[begin] if end > begin else 0.0
        while left > DUST and (i >= base or j < end):
            slope = INFINITE
            if i >= base:
                slope = -slopes[i]
            if j < end:
                slope = min(slope, v_slope[j])
            if not slope < INFINITE:
                break  # no number: better a plan that the checker withholds than a walk without end
            from_cost, from_value = 0.0, 0.0
            while i >= base and -slopes[i] <= slope + TIE:
                from_cost += lengths[i]
                i -= 1
            while j < end and v_slope[j] <= slope + TIE:
                from_value += v_length[j]
                j += 1
            least = most = -slope
            if left >= from_cost + from_value:
                change -= from_cost
                left -= from_cost + from_value
                if left <= DUST and (i >= base or j < end):
                    least = max(slopes[i] if i >= base else -INFINITE, -v_slope[j] if j < end else -INFINITE)
            else:
                # A tie between acting now and acting later: every change between these two costs the same.
                lowest, highest = change - min(from_cost, left), change - max(0.0, left - from_value)
                change = _settle_tie(tie, before, lowest, highest)
                left = 0.0
        worth[t] = most if t == 0 else min(max(worth[t - 1] / kept, least), most)
        delta[t] = before = _settled(change)
        stored = min(max(kept * stored + before, low), high)


@_inner
def _settled(change):
    """Rest instead of what rounding left of it."""
    return 0.0 if abs(change) < REST_KWH else change


@_inner
def _settle_tie(tie, before, lowest, highest):
    """The change to make where all from `lowest` to `highest` cost the same; `before` is the last interval's."""
    if tie == LEAST:
        return min(max(0.0, lowest), highest)
    if lowest <= 0.0 <= highest and (tie == REST_FIRST or before < lowest - DUST or before > highest + DUST):
        return 0.0
    return min(max(before, lowest), highest)


@_inner
def _merge(cost_slope, cost_length, base, pieces, v_slope, v_length, begin, end, skip, wanted, kept):
    """Merge an interval's mirrored cost with the list from `begin` to `end` and append the result at `end`.

    What would come from below the band (all-out charging) is dropped, and it stops at the band's top.

    Returns where the new list ends.
    """
    stretch = 1.0 / kept
    i, j, used = base + pieces - 1, begin, end
    while wanted > 0.0 and (i >= base or j < end):
        if j >= end or (i >= base and -cost_slope[i] <= v_slope[j]):
            slope, piece = -cost_slope[i], cost_length[i]
            i -= 1
        else:
            slope, piece = v_slope[j], v_length[j]
            j += 1
        if skip > 0.0:
            cut = min(skip, piece)
            skip -= cut
            piece -= cut
        piece = min(piece, wanted)
        if piece <= 0.0:
            continue
        wanted -= piece
        slope *= kept
        if used > end and v_slope[used - 1] == slope:
            v_length[used - 1] += piece * stretch
        else:
            v_slope[used], v_length[used] = slope, piece * stretch
            used += 1
    return used


@_inner
def _push(slope, length, begin, used, piece_slope, piece):
    """Append a piece to the list that starts at `begin`, joining it to the last one of the same slope."""
    if piece <= 0.0:
        return used
    if used > begin and slope[used - 1] == piece_slope:
        length[used - 1] += piece
        return used
    slope[used], length[used] = piece_slope, piece
    return used + 1


@_inner
def _grown(array, size):
    bigger = np.empty(size)
    bigger[: array.shape[0]] = array
    return bigger


@_inner
def _smoothed(smooth, now, n, at, slope, length, base):
    """Split the pieces of a cost by power levels, each dearer by `smooth`; returns how many there are then."""
    old_slope, old_length = np.empty(n), np.empty(n)
    for i in range(n):
        old_slope[i], old_length[i] = slope[base + i], length[base + i]
    kept, place = base, at
    for i in range(n):
        end = place + old_length[i]
        while end - place > DUST:
            step = (now.most_charge if place >= -DUST else now.most_discharge) / SMOOTH_LEVELS
            # A level's edge, however it was rounded, is where the next one begins.
            level = np.floor(place / step + 1e-9) if step > 0.0 else 0.0
            cut = min(end, (level + 1.0) * step) if step > 0.0 else end
            slope[kept], length[kept] = old_slope[i] + smooth * (level + 0.5), cut - place
            kept += 1
            place = cut
        place = end
    return kept - base


@_inner
def _bend(slope, length, begin, used, low, edge, below, above):
    """Add `below` to the slopes below an edge and `above` to those above it; a piece across the edge is split."""
    place = low
    i = begin
    while i < used:
        end = place + length[i]
        if place + DUST < edge < end - DUST:
            for m in range(used, i, -1):
                slope[m], length[m] = slope[m - 1], length[m - 1]
            length[i], length[i + 1] = edge - place, end - edge
            used += 1
            end = edge
        slope[i] += below if end <= edge + DUST else above
        place = end
        i += 1
    return used


@_inner
def _add_band(band, floor, slope, length, begin, used):
    """Add what being outside the band, or below a floor, at the end of an interval costs."""
    low = band.low
    if low < band.band_low:
        used = _bend(slope, length, begin, used, low, band.band_low, -band.below, 0.0)
    if low < floor:
        used = _bend(slope, length, begin, used, low, floor, -band.floor_breach, 0.0)
    if band.band_high < INFINITE:
        used = _bend(slope, length, begin, used, low, band.band_high, 0.0, band.above)
    return used


@_inner
def _solve_general(data, rows, delta, worth, most_pieces):
    """Solve one site, convex or not; takes and fills in what `_solve_convex` does.

    Returns the largest number of pieces of a value function, or -1 if it would exceed `most_pieces`: then nothing is
    solved and the caller needs another way.
    """
    count = data.buy.shape[0]
    low, high, kept = data.low, data.high, data.kept
    breach, eta_in, eta_out = data.breach, data.eta_in, data.eta_out
    band = _band(data)
    bends = (data.bend_at, data.bend_discharging, data.bend_charging)
    branches = _new_branches()
    # `_lower` makes at most two pieces of every stretch between the edges of two functions.
    size = 4 * (most_pieces + MOST_PIECES)
    # All value functions behind each other, V[count] first; `first[k]` is where V[count - k] begins.
    first = np.zeros(count + 2, np.int64)
    v_begin, v_cost, v_slope = np.empty(64 * (count + 1)), np.empty(64 * (count + 1)), np.empty(64 * (count + 1))
    one, other, merged = np.empty((3, size)), np.empty((3, size)), np.empty((3, size))

    used, place, cost = 0, low, 0.0
    for piece in range(data.end_at.shape[0]):
        end = min(data.end_at[piece], high)
        if end > place or (piece == data.end_at.shape[0] - 1 and used == 0):
            used = _emit(one, used, place, cost, -data.end_value[piece])
            cost -= data.end_value[piece] * (end - place)
            place = end
    if low < data.final:
        used = _bend_pieces(one, used, high, data.final, data.final_breach, 0.0)
    used = _add_band_to_pieces(band, rows[count - 1, 12], one, used, high)
    widest = used
    total = 0
    for k in range(count):
        if total + used > v_begin.shape[0]:
            room = 2 * (total + used)
            v_begin, v_cost, v_slope = _grown(v_begin, room), _grown(v_cost, room), _grown(v_slope, room)
        for i in range(used):
            v_begin[total + i], v_cost[total + i], v_slope[total + i] = one[0, i], one[1, i], one[2, i]
        first[k] = total
        total += used
        first[k + 1] = total
        if k == count - 1:
            break
        t = count - 1 - k
        many = _interval_cost(_interval(rows, t, breach, eta_in, eta_out), branches, bends, t)
        one[0, 0], one[1, 0], one[2, 0] = low, INFINITE, 0.0
        used = 1
        begin, end = first[k], first[k + 1]
        run = begin
        while run < end:
            after = run + 1
            while after < end and v_slope[after] >= v_slope[after - 1]:
                after += 1
            run_high = high if after >= end else v_begin[after]
            for branch in range(many):
                fresh, fresh_high = _convolve(
                    low, high, branches, branch, v_begin, v_cost, v_slope, run, after, run_high, merged
                )
                if fresh == 0:
                    continue
                if 2 * (used + fresh + 2) > size:
                    return -1
                used = _lower(one, used, high, merged, fresh, fresh_high, other)
                one, other = other, one
            run = after
        if used > most_pieces:
            return -1
        used = _stretch(one, used, kept, low, high)
        used = _add_band_to_pieces(band, rows[t - 1, 12], one, used, high)
        widest = max(widest, used)

    stored, before = data.start, 0.0
    for t in range(count):
        k = count - 1 - t
        many = _interval_cost(_interval(rows, t, breach, eta_in, eta_out), branches, bends, t)
        change, worth[t] = _best_change(
            low, high, data.tie, kept * stored, before, v_begin, v_cost, v_slope, first[k], first[k + 1], many, branches
        )
        delta[t] = before = _settled(change)
        stored = min(max(kept * stored + before, low), high)
    return widest


@_inner
def _convolve(low, high, branches, branch, v_begin, v_cost, v_slope, run, after, run_high, out):
    """Min-plus convolution of a convex branch, mirrored, with a convex run, cut to [low, high]."""
    slope, length, base = branches.slope, branches.length, branch * MOST_PIECES
    pieces = branches.pieces[branch]
    top, top_cost = branches.at[branch], branches.value[branch]
    for i in range(base, base + pieces):
        top += length[i]
        top_cost += slope[i] * length[i]
    place, cost = v_begin[run] - top, v_cost[run] + top_cost
    i, j, count = base + pieces - 1, run, 0
    while place < high and (i >= base or j < after):
        run_length = 0.0
        if j < after:
            run_length = (run_high if j + 1 >= after else v_begin[j + 1]) - v_begin[j]
        if j >= after or (i >= base and -slope[i] <= v_slope[j]):
            piece_slope, piece = -slope[i], length[i]
            i -= 1
        else:
            piece_slope, piece = v_slope[j], run_length
            j += 1
        begin, begin_cost = place, cost
        place += piece
        cost += piece_slope * piece
        if place <= low:
            continue
        if begin < low:
            begin_cost += piece_slope * (low - begin)
            begin = low
        out[0, count], out[1, count], out[2, count] = begin, begin_cost, piece_slope
        count += 1
    return count, min(place, high)


@_inner
def _lower(one, used, high, two, fresh, fresh_high, out):
    """The lower of two functions: `one` on all of [its begin, high], `two` on a part of that. Returns its pieces."""
    count, i, j = 0, 0, 0
    place = one[0, 0]
    while place < high:
        while i + 1 < used and one[0, i + 1] <= place:
            i += 1
        until = high if i + 1 >= used else one[0, i + 1]
        a_slope = one[2, i]
        a = INFINITE if one[1, i] >= INFINITE else one[1, i] + a_slope * (place - one[0, i])
        b, b_slope = INFINITE, 0.0
        if place < two[0, 0]:
            until = min(until, two[0, 0])
        elif place < fresh_high:
            while j + 1 < fresh and two[0, j + 1] <= place:
                j += 1
            until = min(until, fresh_high if j + 1 >= fresh else two[0, j + 1])
            b_slope = two[2, j]
            b = two[1, j] + b_slope * (place - two[0, j])
        if until - place < DUST:
            place = max(until, np.nextafter(place, INFINITE))
            continue
        width = until - place
        gap, gap_at_end = b - a, b - a + (b_slope - a_slope) * width
        if b >= INFINITE or (a < INFINITE and gap >= -DUST and gap_at_end >= -DUST):
            count = _emit(out, count, place, a, a_slope)
        elif a >= INFINITE or (gap <= DUST and gap_at_end <= DUST):
            count = _emit(out, count, place, b, b_slope)
        else:
            cross = gap / (a_slope - b_slope)
            if gap < 0.0:
                count = _emit(out, count, place, b, b_slope)
                count = _emit(out, count, place + cross, a + a_slope * cross, a_slope)
            else:
                count = _emit(out, count, place, a, a_slope)
                count = _emit(out, count, place + cross, b + b_slope * cross, b_slope)
        place = until
    return count


@_inner
def _emit(out, count, place, cost, slope):
    """Append a piece, unless it goes straight on from the last one."""
    if count > 0 and out[2, count - 1] == slope:
        reached = out[1, count - 1] + slope * (place - out[0, count - 1])
        if (cost >= INFINITE and out[1, count - 1] >= INFINITE) or abs(reached - cost) < DUST:
            return count
    out[0, count], out[1, count], out[2, count] = place, cost, slope
    return count + 1


@_inner
def _stretch(one, used, kept, low, high):
    """Turn a function of what is kept of the store into one of the store itself."""
    if kept == 1.0:
        return used
    first = 0
    for i in range(used):
        one[0, i] /= kept
        one[2, i] *= kept
        if one[0, i] <= low:
            first = i
    one[1, first] += one[2, first] * (low - one[0, first])
    one[0, first] = low
    count = 0
    for i in range(first, used):
        if i > first and one[0, i] >= high:
            break
        one[0, count], one[1, count], one[2, count] = one[0, i], one[1, i], one[2, i]
        count += 1
    return count


@_inner
def _bend_pieces(one, used, high, edge, below, above):
    """Add a price per kWh below an edge and one above it; a piece across the edge is split."""
    for i in range(used):
        end = high if i + 1 >= used else one[0, i + 1]
        if one[0, i] + DUST < edge < end - DUST:
            for m in range(used, i, -1):
                one[0, m], one[1, m], one[2, m] = one[0, m - 1], one[1, m - 1], one[2, m - 1]
            one[0, i + 1] = edge
            one[1, i + 1] = one[1, i] + one[2, i] * (edge - one[0, i])
            used += 1
            break
    for i in range(used):
        if one[0, i] < edge - DUST:
            one[1, i] += below * (edge - one[0, i])
            one[2, i] -= below
        else:
            one[1, i] += above * (one[0, i] - edge)
            one[2, i] += above
    return used


@_inner
def _add_band_to_pieces(band, floor, one, used, high):
    """Add what being outside the band, or below a floor, at the end of an interval costs."""
    low = band.low
    if low < band.band_low:
        used = _bend_pieces(one, used, high, band.band_low, band.below, 0.0)
    if low < floor:
        used = _bend_pieces(one, used, high, floor, band.floor_breach, 0.0)
    if band.band_high < INFINITE:
        used = _bend_pieces(one, used, high, band.band_high, 0.0, band.above)
    return used


@_inner
def _best_change(low, high, tie, stored, before, v_begin, v_cost, v_slope, begin, end, many, branches):
    """The cheapest change of the store now, and what a kWh is worth after it: it lies at a kink of either function.

    `stored` is what the interval would end with at rest, `before` the last interval's change.
    """
    wished = before if tie == AS_BEFORE else 0.0
    at, value, pieces, slope, length = branches.at, branches.value, branches.pieces, branches.slope, branches.length
    best, best_cost, best_worth = 0.0, INFINITE, 0.0
    for branch in range(many):
        base = branch * MOST_PIECES
        place, cost = at[branch], value[branch]
        j = begin
        # Kinks of the interval's cost.
        for i in range(pieces[branch] + 1):
            after = stored + place
            if low - DUST <= after <= high + DUST:
                while j + 1 < end and v_begin[j + 1] <= after:
                    j += 1
                total = cost + v_cost[j] + v_slope[j] * (after - v_begin[j])
                if total < best_cost - DUST or (total < best_cost + DUST and abs(place - wished) < abs(best - wished)):
                    best, best_cost, best_worth = place, min(total, best_cost), -v_slope[j]
            if i < pieces[branch]:
                place += length[base + i]
                cost += slope[base + i] * length[base + i]
        top = place
        # Kinks of the value function.
        place, cost, i = at[branch], value[branch], 0
        for j in range(begin, end + 1):
            after = high if j == end else v_begin[j]
            change = after - stored
            if change < at[branch] or change > top:
                continue
            while i < pieces[branch] and place + length[base + i] < change:
                place += length[base + i]
                cost += slope[base + i] * length[base + i]
                i += 1
            here_slope = slope[base + min(i, pieces[branch] - 1)] if pieces[branch] > 0 else -v_slope[min(j, end - 1)]
            piece = min(j, end - 1)
            total = cost + here_slope * (change - place) + v_cost[piece] + v_slope[piece] * (after - v_begin[piece])
            if total < best_cost - DUST or (total < best_cost + DUST and abs(change - wished) < abs(best - wished)):
                best, best_cost, best_worth = change, min(total, best_cost), here_slope
    return best, best_worth


@njit(cache=True, nogil=True, error_model="numpy")
def solve_many(data, convex, delta, worth, curtailed, pieces, most_pieces):
    """Solve many sites; every field of `data` has a leading axis of N, or of 1 where all sites share it.

    Fills in `delta`, `worth` and `curtailed` of shape (N, T), and `pieces` of shape (N,): 0 for a convex site,
    otherwise the largest number of pieces of a value function, -1 where that would exceed `most_pieces`.
    """
    for i in range(delta.shape[0]):
        one = _site(data, i)
        rows = _rows(one)
        if convex[i]:
            _solve_convex(one, rows, delta[i], worth[i])
            pieces[i] = 0
        else:
            pieces[i] = _solve_general(one, rows, delta[i], worth[i], most_pieces)
        if pieces[i] >= 0:
            _curtail(one, rows, delta[i], curtailed[i])


@njit(cache=True, nogil=True, error_model="numpy")
def roll(data, convex, futures, first, every, house, inverter, habits, caps, stored, outlook, trace, most_pieces):
    """Plan again and again, each time from where the battery really is, and let the battery do the first part of it.

    Rows `i * futures` and after of `data` are the futures thought possible at interval `first + i * every`, from which
    on is planned, the expected one first. `stored` is the store at the first. `caps` says what import is to be held to.
    `outlook` is the worth of a stored kWh by time of day, shape (intervals of a day,): what is left at the end of a
    horizon is worth what it was the last time that this time of day was planned; an empty one leaves the worth to
    `data`. Fills in `trace` and `outlook`. Where not every future is convex only the expected one is planned for.

    Returns the store after the last interval, and how many plans had too many pieces: the battery was left to follow
    the house there.
    """
    horizon, intervals = data.buy.shape[1], house.load_kw.shape[0]
    delta, worth, follows = np.empty(horizon), np.empty(horizon), np.empty(horizon, np.bool_)
    unplanned = 0
    for i in range(convex.shape[0] // futures):
        begin, row = first + i * every, i * futures
        count = min(every, intervals - begin)
        one, rows = _ahead(data, row, begin, stored, outlook, caps, trace.imported)
        planned, many = True, futures > 1
        for k in range(row, row + futures):
            many = many and convex[k]
        many_futures = _no_futures()
        if many:
            slopes, lengths, cost_pieces, most_up, at, v_slope, v_length = _value_functions(one, rows)
            mean = _nearest(count, horizon, at, v_slope, v_length)
            nearest = np.empty((futures, count, rows.shape[1]))
            nearest[0] = rows[:count]
            for k in range(1, futures):
                other, other_rows = _ahead(data, row + k, begin, stored, outlook, caps, trace.imported)
                _, _, _, _, at, v_slope, v_length = _value_functions(other, other_rows)
                mean = _blended(k, mean, _nearest(count, horizon, at, v_slope, v_length))
                nearest[k] = other_rows[:count]
            at, v_slope, v_length = mean
            _walk(one, slopes, lengths, cost_pieces, most_up, at, v_slope, v_length, delta[:count], worth[:count])
            many_futures = Futures(nearest, at, v_slope, v_length)
        elif convex[row]:
            _solve_convex(one, rows, delta, worth)
        else:
            planned = _solve_general(one, rows, delta, worth, most_pieces) >= 0
        if planned and not many:
            _where_to_follow(one, rows, delta, stored, inverter, habits, follows)
        unplanned += not planned
        expected = stored
        for j in range(count):
            t = begin + j
            now = _interval(rows, j, one.breach, one.eta_in, one.eta_out)
            trace.worth[t] = worth[j] if planned else np.nan
            if planned:
                _order(now, delta[j], one.step_h, inverter, habits, trace, t)
                trace.follows[t] = follows[j]
                if many:
                    _order_for_many(one, many_futures, j, expected, inverter, habits, trace, t)
                    expected = min(max(one.kept * expected + delta[j], one.low), one.high)
                if outlook.shape[0] > 0:
                    outlook[t % outlook.shape[0]] = worth[j]
            else:
                trace.planned_kw[t], trace.curtailed_kw[t] = now.net / one.step_h, 0.0
                trace.follows[t], trace.set_point_kw[t], trace.export_limit_kw[t] = True, 0.0, INFINITE
            stored = _carry_out(house, inverter, stored, trace, t)
    return stored, unplanned


@_inner
def _ahead(data, i, begin, stored, outlook, caps, imported):
    """The problem of row i as it is at interval `begin`, and its rows."""
    one = _site(data, i)
    if outlook.shape[0] > 0:
        worth = outlook[(begin + one.buy.shape[0]) % outlook.shape[0]]
        one = _from(one, stored, np.full(1, INFINITE), np.full(1, worth))
    else:
        one = _from(one, stored, one.end_at, one.end_value)
    rows = _rows(one)
    if caps.import_kw.shape[0] > 0:
        _hold_to(caps, begin, one.step_h, imported, rows)
    return one, rows


@_inner
def _no_futures():
    return Futures(np.empty((0, 0, 0)), np.empty(0, np.int64), np.empty(0), np.empty(0))


@_inner
def _nearest(count, horizon, at, slope, length):
    """The value functions behind the first `count` intervals alone, as `_value_functions` has them."""
    begin, end = at[horizon - count], at[horizon]
    return at[horizon - count : horizon + 1] - begin, slope[begin:end].copy(), length[begin:end].copy()


@_inner
def _blended(weight, one, other):
    """The mean of value functions, `one` counting `weight` times: between edges of either, the mean of their slopes."""
    at, slope, length = one
    other_at, other_slope, other_length = other
    room = slope.shape[0] + other_slope.shape[0]
    out_at, out_slope, out_length = np.zeros(at.shape[0], np.int64), np.empty(room), np.empty(room)
    used = 0
    for k in range(at.shape[0] - 1):
        i, j = at[k], other_at[k]
        left, other_left = 0.0, 0.0
        while True:
            if left <= DUST:
                if i >= at[k + 1]:
                    break
                left += length[i]
                i += 1
            elif other_left <= DUST:
                if j >= other_at[k + 1]:
                    break
                other_left += other_length[j]
                j += 1
            else:
                piece = min(left, other_left)
                mean = (weight * slope[i - 1] + other_slope[j - 1]) / (weight + 1.0)
                used = _push(out_slope, out_length, out_at[k], used, mean, piece)
                left -= piece
                other_left -= piece
        out_at[k + 1] = used
    return out_at, out_slope[:used].copy(), out_length[:used].copy()


@_inner
def _order_for_many(one, futures, j, stored, inverter, habits, trace, t):
    """What the battery is told where several futures are possible: what costs least in their mean.

    Tried are to follow the house, to rest, the power of the plan, and what would follow the house in each future.
    """
    best_kw = trace.planned_kw[t]
    best = _expected_eur(one, futures, j, stored, inverter, best_kw, False)
    for k in range(-1, futures.rows.shape[0]):
        net_kw = 0.0 if k < 0 else futures.rows[k, j, 2] / one.step_h
        tried_kw = max(-inverter.max_charge_kw, min(inverter.max_discharge_kw, net_kw))
        cost = _expected_eur(one, futures, j, stored, inverter, tried_kw, False)
        if cost < best - DUST:
            best, best_kw = cost, tried_kw
    trace.set_point_kw[t] = best_kw if abs(best_kw) >= habits.smallest_set_point_kw else 0.0
    can_follow = habits.follows_within_kw >= 0.0
    trace.follows[t] = can_follow and _expected_eur(one, futures, j, stored, inverter, 0.0, True) <= best + DUST


@_inner
def _expected_eur(one, futures, j, stored, inverter, told_kw, follows):
    """What an interval with an order costs together with all that comes after, summed over the futures [EUR]."""
    total, kept = 0.0, one.kept * stored
    at, slope, length = futures.at, futures.slope, futures.length
    k = at.shape[0] - 2 - j
    for future in range(futures.rows.shape[0]):
        now = _interval(futures.rows[future], j, one.breach, one.eta_in, one.eta_out)
        wanted_kw = now.net / one.step_h if follows else told_kw
        battery_kw = max(-inverter.max_charge_kw, min(inverter.max_discharge_kw, wanted_kw))
        change = -battery_kw * one.step_h * (one.eta_in if battery_kw < 0.0 else 1.0 / one.eta_out)
        change = max(min(change, max(0.0, inverter.high - kept)), min(0.0, inverter.low - kept))
        total += _interval_eur(now, change)
        left = min(max(kept + change, one.low), one.high) - one.low
        for i in range(at[k], at[k + 1]):
            if left <= 0.0:
                break
            total += slope[i] * min(length[i], left)
            left -= length[i]
    return total


@_inner
def _interval_eur(now, change):
    """What an interval costs with a change of the store, curtailed as is cheapest [EUR]."""
    meter = now.net + (change / now.eta_in if change > 0.0 else change * now.eta_out) + _curtailment(now, change)
    cost = now.buy * meter if meter > 0.0 else now.sell * meter
    cost += now.breach * (max(0.0, meter - now.most_in) + max(0.0, -now.most_out - meter))
    return cost - now.wear * now.eta_out * min(0.0, change)


@_inner
def _hold_to(caps, begin, step_h, imported, rows):
    """Bring the import limits of a horizon that begins at `begin` down to the caps, at the price of a limit's breach.

    Of the measuring interval that it begins in, what was imported before counts.
    """
    per = caps.per
    end = begin - (begin + caps.offset) % per + per
    before = 0.0
    for t in range(max(0, end - per), begin):
        before += imported[t]
    for j in range(rows.shape[0]):
        t = begin + j
        most = step_h * caps.import_kw[t]
        if t < end:
            most = max(0.0, per * step_h * caps.import_kw[t] - before) / (end - begin)
        if most < rows[j, 3]:
            rows[j, 6] += rows[j, 3] - most
            rows[j, 3] = most


@_inner
def _from(one, stored, end_at, end_value):
    """The same problem from another state of the store, with another worth at its end."""
    low, high, band_high = min(one.low, stored), max(one.high, stored), one.band_high
    if stored > one.high:
        band_high = one.high
    return KernelInput(
        one.step_h, one.buy, one.sell, one.surplus_kw, one.most_import_kw, one.most_export_kw, one.spare_kw,
        one.over_import_kw, one.over_export_kw, one.breach, one.max_charge_kw, one.max_discharge_kw, one.solar_only,
        one.floor, one.floor_breach, one.kept, one.eta_in, one.eta_out, one.wear, low, high, one.band_low, band_high,
        one.below_band, one.above_band, stored, one.final, one.final_breach, end_at, end_value, one.smooth, one.tie,
        one.bend_at, one.bend_discharging, one.bend_charging,
    )  # fmt: skip


@_inner
def _order(now, change, step_h, inverter, habits, trace, t):
    """What the battery is told for an interval where it does not follow the house, from what the plan has there."""
    battery_kw = (-change / now.eta_in if change > 0.0 else -change * now.eta_out) / step_h
    curtailed = _curtailment(now, change)
    fed_in_kw = max(0.0, battery_kw - (now.net + curtailed) / step_h)
    trace.planned_kw[t], trace.curtailed_kw[t] = battery_kw, curtailed / step_h
    trace.set_point_kw[t] = battery_kw if abs(battery_kw) >= habits.smallest_set_point_kw else 0.0
    losing = now.sell < 0.0 and now.spare / step_h > habits.smallest_curtailment_kw
    limited = losing or curtailed / step_h > habits.smallest_curtailment_kw
    within = fed_in_kw < inverter.export_limit_kw - habits.follows_within_kw
    trace.export_limit_kw[t] = fed_in_kw if limited and within else INFINITE


@njit(cache=True, nogil=True, error_model="numpy")
def where_to_follow(data, delta, inverter, habits):
    """Where a plan for the only site of `data` is carried out by following the house, shape (T,).

    `delta` are the plan's changes of the store, of shape (T,).
    """
    one, follows = _site(data, 0), np.zeros(delta.shape[0], np.bool_)
    _where_to_follow(one, _rows(one), delta, one.start, inverter, habits, follows)
    return follows


@_inner
def _where_to_follow(one, rows, delta, stored, inverter, habits, follows):
    """Fill in where a plan that begins with `stored` is carried out by following the house; as `_follows` has it."""
    count = delta.shape[0]
    after, more, less = np.empty(count), np.empty(count), np.empty(count)
    _next_kwh(one, rows, delta, stored, after, more, less)
    for t in range(count):
        now = _interval(rows, t, one.breach, one.eta_in, one.eta_out)
        kept = one.kept * (stored if t == 0 else after[t - 1])
        first = t * one.step_h < habits.planned_anew_h - DUST
        follows[t] = _follows(now, delta[t], kept, more[t], less[t], one.step_h, first, inverter, habits)


@_inner
def _next_kwh(one, rows, delta, stored, after, more, less):
    """A plan's store after each interval, what one more kWh in it would save and what one less would cost.

    One more is spent, or saves charging, where the plan gains most by it before the store is full; one less is made up
    where that costs least before it is empty, or at its reserve.
    """
    count = delta.shape[0]
    for t in range(count):
        stored = after[t] = min(max(one.kept * stored + delta[t], one.low), one.high)
    for t in range(count - 1, -1, -1):
        if t == count - 1:
            more[t] = less[t] = 0.0
            for piece in range(one.end_at.shape[0] - 1, -1, -1):
                if after[t] < one.end_at[piece] - NEXT_KWH:
                    more[t] = one.end_value[piece]
                if after[t] <= one.end_at[piece] + NEXT_KWH:
                    less[t] = one.end_value[piece]
            least = one.final
        else:
            now, change = _interval(rows, t + 1, one.breach, one.eta_in, one.eta_out), delta[t + 1]
            here_eur, least = _interval_eur(now, change), 0.0
            spent, made_up = more[t + 1], less[t + 1]
            if change - NEXT_KWH > -now.most_discharge:
                spent = max(spent, (here_eur - _interval_eur(now, change - NEXT_KWH)) / NEXT_KWH)
            if change + NEXT_KWH < now.most_charge:
                made_up = min(made_up, (_interval_eur(now, change + NEXT_KWH) - here_eur) / NEXT_KWH)
            more[t], less[t] = one.kept * spent, one.kept * made_up
        if after[t] >= one.high - NEXT_KWH:
            more[t] = -INFINITE
        if after[t] <= max(one.low, one.band_low, least, rows[t, 12]) + NEXT_KWH:
            less[t] = INFINITE


@_inner
def _follows(now, change, stored, more, less, step_h, first, inverter, habits):
    """Whether to let the battery follow the house for an interval, rather than hold the plan's power.

    Where the plan does so within the rating. And where it goes a part of that way, or rests,

    - since the store is full or empty then, if it pays to go on with what is there after all;
    - otherwise, if a kWh too many that following gives or takes loses less than one too many at the set-point, which is
      sold or bought. Only in the `first` hours, since it takes another plan to make up for it; and never from rest.

    `stored` is what the plan has in store before; `more` and `less` are those of `_next_kwh`.
    """
    within = habits.follows_within_kw
    if within < 0.0:
        return False
    planned_kw = (-change / now.eta_in if change > 0.0 else -change * now.eta_out) / step_h
    follow_kw = max(-inverter.max_charge_kw, min(inverter.max_discharge_kw, now.net / step_h))
    if abs(planned_kw - follow_kw) <= within:
        return True
    if not habits.covers_more or planned_kw < min(0.0, follow_kw) - within or planned_kw > max(0.0, follow_kw) + within:
        return False
    room_kw = max(0.0, inverter.high - stored) / (now.eta_in * step_h)
    held_kw = max(0.0, stored - inverter.low) * now.eta_out / step_h
    at_edge = abs(planned_kw - max(-room_kw, min(held_kw, follow_kw))) <= within
    # What may be curtailed is never sold at a loss.
    sell = max(now.sell, 0.0) if now.spare > 0.0 else now.sell
    if follow_kw > 0.0:
        loses = (more if at_edge else less) / now.eta_out + now.wear - now.buy
        spared = more / now.eta_out + now.wear - sell if planned_kw > within else -INFINITE
    else:
        loses = sell - (less if at_edge else more) * now.eta_in
        spared = now.buy - less * now.eta_in if planned_kw < -within else -INFINITE
    return loses <= max(spared, 0.0) + SAME_PRICE if at_edge else first and loses < spared - SAME_PRICE


@_inner
def _carry_out(house, inverter, stored, trace, t):
    """Let the battery do for an interval what it was told, by the minute; returns the store after it."""
    minutes = house.load_kw.shape[1]
    told_kw = min(inverter.export_limit_kw, trace.export_limit_kw[t])
    imported = exported = charged = discharged = generated = 0.0
    for minute in range(minutes):
        load_kw, pv_kw = house.load_kw[t, minute], house.pv_kw[t, minute]
        wanted_kw = load_kw - pv_kw if trace.follows[t] else trace.set_point_kw[t]
        most_charge_kw, most_discharge_kw = inverter.max_charge_kw, inverter.max_discharge_kw
        if inverter.charge_soc.shape[0] > 0:
            taken_kw = np.interp(stored / inverter.capacity, inverter.charge_soc, inverter.charge_kw)
            most_charge_kw = min(most_charge_kw, taken_kw)
        if inverter.discharge_soc.shape[0] > 0:
            given_kw = np.interp(stored / inverter.capacity, inverter.discharge_soc, inverter.discharge_kw)
            most_discharge_kw = min(most_discharge_kw, given_kw)
        most_charge_kw = min(most_charge_kw, max(0.0, inverter.high - stored) / inverter.eta_in * 60.0)
        most_discharge_kw = min(most_discharge_kw, max(0.0, stored - inverter.low) * inverter.eta_out * 60.0)
        battery_kw = max(-most_charge_kw, min(most_discharge_kw, wanted_kw))
        excess_kw = max(0.0, pv_kw + battery_kw - load_kw - told_kw)
        throttled_kw = min(pv_kw, excess_kw) if inverter.pv_curtailable else 0.0
        pv_kw -= throttled_kw
        battery_kw -= min(max(0.0, battery_kw), excess_kw - throttled_kw)
        grid_kw = load_kw - pv_kw - battery_kw
        gained = -battery_kw * inverter.eta_in if battery_kw < 0.0 else -battery_kw / inverter.eta_out
        stored = stored * inverter.kept + gained / 60.0
        imported += max(grid_kw, 0.0)
        exported += max(-grid_kw, 0.0)
        charged += max(-battery_kw, 0.0)
        discharged += max(battery_kw, 0.0)
        generated += pv_kw
    trace.imported[t], trace.exported[t] = imported / 60.0, exported / 60.0
    trace.charged[t], trace.discharged[t] = charged / 60.0, discharged / 60.0
    trace.generated[t], trace.stored[t] = generated / 60.0, stored
    return stored


@njit(cache=True, nogil=True, error_model="numpy")
def carry_out(house, inverter, stored, trace):
    """Let the battery do by the minute what `trace` says that it was told; fills in the rest of it."""
    for t in range(house.load_kw.shape[0]):
        stored = _carry_out(house, inverter, stored, trace, t)
    return stored


@njit(cache=True, nogil=True, error_model="numpy")
def curtail_many(data, delta, curtailed):
    """Fill in the curtailment that goes with given changes of the store, shape (N, T)."""
    for i in range(delta.shape[0]):
        one = _site(data, i)
        _curtail(one, _rows(one), delta[i], curtailed[i])


@_inner
def _curtail(data, rows, delta, curtailed):
    for t in range(delta.shape[0]):
        curtailed[t] = _curtailment(_interval(rows, t, data.breach, data.eta_in, data.eta_out), delta[t])


@_inner
def _site(data, i):
    """One site's input."""
    return KernelInput(
        _at(data.step_h, i), _at(data.buy, i), _at(data.sell, i), _at(data.surplus_kw, i),
        _at(data.most_import_kw, i), _at(data.most_export_kw, i), _at(data.spare_kw, i),
        _at(data.over_import_kw, i), _at(data.over_export_kw, i), _at(data.breach, i),
        _at(data.max_charge_kw, i), _at(data.max_discharge_kw, i), _at(data.solar_only, i), _at(data.floor, i),
        _at(data.floor_breach, i), _at(data.kept, i), _at(data.eta_in, i), _at(data.eta_out, i),
        _at(data.wear, i), _at(data.low, i), _at(data.high, i), _at(data.band_low, i), _at(data.band_high, i),
        _at(data.below_band, i), _at(data.above_band, i), _at(data.start, i), _at(data.final, i),
        _at(data.final_breach, i), _at(data.end_at, i), _at(data.end_value, i), _at(data.smooth, i), _at(data.tie, i),
        _at(data.bend_at, i), _at(data.bend_discharging, i), _at(data.bend_charging, i),
    )  # fmt: skip


@_inner
def _at(array, i):
    """The i-th entry, or the only one."""
    return array[i if array.shape[0] > 1 else 0]
