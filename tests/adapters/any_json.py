"""What a vendor may send in place of what it promised."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def any_json(*odd: Any) -> st.SearchStrategy[Any]:
    """Small JSON of any shape; among its leaves are the odd ones given."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(odd),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
