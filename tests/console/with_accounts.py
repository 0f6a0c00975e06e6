"""The `tidewatt` command with the accounts of an emulator's ready file, by their adapters' names."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from adapters import registry
from console import processes
from console.cli import main
from schedules import work
from schedules.store import AccountRow

ACCOUNTS = [json.loads(line) for line in Path(os.environ["READY_FILE"]).read_text().splitlines()]


def open_adapter(account_id: int) -> Any:
    with work.database().session() as session:
        name = session.get_one(AccountRow, account_id).adapter
    account = next(account for account in ACCOUNTS if account["adapter"] == name)
    return registry.factory(name)(account["account"], work.CLOCK)


work.open_adapter = open_adapter
processes._command = lambda *arguments: [sys.executable, __file__, *arguments]

if __name__ == "__main__":
    sys.exit(main())
