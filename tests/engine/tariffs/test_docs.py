"""The page on tariffs: its snippets run, and its table names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.tariffs import Tariff

PAGE = (Path(__file__).parents[3] / "docs" / "tariffs.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_the_snippets_run(snippet, capsys):
    names: dict = {}
    exec(snippet, names)
    assert isinstance(names["contract"], Tariff)
    printed = capsys.readouterr().out
    assert ("DKK, of which grid" in printed) == ("print" in snippet)


def test_every_constant_that_the_page_names_exists():
    for module, row in re.findall(r"^\| `(dk|de|gb)` \|(.*)$", PAGE, flags=re.MULTILINE):
        namespace = vars(__import__(f"engine.tariffs.{module}", fromlist=[module]))
        for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row):
            assert name in namespace
