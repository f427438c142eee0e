"""Configurations that come with the package: those of the shipped weights, and a small one to look at."""

from __future__ import annotations

from importlib import resources

import msgspec

from farlane.errors import NotFound
from farlane.kit.suggestions import hint
from farlane.lab.training.config import Config, Openb, Swf, parse_config


def shipped_names() -> list[str]:
    """Return the names of the configurations."""
    folder = resources.files("farlane.lab.training").joinpath("configs")
    return sorted(each.name.removesuffix(".yaml") for each in folder.iterdir() if each.name.endswith(".yaml"))


def shipped_config(name: str) -> Config:
    """Return a configuration.

    Raises:
        NotFound: none of that name is shipped.
    """
    if name not in shipped_names():
        raise NotFound(
            f"no configuration {name!r} is shipped; {hint(name, shipped_names())}. A file's name ends in .yaml"
        )
    path = resources.files("farlane.lab.training").joinpath("configs", f"{name}.yaml")
    return parse_config(path.read_bytes(), f"{name}.yaml")


def without_traces(config: Config) -> Config:
    """Return a configuration without the settings that are read from files, and without experts that have no other.

    Raises:
        NotFound: no other is left.
    """
    places = [at for at, source in enumerate(config.settings) if not isinstance(source, Swf | Openb)]
    if not places:
        raise NotFound(
            "every setting of this configuration is read from traces, and there are none: "
            "`farlane scheduler traces fetch` brings them, or name their directory with --traces"
        )
    experts = [
        msgspec.structs.replace(expert, of=left)
        for expert in config.experts
        if (left := [places.index(at) for at in expert.of if at in places])
    ]
    return msgspec.structs.replace(config, settings=[config.settings[at] for at in places], experts=experts)
