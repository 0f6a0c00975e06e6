"""Tariffs: what a kWh costs and earns all-in, per interval, from contract data.

    from engine.prices import PriceCurve
    from engine.tariffs import bill, dk
    contract = dk.household(dk.N1, supplier_fee=0.04)
    buy = contract.import_price(spot)        # spot: PriceCurve in DKK/kWh
    contract.components(spot)                # one column per component
    bill(contract, spot, import_kwh).total

Countries with published figures: `dk`, `de`, `gb`; any other contract: `generic`, or components put together.
"""

from engine.tariffs.billing import Bill, bill
from engine.tariffs.components import Basis, Cap, Charge, Component, Spot, Vat
from engine.tariffs.rates import Band, Rates
from engine.tariffs.tariff import Tariff

__all__ = ["Band", "Basis", "Bill", "Cap", "Charge", "Component", "Rates", "Spot", "Tariff", "Vat", "bill"]
