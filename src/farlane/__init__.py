"""farlane: the open AI compute network.

    import farlane

    app = farlane.App("demo")

    @app.function(cpu=1, memory="1GB", retries=2)
    def square(x):
        return x * x

    print(square.remote(3), list(square.map(range(10))))

Everything here is loaded on first use: `import farlane` alone takes a few milliseconds.
"""

from __future__ import annotations

import importlib
from typing import Any

from farlane import errors
from farlane.errors import FarlaneError

__all__ = [
    "App",
    "AsyncClient",
    "Call",
    "Client",
    "DirectClient",
    "Executor",
    "FarlaneError",
    "Function",
    "RemoteTraceback",
    "TaskResult",
    "connect",
    "errors",
    "load_job_file",
]

_HOMES = {
    "App": "farlane.sdk.functions",
    "AsyncClient": "farlane.sdk.client",
    "Call": "farlane.sdk.calls",
    "Client": "farlane.sdk.facade",
    "DirectClient": "farlane.sdk.direct_facade",
    "Executor": "farlane.sdk.executor",
    "Function": "farlane.sdk.functions",
    "RemoteTraceback": "farlane.sdk.outcomes",
    "TaskResult": "farlane.sdk.outcomes",
    "connect": "farlane.sdk.facade",
    "load_job_file": "farlane.sdk.job_file",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is not None:
        value = getattr(importlib.import_module(home), name)
    elif name in errors.leaves():
        value = getattr(errors, name)
    else:
        raise AttributeError(f"module 'farlane' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *errors.leaves()})
