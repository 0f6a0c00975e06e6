"""`python -m adapters.testing [name ...]`: the cases over installed adapters, as a table."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from adapters.testing.case import NotApplicableError
from adapters.testing.contract import CASES
from adapters.testing.subject import Subject, installed

PASSED, NOT_APPLICABLE, FAILED = "passed", "-", "FAILED"


def outcomes(subjects: Sequence[Subject]) -> dict[tuple[int, str], tuple[str, str]]:
    """What came of each case for each subject: a word, and why it failed or does not apply."""
    found: dict[tuple[int, str], tuple[str, str]] = {}
    for case in CASES:
        for subject in subjects:
            try:
                case.run(subject)
            except NotApplicableError as reason:
                found[case.number, subject.name] = (NOT_APPLICABLE, str(reason))
            except Exception as error:  # an adapter that breaks its promise may break it in any way
                found[case.number, subject.name] = (FAILED, f"{type(error).__name__}: {error}")
            else:
                found[case.number, subject.name] = (PASSED, "")
    return found


def table(subjects: Sequence[Subject], found: dict[tuple[int, str], tuple[str, str]]) -> Table:
    """Cases by vendors."""
    made = Table("case", "promise", *(subject.name for subject in subjects))
    for case in CASES:
        words = [found[case.number, subject.name][0] for subject in subjects]
        made.add_row(f"C{case.number:02}", case.title, *words)
    return made


def main(names: Sequence[str]) -> int:
    """Run, print, and say by the exit code whether all promises are kept."""
    subjects = [subject for subject in installed() if not names or subject.name in names]
    out = Console()
    if not subjects:
        out.print(f"no adapter of that name; installed: {', '.join(subject.name for subject in installed())}")
        return 2
    # What adapters log of the faults is for the cases to hear, not for the screen.
    logging.getLogger().addHandler(logging.NullHandler())
    found = outcomes(subjects)
    out.print(table(subjects, found))
    failed = {key: reason for key, (word, reason) in found.items() if word == FAILED}
    for (number, name), reason in failed.items():
        out.print(f"C{number:02} {name}: {reason}", markup=False, highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
