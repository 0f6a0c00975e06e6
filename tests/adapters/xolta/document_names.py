"""Every name of a signal in Xolta's document."""

from __future__ import annotations

# Section 3.2, all of it: lines 129 to 184 of the manual's text.
RAW = [
    "bmsAirInletTemperatureRawArrayCloudMin",
    "bmsAirInletTemperatureRawArrayCloudMax",
    "bmsAirInletTemperatureRawArrayCloudAvg",
    "bmsAirInletTemperatureRawArray",
    "bmsCellTemperatureMinRawArrayCloudMin",
    "bmsCellTemperatureMaxRawArrayCloudMax",
    "bmsCellTemperatureMinRawArray",
    "bmsCellTemperatureMaxRawArray",
    "bmsCellVoltageAvgRawArrayCloudAvg",
    "bmsCellVoltageMinRawArrayCloudMin",
    "bmsCellVoltageMaxRawArrayCloudMax",
    "bmsCellVoltageTotalRawArrayCloudAvg",
    "bmsCellVoltageAvgRawArray",
    "bmsCellVoltageMinRawArray",
    "bmsCellVoltageMaxRawArray",
    "bmsCellVoltageTotalRawArray",
    "bmsShuntChargeDcCurrentRawArray",
    "bmsShuntChargeDcCurrentRawArrayCloudTotal",
    "bmsShuntTemperatureRawArrayCloudMin",
    "bmsShuntTemperatureRawArrayCloudMax",
    "bmsShuntTemperatureRawArrayCloudAvg",
    "bmsShuntTemperatureRawArray",
    "bmsSocRawArrayCloudTrimmed",
    "bmsSocRawArray",
    "batteryPower",
    "inverterActivePower",
    "inverterActivePowerSetPoint",
    "inverterReactivePower",
    "inverterAcCurrentP1",
    "inverterAcCurrentP2",
    "inverterAcCurrentP3",
    "inverterAcVoltageP1P2",
    "inverterAcVoltageP2P3",
    "inverterAcVoltageP3P1",
    "inverterReactivePowerSetPoint",
    "meterConsumptionActivePower",
    "meterGridActivePower",
    "meterHeatPumpActivePower",
    "meterInverterActivePower",
    "meterInverterReactivePower",
    "meterPvActivePower",
    "meterGridVoltageP1",
    "meterGridVoltageP2",
    "meterGridVoltageP3",
    "inverterFrequency",
]


def summary_names():
    """Section 3.3, lines 189 to 464 of the manual's text, by its own regularity."""
    full = ["Avg", "Min", "Max", "Std", "Count"]
    for base in [
        "meterConsumptionActivePower",
        "meterPvActivePower",
        "meterGridActivePower",
        "meterInverterActivePower",
        "meterHeatPumpActivePower",
        "meterInverterReactivePower",
        "meterGridReactivePower",
        "inverterActivePower",
        "inverterReactivePower",
        "batteryPower",
        "bmsSocRawArrayCloudTrimmed",
        "bmsCellVoltageTotalRawArrayCloudAvg",
        "bmsShuntChargeDcCurrentRawArrayTotal",
    ]:
        yield from (f"{base}Agg{function}" for function in full)
    for base in [
        "bmsCellVoltageAvgRawArrayCloudAvg",
        "bmsCellVoltageMinRawArrayCloudMin",
        "bmsCellVoltageMaxRawArrayCloudMax",
        "bmsCellTemperatureMinRawArrayCloudMin",
        "bmsCellTemperatureMaxRawArrayCloudMax",
        "bmsAirInletTemperatureRawArrayCloudMin",
        "bmsAirInletTemperatureRawArrayCloudMax",
        "bmsAirInletTemperatureRawArrayCloudAvg",
        "bmsShuntTemperatureRawArrayCloudMin",
        "bmsShuntTemperatureRawArrayCloudMax",
        "bmsShuntTemperatureRawArrayCloudAvg",
    ]:
        yield f"{base}Agg{base[-3:]}"
        yield f"{base}AggCount"
    for base in ("meterGridVoltageP1", "meterGridVoltageP2", "meterGridVoltageP3", "inverterFrequency"):
        yield from (f"{base}Agg{function}" for function in full[:3])
    yield "calculatedConsumption"


SUMMARY = list(summary_names())
