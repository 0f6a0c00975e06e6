"""What the AlphaESS tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.adapters.alphaess.world import independent_decryption, independent_signature


@pytest.fixture(scope="session")
def signature() -> Callable[[Mapping[str, Any], str], str]:
    return independent_signature


@pytest.fixture(scope="session")
def decryption() -> Callable[[str, str], str]:
    return independent_decryption
