"""The promises of an adapter as cases that any adapter with an emulator can be held to; see `contract`.

python -m adapters.testing             every installed adapter, as a table of cases by vendors
from adapters.testing.contract import *    the same cases in a test module that has a fixture `subject`
"""

from adapters.testing.subject import Expected, Subject, installed

__all__ = ["Expected", "Subject", "installed"]
