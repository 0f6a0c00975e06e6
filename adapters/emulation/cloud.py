"""What the emulated clouds of all vendors have: the routes by which they are driven, faults, and an end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from adapters.emulation.clock import EmulatedClock
from adapters.emulation.control import CONTROL_PREFIX, control_routes
from adapters.emulation.faults import FaultBox, with_faults


class EmulatedCloud(ABC):
    """A `Cloud` but for its `account`."""

    stopped = False
    app: Any = None

    def _offer(
        self,
        routes: Iterable[BaseRoute],
        clock: EmulatedClock,
        faults: FaultBox,
        is_control: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Make the application of the vendor's routes; see `with_faults` for `is_control`."""
        controls = control_routes(clock, self.advance, self.state, self.stop, faults)
        self.app = with_faults(Starlette(routes=[*routes, *controls]), faults, is_control, CONTROL_PREFIX)

    @abstractmethod
    def advance(self) -> None:
        """Bring everything to the emulated time."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """The emulator's own account of itself."""

    def stop(self) -> None:
        """Whoever serves this cloud should end."""
        self.stopped = True
