"""Guards that are taken away, to show that a test notices."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def without(method: Callable[..., Any], marker: str) -> Callable[..., Any]:
    """A copy of a method without the one `if` whose test mentions a marker."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    removed: list[str] = []

    class Remover(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            if marker in ast.unparse(node.test):
                removed.append(ast.unparse(node))
                return None
            return self.generic_visit(node)

    tree = ast.fix_missing_locations(Remover().visit(tree))
    assert len(removed) == 1, f"{method.__qualname__} has {len(removed)} guards that mention {marker!r}"
    namespace = dict(method.__globals__)
    exec(compile(tree, f"<{method.__qualname__} without {marker}>", "exec"), namespace)
    return namespace[method.__name__]
