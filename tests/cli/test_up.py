"""`farlane up` and `token`: nodes that have joined, options that are never dropped, a URL that others can use."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509

from farlane.app.addresses import certificate_names, local_host, outward_host, url_of
from farlane.app.configuration import configuration
from farlane.app.layout import Layout
from farlane.app.network_file import NetworkFile, load
from farlane.wire.tokens import parse_token

Shell = Any  # the class is in conftest.py

TWO_NODES = ("--node", "name=oak,cpu=1,memory=512MB", "--node", "name=elm,cpu=1,memory=512MB")
ONE = ("--port", "0", "--node", "name=ash,cpu=1,memory=256MB")


def known(shell: Shell) -> NetworkFile:
    return load(Layout(shell.directory))


def hub_options(shell: Shell) -> list[str]:
    hub = known(shell).hub
    assert hub is not None
    return psutil.Process(hub.pid).cmdline()


def test_up_returns_when_the_nodes_have_joined_and_says_where_the_client_token_is(shell: Shell) -> None:
    done = shell("up", "--port", "0", *TWO_NODES)
    assert {node["state"] for node in shell.json("nodes")} == {"online"}
    assert "waiting for oak, elm to join\n" in done.stderr
    assert "oak has joined\n" in done.stderr
    assert f"  client      {shell.directory / 'client.json'}\n" in done.stdout
    assert ": 2 nodes, 2 started now\n" in done.stdout
    again = shell("up")
    assert "waiting" not in again.stderr
    assert again.stdout.splitlines()[0].endswith(": 2 nodes")


def test_a_node_that_cannot_start_is_named_with_the_end_of_its_log(shell: Shell) -> None:
    done = shell("up", *ONE, "--node", "name=huge,cpu=4096", code=1)
    assert ": 2 nodes, 2 started now, 1 not joined\n" in done.stdout
    assert "huge ended before it joined; the end of" in done.stderr
    assert "node.cpu is 4096 cores; expected 0.001 to" in done.stderr
    assert [node["spec"]["name"] for node in shell.json("nodes")] == ["ash"]
    assert shell.json("up", code=1)["not_joined"] == ["huge"]


@pytest.mark.slow
def test_a_hub_that_runs_takes_other_options_at_its_next_start_and_says_so(shell: Shell) -> None:
    first = shell.json("up", *ONE)
    assert first["waiting"] == []
    options = ("--policy", "spread", "--set", "hub.lease_s=33", "--set", "node.core_hour=0.5")
    done = shell("up", *options)
    assert (
        "not in force yet: hub.lease_s=33; hub.policy=spread; ash: node.core_hour=0.5\n"
        "to bring it into force: `farlane down`, then `farlane up`" in done.stderr
    )
    assert "hub.policy=spread" not in hub_options(shell)
    assert "hub.lease_s=33" in shell.json("up")["waiting"]  # said until it is true
    shell("down")
    started = shell.json("up")
    assert (started["waiting"], started["url"]) == ([], first["url"])
    assert {"hub.policy=spread", "hub.lease_s=33"} <= set(hub_options(shell))
    (node,) = shell.json("nodes")
    assert node["spec"]["rates"]["core_second"] == 138889  # half a credit an hour, rounded up


@pytest.mark.slow
def test_what_a_hub_listens_on_can_be_changed_for_its_next_start(shell: Shell) -> None:
    first = shell.json("up", *ONE)
    assert shell.json("up", "--host", "0.0.0.0")["waiting"] == ["hub.host=0.0.0.0"]
    assert shell.json("up")["url"] == first["url"]
    shell("down")
    opened = shell.json("up")
    assert opened["url"] == url_of(outward_host("0.0.0.0"), known(shell).port)
    assert "0.0.0.0" not in opened["url"]
    assert json.loads((shell.directory / "client.json").read_text())["url"].startswith("https://127.0.0.1:")
    found = x509.load_pem_x509_certificate((shell.directory / "hub/tls/server.crt").read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert socket.gethostname() in names.get_values_for_type(x509.DNSName)
    assert opened["join_token"] == first["join_token"]  # the key is the same


def test_a_configuration_file_is_checked_first_and_remembered(shell: Shell) -> None:
    file = shell.directory / "farlane.toml"
    file.write_text('[hub]\npolicy = "best-fit"\n[node]\ncpu = 0.5\nmemory = "200MB"\ncolour = "red"\n')
    refused = shell("up", "--port", "0", "--config", "farlane.toml", code=1)
    assert "unknown setting 'colour' in 'node'" in refused.stderr
    assert not (shell.directory / "network.json").exists()
    file.write_text(file.read_text().replace('colour = "red"\n', ""))
    shell("up", "--port", "0", "--nodes", "1", "--config", "farlane.toml")
    (node,) = shell.json("nodes")
    assert node["spec"]["capacity"]["cpu_milli"] == 500
    assert node["spec"]["capacity"]["memory_bytes"] == 200_000_000
    assert known(shell).config == str(file)
    assert str(file) in hub_options(shell)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "hub.colour=red"], "unknown setting 'hub.colour'"),
        (["--set", "policy=spread"], "expected hub.FIELD or node.FIELD"),
        (["--set", "hub.policy"], "--set 'hub.policy' sets nothing; expected NAME=VALUE"),
        (["--set", "hub.lease_s=soon"], "flag hub.lease_s is 'soon'"),
        (["--set", "hub.directory=x"], "hub.directory is decided by `farlane up`"),
        (["--set", "hub.port=1", "--port", "2"], "say the same; give one of them"),
        (["--node", "name=a,colour=red"], "unknown setting 'node.colour'"),
        (["--organisation", ""], "'' cannot name an organisation"),
        (["--organisation", "lab,works"], "'lab,works' cannot name an organisation"),
        (["--policy", "sprad"], "did you mean 'spread'?"),
    ],
)
def test_wrong_options_start_nothing(
    refused: Callable[..., str], tmp_path: Path, options: list[str], message: str
) -> None:
    assert message in refused("up", *options)
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "network.json").exists()


def test_a_network_keeps_its_organisation(network: Shell) -> None:
    assert "belongs to 'local'" in network("up", "--organisation", "lab", code=1).stderr
    assert network.json("up", "--organisation", "local")["nodes_started"] == []


def test_the_tokens_are_printed_and_work_elsewhere(
    network: Shell, tmp_path: Path, shell_in: Callable[..., Shell]
) -> None:
    client, join = network("token").stdout.strip(), network("token", "--join").stdout.strip()
    assert (parse_token(client).role, parse_token(join).role) == ("client", "node")
    shown = network.json("token")
    assert (shown["role"], shown["token"]) == ("client", client)
    assert network.json("token", "--join")["role"] == "node"
    elsewhere = shell_in(tmp_path, {"FARLANE_URL": shown["url"], "FARLANE_TOKEN": client})
    assert len(elsewhere.json("nodes")) >= 2
    assert "run `farlane up`" in shell_in(tmp_path)("token", code=1).stderr


@pytest.mark.parametrize(
    ("host", "local", "url"),
    [
        ("127.0.0.1", "127.0.0.1", "https://127.0.0.1:1"),
        ("10.1.2.3", "10.1.2.3", "https://10.1.2.3:1"),
        ("::1", "::1", "https://[::1]:1"),
    ],
)
def test_an_address_of_its_own_is_used_as_it_is(host: str, local: str, url: str) -> None:
    assert (local_host(host), url_of(outward_host(host), 1)) == (local, url)
    assert certificate_names(host) == [host, "localhost"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_every_address_at_once_is_named_in_a_way_others_can_use(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outward_host(host) not in ("0.0.0.0", "::", "")
    assert local_host(host) in ("127.0.0.1", "localhost")
    assert outward_host(host) in [*certificate_names(host), socket.gethostname()]
    no_network: Callable[[], dict[str, Any]] = dict
    monkeypatch.setattr(psutil, "net_if_addrs", no_network)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert outward_host(host) == socket.gethostname()


def refuse(*_: object) -> None:
    raise OSError("network is unreachable")


def test_what_a_task_finds_in_its_environment_is_no_mistake_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FARLANE_EXECUTOR", "FARLANE_JOB", "FARLANE_TASK_INDEX"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("FARLANE_HUB_POLICY", "spread")
    assert configuration(None, {}).hub.policy == "spread"
