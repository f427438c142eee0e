"""For the tests of training: JAX compiles quickly rather than well."""

from __future__ import annotations

import contextlib

with contextlib.suppress(ImportError):
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
