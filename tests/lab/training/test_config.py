"""Configurations of trainings: what is unknown or out of range is named, with what would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.errors import InvalidSetting, NotFound
from farlane.lab.training.config import Lublin, Swf, parse_config, read_config
from farlane.lab.training.coordinates import features_of
from farlane.lab.training.shipped import shipped_config, shipped_names, without_traces


def test_a_configuration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "settings: [{source: swf, trace: hpc2n, jobs: [5, 90]}, {source: lublin}]\nppo: {clip: 0.1}\n"
    )
    config = read_config(path)
    assert config.settings == [Swf("hpc2n", (5, 90)), Lublin()]
    assert config.ppo.clip == 0.1
    assert config.needs_traces
    assert not parse_config(b"settings: [{source: lublin}]", "it").needs_traces


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("settings: [{source: lubln}]", "number 1: source 'lubln'; did you mean 'lublin'"),
        (
            "settings: [{source: lublin}, {source: swf, trcae: x}]",
            "number 2: no key 'trcae'; did you mean 'trace'",
        ),
        ("settings: [{source: lublin}]\nppo: {klip: 1}", "ppo: no key 'klip'; did you mean 'clip'"),
        ("seting: 1", "no key 'seting'; did you mean 'settings'"),
        ("settings: []", "length >= 1"),
        ("settings: [{source: lublin}]\nsearches: [{population: 2}]", ">= 4"),
        ("settings: [{source: swf}]", "trace"),
        ("settings: [{source: lublin}]\nsearches: [{name: a}, {name: a}]", "names of their own; found a, a"),
        ("settings: [{source: lublin}]\nsearches: [{name: ../a}]", "name"),
        ("settings: 3", "Expected `array`"),
        ("- 3", "Expected `object`"),
        ("{", "no YAML"),
        ("", "Expected `object`"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    with pytest.raises(InvalidSetting, match=r"run\.yaml") as found:
        parse_config(text.encode(), "run.yaml")
    assert told in found.value.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="expected a YAML file"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_configurations_mean_something(name: str) -> None:
    config = shipped_config(name)
    assert config.name == name
    for search in config.searches:
        for array, kept in search.arrays.items():
            assert set(kept) <= set(features_of(array))
    for array, entries in config.start.set.items():
        assert set(entries) <= set(features_of(array))
    assert without_traces(config).settings


def test_an_unknown_shipped_configuration_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="did you mean 'default'"):
        shipped_config("defualt")
