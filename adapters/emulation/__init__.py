"""What every vendor emulator shares: time, houses, physics, faults, a log, an HTTP server on loopback.

An emulator is a real HTTP server with physics behind it. For tests, demonstrations and sandboxes only.
"""

from adapters.emulation.builders import Emulator, emulator
from adapters.emulation.clock import EmulatedClock
from adapters.emulation.cloud import EmulatedCloud
from adapters.emulation.control import (
    CLOCK_PATH,
    CONTROL_PREFIX,
    FAULTS_PATH,
    STATE_PATH,
    STOP_PATH,
    Cloud,
    EmulatorControl,
    control_routes,
)
from adapters.emulation.faults import FaultBox, Faults, with_faults
from adapters.emulation.house import House, with_fluctuation
from adapters.emulation.log import EventLog
from adapters.emulation.server import LOOPBACK, listen, serve
from adapters.emulation.site import EmulatedSite, Order, Reading

__all__ = [
    "CLOCK_PATH",
    "CONTROL_PREFIX",
    "FAULTS_PATH",
    "LOOPBACK",
    "STATE_PATH",
    "STOP_PATH",
    "Cloud",
    "EmulatedClock",
    "EmulatedCloud",
    "EmulatedSite",
    "Emulator",
    "EmulatorControl",
    "EventLog",
    "FaultBox",
    "Faults",
    "House",
    "Order",
    "Reading",
    "control_routes",
    "emulator",
    "listen",
    "serve",
    "with_faults",
    "with_fluctuation",
]
