"""The grammar of the names of signals."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.xolta.signals import LONGEST_NAME, Over, Signal, Source, parse
from tests.adapters.xolta.document_names import RAW, SUMMARY


@pytest.mark.parametrize("name", [*RAW, *SUMMARY])
def test_every_name_of_the_document_is_a_signal(name):
    signal = parse(name)

    assert signal is not None
    assert (signal.time is not None) is ("Agg" in name)
    assert signal.per_rack is ("RawArray" in name)
    assert signal.site is None
    assert parse(name[0].upper() + name[1:]) == parse(name.lower()) == signal
    assert len(name) <= LONGEST_NAME


def test_no_two_names_are_the_same_signal():
    names = [*RAW, *SUMMARY]

    assert len({parse(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        # Section 3, both examples: lines 102 to 104 and 108 to 110.
        (
            "BmsCellVoltageTotalRawArrayCloudAvg",
            Signal(Source.BMS, "cellvoltagetotal", per_rack=True, racks=Over.AVG),
        ),
        ("MeterGridActivePowerAggAvg", Signal(Source.GRID_METER, "activepower", time=Over.AVG)),
        ("bmsSocRawArray", Signal(Source.BMS, "soc", per_rack=True)),
        (
            "bmsSocRawArrayCloudTrimmedAggStd",
            Signal(Source.BMS, "soc", per_rack=True, racks=Over.TRIMMED, time=Over.STD),
        ),
        ("inverterActivePowerSetPoint", Signal(Source.INVERTER, "activepowersetpoint")),
        ("meterInverterReactivePower", Signal(Source.INVERTER_METER, "reactivepower")),
        ("meterGridVoltageP1AggMax", Signal(Source.GRID_METER, "voltagep1", time=Over.MAX)),
        ("inverterAcVoltageP1P2", Signal(Source.INVERTER, "acvoltagep1p2")),
        ("calculatedConsumption", Signal(Source.CALCULATED, "consumption")),
        (
            "inverterActivePowerAggAvgSiteSum",
            Signal(Source.INVERTER, "activepower", time=Over.AVG, site=Over.SUM),
        ),
        (
            "meterPvActivePowerAggAvgSiteSingle",
            Signal(Source.PV_METER, "activepower", time=Over.AVG, site=Over.SINGLE),
        ),
        (
            "bmsSocRawArrayCloudTrimmedAggAvgSiteAvg",
            Signal(Source.BMS, "soc", per_rack=True, racks=Over.TRIMMED, time=Over.AVG, site=Over.AVG),
        ),
    ],
)
def test_a_name_is_read_as_the_formula_says(name, signal):
    assert parse(name) == signal


@pytest.mark.parametrize(
    ("function", "racks", "time"),
    [
        ("CloudMin", Over.MIN, None),
        ("CloudMax", Over.MAX, None),
        ("CloudAvg", Over.AVG, None),
        ("CloudTotal", Over.TOTAL, None),
        ("CloudTrimmed", Over.TRIMMED, None),
        ("AggMin", None, Over.MIN),
        ("AggMax", None, Over.MAX),
        ("AggAvg", None, Over.AVG),
        ("AggStd", None, Over.STD),
        ("AggCount", None, Over.COUNT),
    ],
)
def test_every_function_of_the_document_is_known(function, racks, time):
    """Section 3.1, lines 115 to 124: "Cloud" goes over an array, "Agg" over a time."""
    assert parse(f"bmsSocRawArray{function}") == Signal(Source.BMS, "soc", True, racks, time)


def test_with_and_without_cloud_is_the_same_signal():
    """Line 156 has it and line 420 has not."""
    assert parse("bmsShuntChargeDcCurrentRawArrayTotalAggAvg") == parse(
        "bmsShuntChargeDcCurrentRawArrayCloudTotalAggAvg"
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "utcTime",
        "state",
        "deviceId",
        "meter",
        "inverter",
        "meterActivePower",
        "ActivePower",
        "inverterActivePowerAgg",
        "inverterActivePowerAggFoo",
        "inverterActivePowerAggAvgAggAvg",
        "bmsSocRawArrayCloud",
        "inverterActivePower Avg",
        "meterGridActivePowerSite",
        "inverterÄ",
        "inverter" + "x" * 200,
    ],
)
def test_other_names_are_no_signals(name):
    assert parse(name) is None


@settings(max_examples=2000)
@given(st.text() | st.from_regex(re.compile(r"(bms|inverter|meterGrid)[A-Za-z]{0,200}"), fullmatch=True))
def test_no_name_upsets_the_grammar(name):
    signal = parse(name)

    assert signal is None or signal.quantity
