"""Settings come from the right source, with the right type, or with an error that helps."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from farlane.errors import Internal, InvalidSetting
from farlane.kit.conversion import convert, type_name
from farlane.kit.settings import documentation, read, variable


@dataclass(frozen=True)
class Hub:
    port: int = 7433
    """TCP port the hub listens on;
    0 takes a free one."""
    host: str = "127.0.0.1"
    """Address the hub binds."""
    durable: bool = True
    """Whether submits wait for the disk."""
    heartbeat_s: float = 5.0
    """Seconds between heartbeats."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise InvalidSetting(f"hub.port is {self.port}: expected 0 to 65535")


@dataclass(frozen=True)
class Node:
    home: Path = Path("farlane-data")
    """Where the node keeps its data."""
    labels: tuple[str, ...] = ()
    """Labels the node carries."""
    gpu: str | None = None
    """GPU to use, or none."""
    style: Literal["json", "text"] = "text"
    """How logs are written."""
    extra: tuple[str, ...] = field(default_factory=lambda: ("a",))
    """Made by a factory."""


@dataclass(frozen=True)
class Settings:
    hub: Hub = Hub(heartbeat_s=7.0)
    node: Node = field(default_factory=Node)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_without_sources_the_defaults_hold() -> None:
    assert read(Settings) == Settings()
    assert read(Settings).hub.heartbeat_s == 7.0  # the group's default in the root, not the class's


def test_each_source_goes_over_the_one_before(tmp_path: Path) -> None:
    file = write(tmp_path / "farlane.toml", '[hub]\nport = 1\nhost = "file"\nheartbeat_s = 1\n')
    environment = {"FARLANE_HUB_PORT": "2", "FARLANE_HUB_HOST": "environment", "PATH": "/bin"}
    flags = {"hub.port": 3, "hub.host": None}
    hub = read(Settings, file=file, environment=environment, flags=flags).hub
    assert hub == Hub(port=3, host="environment", heartbeat_s=1.0)


def test_yaml_says_the_same(tmp_path: Path) -> None:
    file = write(tmp_path / "farlane.yaml", "hub: {port: 1}\nnode:\n  labels: [a, b]\n  gpu: null\n")
    settings = read(Settings, file=file)
    assert (settings.hub.port, settings.node.labels, settings.node.gpu) == (1, ("a", "b"), None)


@pytest.mark.parametrize("name", ["empty.toml", "empty.yml"])
def test_an_empty_file_changes_nothing(tmp_path: Path, name: str) -> None:
    assert read(Settings, file=write(tmp_path / name, "")) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[hbu]\nport = 1", "unknown group 'hbu'; did you mean 'hub'?"),
        ("[hub]\nprot = 1", "unknown setting 'prot' in 'hub'; did you mean 'port'?"),
        ("hub = 3", "'hub' is 3: expected a table of settings"),
        ("[hub]\nport = 'many'", "hub.port is 'many': expected int"),
        ("[hub\n", "is not valid TOML"),
    ],
)
def test_a_wrong_toml_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "farlane.toml", text)
    with pytest.raises(InvalidSetting) as caught:
        read(Settings, file=file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- a", "expected groups")])
def test_a_wrong_yaml_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        read(Settings, file=write(tmp_path / "farlane.yaml", text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"missing\.toml"):
        read(Settings, file=tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(InvalidSetting, match=r"latin\.toml"):
        read(Settings, file=tmp_path / "latin.toml")


def test_an_unknown_variable_is_refused_unless_it_is_known_elsewhere() -> None:
    with pytest.raises(InvalidSetting, match="did you mean 'FARLANE_HUB_PORT'"):
        read(Settings, environment={"FARLANE_HUB_PROT": "1"})
    settings = read(Settings, environment={"FARLANE_TOKEN": "x"}, other_variables=["FARLANE_TOKEN"])
    assert settings == Settings()


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"did you mean 'hub\.port'"):
        read(Settings, flags={"hub.prot": None})


def test_a_wrong_value_names_its_variable() -> None:
    with pytest.raises(
        InvalidSetting, match="environment variable FARLANE_HUB_PORT is 'tcp://x': expected int"
    ):
        read(Settings, environment={"FARLANE_HUB_PORT": "tcp://x"})


def test_a_wrong_value_that_is_overruled_does_no_harm() -> None:
    assert read(Settings, environment={"FARLANE_HUB_PORT": "x"}, flags={"hub.port": "8"}).hub.port == 8


def test_the_groups_own_check_runs() -> None:
    with pytest.raises(InvalidSetting, match="0 to 65535"):
        read(Settings, flags={"hub.port": 70000})


def test_the_variable_of_a_setting() -> None:
    assert variable("hub", "heartbeat_s") == "FARLANE_HUB_HEARTBEAT_S"


def test_a_root_holds_groups_only() -> None:
    @dataclass(frozen=True)
    class Flat:
        port: int = 1

    with pytest.raises(Internal, match=r"Flat\.port is no group"):
        read(Flat)


class TestConversion:
    @pytest.mark.parametrize(
        ("raw", "kind", "value"),
        [
            ("true", bool, True),
            (" Off ", bool, False),
            (False, bool, False),
            ("8_000", int, 8000),
            (8, int, 8),
            ("1e3", float, 1000.0),
            (3, float, 3.0),
            ("x", str, "x"),
            ("a/b", Path, Path("a/b")),
            (Path("a"), Path, Path("a")),
            ("a, b,,c ", tuple[str, ...], ("a", "b", "c")),
            ("", tuple[str, ...], ()),
            (["a"], tuple[str, ...], ("a",)),
            ("None", int | None, None),
            ("", str | None, None),
            (None, int | None, None),
            ("3", typing.Optional[int], 3),  # noqa: UP045 - older spelling, still met
            ("json", Literal["json", "text"], "json"),
        ],
    )
    def test_good_values(self, raw: object, kind: Any, value: object) -> None:
        converted = convert(raw, kind, "here")
        assert converted == value
        assert type(converted) is type(value)

    def test_a_path_may_start_at_home(self) -> None:
        assert convert("~/x", Path, "here") == Path.home() / "x"

    @pytest.mark.parametrize(
        ("raw", "kind"),
        [
            ("maybe", bool),
            (1, bool),
            ("1.5", int),
            (True, int),
            (1.5, int),
            ("nan", float),
            (True, float),
            ([], float),
            (5, str),
            ("", Path),
            (5, Path),
            ([1], tuple[str, ...]),
            (5, tuple[str, ...]),
            ("x", int | None),
            ("xml", Literal["json", "text"]),
        ],
    )
    def test_bad_values(self, raw: object, kind: Any) -> None:
        with pytest.raises(InvalidSetting, match=r"here is .*: expected "):
            convert(raw, kind, "here")

    @pytest.mark.parametrize("kind", [dict, int | str, int | str | None])
    def test_types_that_settings_do_not_have(self, kind: Any) -> None:
        with pytest.raises(Internal, match="cannot be of type"):
            convert("x", kind, "here")

    def test_types_have_names_for_people(self) -> None:
        assert type_name(int | None) == "int or none"
        assert type_name(Literal["a", "b"]) == "one of a, b"
        assert type_name(dict) == "<class 'dict'>"


class TestDocumentation:
    def test_each_setting_has_its_line(self) -> None:
        port, host, _, heartbeat = documentation(Hub)
        assert port == ("port", "int", 7433, "TCP port the hub listens on;\n0 takes a free one.")
        assert host.doc == "Address the hub binds."
        assert heartbeat.default == 5.0
        assert documentation(Node)[-1] == (
            "extra",
            "list of texts (comma-separated in the environment)",
            ("a",),
            "Made by a factory.",
        )

    def test_inherited_settings_are_documented(self) -> None:
        @dataclass(frozen=True)
        class Child(Hub):
            color: str = field(kw_only=True)
            """Its colour."""

        lines = documentation(Child)
        assert [line.name for line in lines] == ["port", "host", "durable", "heartbeat_s", "color"]
        assert lines[-1].default is None

    def test_an_undocumented_setting_is_refused(self) -> None:
        @dataclass(frozen=True)
        class Silent:
            loud: int = 1
            """Documented."""
            quiet: int = 2

        with pytest.raises(Internal, match=r"Silent\.quiet has no docstring"):
            documentation(Silent)
