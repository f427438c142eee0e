"""Where numba keeps what it compiled, as it does anyway, stamped with all sources that the code was made from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator

from farlane.kit.source_digest import digest


class _Stamped:
    """A locator whose stamp is the digest of the sources; numba compiles anew where it differs."""

    _py_file: str

    def get_source_stamp(self) -> str:
        """Return the digest: see `source_digest`."""
        return digest(Path(self._py_file).resolve())


class Provided(_Stamped, UserProvidedCacheLocator):
    """Keeps it in `NUMBA_CACHE_DIR`, where that is set."""


class InTree(_Stamped, InTreeCacheLocator):
    """Keeps it beside the source, where that may be written to."""


class UserWide(_Stamped, UserWideCacheLocator):
    """Keeps it in the user's cache."""


@contextmanager
def stamped() -> Iterator[None]:
    """Have functions that are decorated meanwhile kept by these locators, unless the user named others."""
    config: Any = numba.config
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = before or ",".join(
        f"{__name__}.{each.__name__}" for each in (Provided, InTree, UserWide)
    )
    try:
        yield
    finally:
        config.CACHE_LOCATOR_CLASSES = before
