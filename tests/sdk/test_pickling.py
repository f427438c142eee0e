"""Functions and arguments open on a machine that lacks the user's own modules; what cannot travel is named."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import farlane
from farlane.errors import InvalidJob
from farlane.sdk.facade import Client
from farlane.sdk.pickling import is_own_module, pickle_call, pickle_function

OPEN = "import pickle, sys; f = pickle.loads(sys.stdin.buffer.read()); print(f(4))"
LOCK = threading.Lock()
Settings = dict[str, Any]


def elsewhere(function: object) -> str:
    """Run a pickled function in a Python that finds none of our modules."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        input=pickle_function(function),
        capture_output=True,
        cwd="/",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Write and import a module of the user's own."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(**sources: str) -> Any:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            made.append(name)
        return __import__(made[-1])

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_functions_classes_and_constants_of_own_modules_travel_by_value(module: Callable[..., Any]) -> None:
    own = module(
        own_base="""FACTOR = 3
class Scale:
    def __init__(self, by): self.by = by
    def of(self, x): return x * self.by
""",
        own_work="from own_base import FACTOR, Scale\ndef work(x): return Scale(FACTOR).of(x) + 1",
    )
    assert elsewhere(own.work) == "13"


def test_own_modules_that_import_each_other_travel_as_modules(module: Callable[..., Any]) -> None:
    own = module(
        own_left="import own_right\ndef left(x): return own_right.right(x) + 1",
        own_right="import own_left\ndef right(x): return x * 10\ndef both(x): return own_left.left(x)",
    )
    assert elsewhere(own.both) == "41"


def test_the_registry_of_cloudpickle_is_as_before(module: Callable[..., Any]) -> None:
    own = module(own_alone="def work(x): return x")
    before = cloudpickle.list_registry_pickle_by_value()
    pickle_function(own.work)
    with pytest.raises(TypeError):
        pickle_function((own.work, LOCK))
    assert cloudpickle.list_registry_pickle_by_value() == before


def test_installed_modules_travel_by_reference() -> None:
    assert not is_own_module("json")
    assert not is_own_module("cloudpickle.cloudpickle")
    assert not is_own_module("farlane.sdk.pickling")
    assert not is_own_module("builtins")
    assert not is_own_module("not_loaded_at_all")
    assert pickle.loads(pickle_function(pickle.dumps)) is pickle.dumps


def test_an_instance_of_an_own_class_is_an_argument_like_any(module: Callable[..., Any]) -> None:
    own = module(
        own_point="class Point:\n    def __init__(self, x): self.x = x\n    def __call__(self, y): return self.x + y"
    )
    assert elsewhere(own.Point(1)) == "5"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, "a", b"b", None, True, 2.5), {}), (([1, {"a": (2,)}],), {}), ((1,), {"key": [2]})],
)
def test_arguments_come_back_equal(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert pickle.loads(pickle_call(args, kwargs)) == (args, kwargs)


def uses_global(x: int) -> int:
    with LOCK:
        return x


def calls_uses_global(x: int) -> int:
    return uses_global(x)


def refused(client: Client, function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    app = farlane.App("demo", client)
    with pytest.raises(InvalidJob) as caught:
        app.function()(function).remote(*args, **kwargs)
    assert caught.value.__cause__ is not None
    return caught.value.message


def test_the_global_that_cannot_be_pickled_is_named(client: Client) -> None:
    message = refused(client, uses_global, 1)
    assert "function 'demo.uses_global' cannot be sent to another machine" in message
    assert "its global variable 'LOCK' is a _thread.lock, which cannot be pickled" in message
    assert "Create it inside the function" in message


def test_a_global_of_a_function_that_is_called_is_named_with_that_function(client: Client) -> None:
    assert "its global variable 'LOCK' of 'uses_global' is a _thread.lock" in refused(
        client, calls_uses_global, 1
    )


def test_an_enclosed_variable_is_named_down_to_the_item(client: Client) -> None:
    settings: Settings = {"path": "x", "locks": [1, threading.Lock()]}
    message = refused(client, lambda x: (x, settings), 1)
    assert "its enclosed variable 'settings'['locks'][1] is a _thread.lock" in message


def test_a_default_is_named(client: Client) -> None:
    def work(x: int, lock: object = threading.Lock()) -> int:
        return x

    assert "the default of its parameter 'lock' is a _thread.lock" in refused(client, work, 1)


def test_the_object_of_a_method_is_named(client: Client) -> None:
    class Holder:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def work(self, x: int) -> int:
            return x

    assert "'self'.lock is a _thread.lock" in refused(client, Holder().work, 1)


def test_an_object_that_refuses_by_itself_is_reported_with_its_reason(client: Client) -> None:
    class Stubborn:
        def __call__(self, x: int) -> int:
            return x

        def __reduce__(self) -> Any:
            raise RuntimeError("not me")

    assert "RuntimeError: not me. It, or something it refers to" in refused(client, Stubborn(), 1)


@pytest.mark.parametrize(
    ("args", "kwargs", "where"),
    [
        ((1, [LOCK]), {}, r"argument 2\[0\]"),
        ((), {"x": LOCK}, r"argument 'x'"),
        ((uses_global,), {}, "'LOCK' of 'uses_global'"),
    ],
)
def test_an_argument_that_cannot_be_pickled_is_named(
    client: Client, args: tuple[Any, ...], kwargs: dict[str, Any], where: str
) -> None:
    app = farlane.App("demo", client)

    @app.function()
    def f(*args: Any, **kwargs: Any) -> None: ...

    with pytest.raises(
        InvalidJob, match=f"call of 'demo.* cannot be sent to another machine: .*{where} is a _thread.lock"
    ):
        f.remote(*args, **kwargs)
    with pytest.raises(InvalidJob, match="cannot be pickled"):
        list(f.map([LOCK]))
