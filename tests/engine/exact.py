"""HiGHS asked as exactly as it can be, for oracles that share nothing with the product."""

from __future__ import annotations

import highspy


def exact_model() -> highspy.Highs:
    """An empty, silent model that is solved to a gap of 0, with tolerances of 1e-9."""
    model = highspy.Highs()
    for option, value in {
        "output_flag": False,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": 1e-9,
        "mip_feasibility_tolerance": 1e-9,
        "primal_feasibility_tolerance": 1e-9,
        "dual_feasibility_tolerance": 1e-9,
    }.items():
        model.setOptionValue(option, value)
    return model
