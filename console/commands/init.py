"""`tidewatt init`: the folder of an installation, the key that seals its credentials, and its store."""

from __future__ import annotations

from console.commands.screen import out

NEXT = """next:
  tidewatt accounts import FILE   # vendor accounts; --with-sites for those of `tidewatt emulate --ready-file FILE`
  tidewatt sites add NAME --account ACCOUNT --device ID --site FILE
  tidewatt inputs publish FILE    # prices and forecasts; --sample for a demonstration
  tidewatt arm ACCOUNT            # until then nothing is sent
  tidewatt up"""


def init() -> None:
    """Make what an installation needs: its folder, a key and the store. What is there stays as it is."""
    from console.store import opened
    from schedules.seal import Sealer, make_key
    from schedules.settings import Settings

    settings = Settings.from_environment()
    made = make_key(settings)
    # Whether the key that is there can be used is better known now than at the first account.
    Sealer.from_environment()
    with opened() as (db, _):
        kind = db.engine.dialect.name
    out.print(f"folder: {settings.state}", markup=False)
    if made is None:
        out.print("key:    there already; not touched")
    else:
        out.print(f"key:    {made}, new; who loses it imports all accounts again, so keep a copy", markup=False)
    out.print(f"store:  {kind}, up to date")
    out.print(NEXT, markup=False)
