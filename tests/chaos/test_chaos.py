"""A slice of `make chaos`: ten disturbances of a real installation, and nothing is found that must not be."""

from __future__ import annotations

import pytest

from tests.chaos.run import run


@pytest.mark.timeout(240)
def test_ten_disturbances_do_no_harm(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--chaos"):
        pytest.skip("takes two minutes: --chaos")
    outcome = run(10, 2, compares=False, halts_too=False)
    assert outcome.kinds.total() == 10
    assert outcome.findings.arrivals > 0
    assert outcome.is_clean, outcome.findings.violations
