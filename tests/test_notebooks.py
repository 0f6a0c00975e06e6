"""A notebook is two files: the script that people change, and the .ipynb that they open and pytest runs."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def test_scripts_notebooks_and_the_lines_of_the_readme_are_the_same_ones() -> None:
    names = {script.stem for script in SCRIPTS}
    assert {notebook.stem for notebook in FOLDER.glob("*.ipynb")} == names
    readme = (FOLDER / "README.md").read_text()
    assert {name for name in names if f"({name}.ipynb)" in readme} == names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_says_what_its_script_says_and_holds_no_outputs(script: Path) -> None:
    opened = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert cells(opened) == cells(jupytext.read(script)), f"run: jupytext --sync {script.relative_to(FOLDER.parent)}"
    for cell in opened.cells:
        assert not cell.get("outputs"), cell.source
        assert cell.get("execution_count") is None, cell.source


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]
