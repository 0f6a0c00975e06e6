"""Strategies as people read and write them: values with their units, assignments on a command line, what-if figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich import box
from rich.markup import escape
from rich.table import Table

from engine import Strategy
from engine.errors import InputError
from schedules.inheritance import Effective, Version, differing
from schedules.strategy_changes import MEASURED
from schedules.what_if import WhatIf

# Beyond this many sites a table is not read; JSON has all of them.
SITES_SHOWN = 20


def assigned(assignments: Iterable[str]) -> dict[str, Any]:
    """Fields as `field=value` on a command line, values as in YAML.

    Raises:
        InputError: One is no assignment, has no value, or is given twice.
    """
    found: dict[str, Any] = {}
    for each in assignments:
        name, equals, text = each.partition("=")
        if not equals or not name or not text.strip():
            raise InputError(name or "field", f"value {each!r} is no field=value", "write for example reserve_soc=0.3")
        if name in found:
            raise InputError(name, "given twice", "keep one of them")
        try:
            found[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(
                name, f"value {text!r} cannot be read", "write a number, a word, true, false or null"
            ) from None
    return found


def unit(name: str) -> str:
    """The unit of a field; empty where it has none."""
    extra = Strategy.model_fields[name].json_schema_extra if name in Strategy.model_fields else None
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def shown(name: str, value: Any) -> str:
    """A value with its unit, for the screen."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return "none" if value is None else json.dumps(value)
    return f"{value * 100:g} %" if unit(name) == "fraction" else f"{value:g} {unit(name)}".rstrip()


def version_record(version: Version) -> dict[str, Any]:
    """A version as programs read it."""
    return {
        "scope": str(version.scope),
        "version": version.number,
        "by": version.by,
        "note": version.note,
        "made_at": version.made_at.isoformat(),
        "fields": dict(version.fields),
    }


def field_records(wanted: Effective, *, with_defaults: bool) -> list[dict[str, Any]]:
    """Each field with its value, its unit and where it comes from, as programs read it."""
    fields, origins = wanted.fields, wanted.origins
    records = []
    for name, field in Strategy.model_fields.items():
        if name in MEASURED or (name not in fields and not with_defaults):
            continue
        origin = origins.get(name)
        records.append(
            {
                "field": name,
                "value": fields.get(name, field.default),
                "unit": unit(name),
                "scope": None if origin is None else str(origin.scope),
                "version": None if origin is None else origin.number,
            }
        )
    return records


def field_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """The same for people; what nobody has set is dimmed."""
    table = _table("field", "value", "from")
    for each in records:
        origin = "default" if each["scope"] is None else f"{each['scope']} version {each['version']}"
        words = (each["field"], shown(each["field"], each["value"]), origin)
        table.add_row(*map(escape, words), style="dim" if each["scope"] is None else None)
    return table


def change_records(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What differs between two versions; a side on which the field is not set is left out."""
    return [
        {
            "field": name,
            **{side: fields[name] for side, fields in (("before", before), ("after", after)) if name in fields},
        }
        for name in differing(before, after)
    ]


def change_table(records: Sequence[Mapping[str, Any]], before: str, after: str) -> Table:
    """The same for people, under the names of both versions."""
    table = _table("field", before, after)
    for each in records:
        name = each["field"]
        sides = (shown(name, each[side]) if side in each else "inherited" for side in ("before", "after"))
        table.add_row(*map(escape, (name, *sides)))
    return table


def what_if_record(outcome: WhatIf) -> dict[str, Any]:
    """What a change comes to at one site, as programs read it."""
    record: dict[str, Any] = {"site": outcome.site, "problem": outcome.problem or None}
    for side, plan in (("before", outcome.before), ("after", outcome.after)):
        record |= {
            f"cost_eur_{side}": None if plan is None else plan.cost_eur,
            f"soc_at_end_{side}": None if plan is None else float(plan.table["soc"].iloc[-1]),
        }
    return record


def what_if_table(outcomes: Sequence[WhatIf]) -> Table:
    """The same for people, with the sum; of many sites those on which it has most effect."""
    table = _table("site", "cost now", "cost then", "difference", "SOC at the end", "", title=_horizon(outcomes))
    by_effect = sorted(outcomes, key=lambda each: (each.more_eur is not None, -abs(each.more_eur or 0.0)))
    for each in by_effect[:SITES_SHOWN]:
        record = what_if_record(each)
        costs, socs = (
            [record[f"{name}_{side}"] for side in ("before", "after")] for name in ("cost_eur", "soc_at_end")
        )
        ends = " -> ".join("-" if soc is None else f"{soc * 100:.0f} %" for soc in socs)
        table.add_row(escape(each.site), *map(_eur, (*costs, each.more_eur)), ends, escape(each.problem))
    if len(outcomes) > SITES_SHOWN:
        table.add_row(f"and {len(outcomes) - SITES_SHOWN} more", style="dim")
    both = [(each.before.cost_eur, each.after.cost_eur) for each in outcomes if each.before and each.after]
    if len(outcomes) > 1 and both:
        before, after = (sum(costs) for costs in zip(*both, strict=True))
        table.add_row(f"{len(both)} sites", *map(_eur, (before, after, after - before)), style="bold")
    return table


def _horizon(outcomes: Sequence[WhatIf]) -> str:
    index = next((each.after.problem.index for each in outcomes if each.after is not None), None)
    if index is None:
        return "what if"
    return f"what if: plans from {index[0]:%Y-%m-%d %H:%M} to {index[-1]:%Y-%m-%d %H:%M} UTC"


def _eur(amount: float | None) -> str:
    return "-" if amount is None else f"{amount:.2f} EUR"


def _table(*headings: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1))
    for heading in headings:
        table.add_column(heading, justify="right" if heading.startswith(("cost", "diff")) else "left")
    return table
