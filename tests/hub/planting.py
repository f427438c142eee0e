"""What a planted bug is; `mutants.py` and `account_mutants.py` have them, `test_mutants.py` plants them."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One planted bug: in `file` below `src/farlane`, the text `old`, which occurs once, becomes `new`.

    tests: the files below `tests` of which one must find it; by default the stateful property, on its own.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str = "hub/test_reactor_properties.py"
