"""The gateway over a real socket: raw blocks, CARs, paths, headers, refusals."""

from __future__ import annotations

import contextlib
import http.client
import logging
import select
import socket
from pathlib import Path

import pytest

from farlane.errors import Unauthenticated
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.cid import DAG_PB, RAW, Cid, block_cid, cid_from_bytes, verify_block
from farlane.models.ipfs.gateway_source import GatewaySource
from farlane.models.transfer import block_server, gateway
from farlane.models.transfer.block_server import BlockServer
from farlane.models.unixfs.describing import Plain
from farlane.models.unixfs.directory import Entry, directory
from farlane.testing.block_serving import Kept, Serve

Answer = tuple[int, dict[str, str], bytes]


def get(server: BlockServer, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def blocks_of(car: bytes) -> list[tuple[Cid, bytes]]:
    """Read a CAR's sections; every CID here has 36 bytes."""
    rest, sections = car, []
    while rest:
        length = shift = at = 0
        while True:
            length |= (rest[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if rest[at - 1] < 0x80:
                break
        sections.append(rest[at : at + length])
        rest = rest[at + length :]
    return [(cid_from_bytes(section[:36]), section[36:]) for section in sections[1:]]


def test_a_leaf_comes_out_of_the_file_and_may_be_cached_for_ever(kept: Kept, serve: Serve) -> None:
    server = serve(kept.store)
    leaf = kept.file.dags[0].leaves[1]
    status, headers, body = get(server, f"/ipfs/{leaf.cid}?format=raw")
    assert (status, body) == (200, kept.data[leaf.offset : leaf.offset + leaf.length])
    assert headers["content-type"] == "application/vnd.ipld.raw"
    assert "immutable" in headers["cache-control"]
    assert headers["etag"] == f'"{leaf.cid}.raw"'
    assert headers["x-content-type-options"] == "nosniff"
    assert server.counters.sent_bytes == leaf.length


def test_the_empty_block_of_an_empty_file_comes_too(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    store = DiskBlockStore(tmp_path / "store")
    described = describe_file(tmp_path / "empty", [Plain()])
    store.add_file(tmp_path / "empty", described)
    status, headers, body = get(serve(store), f"/ipfs/{described.dags[0].root}?format=raw")
    assert (status, headers["content-length"], body) == (200, "0", b"")


def test_a_client_that_takes_no_bytes_is_cut_off(
    kept: Kept, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "SEND_S", 0.2)
    server = serve(kept.store)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        leaves = kept.file.dags[0].leaves
        for at in range(len(leaves)):
            client.sendall(f"GET /ipfs/{leaves.cid(at)}?format=raw HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        ended = select.poll()
        ended.register(client, select.POLLRDHUP)
        assert ended.poll(20_000)
    assert server.counters.blocks < len(leaves)


def test_a_client_that_hangs_up_is_no_error(
    kept: Kept, serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(gateway, "SEND_S", 20.0)
    server = serve(kept.store)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        leaves = kept.file.dags[0].leaves
        for at in range(len(leaves)):
            client.sendall(f"GET /ipfs/{leaves.cid(at)}?format=raw HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert get(server, f"/ipfs/{leaves.cid(0)}?format=raw")[0] == 200
    server.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_so_many_connections_are_taken_at_a_time(
    kept: Kept, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_server, "MOST_CONNECTIONS", 2)
    server = serve(kept.store)
    path = f"/ipfs/{kept.file.dags[0].root}?format=raw"
    taken = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    with contextlib.ExitStack() as stack:
        for one in taken:
            stack.enter_context(one)
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            assert one.recv(15) == b"HTTP/1.1 200 OK"
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            get(server, path)
    assert server.counters.refused == 1


def test_the_accept_header_asks_as_well_and_a_known_etag_saves_the_bytes(kept: Kept, serve: Serve) -> None:
    server = serve(kept.store)
    path, raw = f"/ipfs/{kept.file.dags[0].root}", "application/vnd.ipld.raw"
    status, headers, body = get(server, path, Accept=raw)
    assert status == 200
    verify_block(kept.file.dags[0].root, body)
    assert get(server, path, Accept=raw, If_None_Match=headers["etag"])[0] == 304


def test_a_head_tells_the_size_alone(kept: Kept, serve: Serve) -> None:
    leaf = kept.file.dags[0].leaves[0]
    status, headers, body = get(serve(kept.store), f"/ipfs/{leaf.cid}?format=raw", "HEAD")
    assert (status, headers["content-length"], body) == (200, str(leaf.length), b"")


def test_a_car_has_the_whole_file_parents_first(kept: Kept, serve: Serve) -> None:
    dag = kept.file.dags[0]
    status, headers, body = get(serve(kept.store), f"/ipfs/{dag.root}?format=car")
    found = blocks_of(body)
    assert status == 200
    assert headers["content-type"].startswith("application/vnd.ipld.car")
    assert found[0][0] == dag.root
    assert {cid.digest for cid, _ in found} == {dag.leaves.digest(at) for at in range(len(dag.leaves))} | {
        cid.digest for cid in dag.nodes
    }
    for cid, data in found:
        verify_block(cid, data)


@pytest.mark.parametrize(("scope", "expected"), [("block", 1), ("entity", 1), ("all", None)])
def test_a_scope_limits_what_a_car_of_a_directory_has(
    kept: Kept, serve: Serve, scope: str, expected: int | None
) -> None:
    folder = directory([Entry("model.bin", kept.file.dags[0].root, 1)])
    kept.store.put_many(folder.nodes.items())
    found = blocks_of(get(serve(kept.store), f"/ipfs/{folder.root}?format=car&dag-scope={scope}")[2])
    everything = 1 + len(kept.file.dags[0].nodes) + len(kept.file.dags[0].leaves)
    assert len(found) == (expected or everything)


def test_a_path_leads_to_a_file_and_the_car_proves_the_way(kept: Kept, serve: Serve) -> None:
    folder = directory([Entry("model.bin", kept.file.dags[0].root, 1)])
    kept.store.put_many(folder.nodes.items())
    server = serve(kept.store)
    assert (
        block_cid(DAG_PB, get(server, f"/ipfs/{folder.root}/model.bin?format=raw")[2])
        == kept.file.dags[0].root
    )
    proven = blocks_of(get(server, f"/ipfs/{folder.root}/model.bin?format=car&dag-scope=block")[2])
    assert [cid for cid, _ in proven] == [folder.root, kept.file.dags[0].root]
    assert get(server, f"/ipfs/{folder.root}/other.bin?format=raw")[0] == 404


def test_names_in_a_sharded_directory_are_found(kept: Kept, serve: Serve) -> None:
    leaf = kept.file.dags[0].leaves[0]
    folder = directory([Entry(f"{number:05}-{'x' * 60}", leaf.cid, leaf.length) for number in range(3000)])
    assert len(folder.nodes) > 1
    kept.store.put_many(folder.nodes.items())
    status, _, body = get(serve(kept.store), f"/ipfs/{folder.root}/02999-{'x' * 60}?format=raw")
    assert (status, block_cid(RAW, body)) == (200, leaf.cid)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ipfs/{root}", 400),
        ("/ipfs/{root}?format=zip", 400),
        ("/ipfs/{root}?format=car&dag-scope=most", 400),
        ("/ipfs/nonsense?format=raw", 400),
        ("/ipfs/{other}?format=raw", 404),
        ("/ipfs/{other}?format=car", 404),
        ("/etc/passwd", 404),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(
    kept: Kept, serve: Serve, path: str, status: int
) -> None:
    other = block_cid(RAW, b"never stored")
    answer = get(serve(kept.store), path.format(root=kept.file.dags[0].root, other=other))
    assert answer[0] == status
    assert answer[2]


def test_the_probe_of_other_implementations_finds_a_gateway(kept: Kept, serve: Serve) -> None:
    assert get(serve(kept.store), "/ipfs/bafkqaaa?format=raw")[::2] == (200, b"")


def test_without_a_ticket_nothing_is_told_and_with_one_the_block_comes(kept: Kept, serve: Serve) -> None:
    def admit(ticket: str, cid: Cid) -> bool:
        if ticket != "good":
            raise Unauthenticated("show a ticket of this network")
        return False

    server = serve(kept.store, admit)
    path = f"/ipfs/{kept.file.dags[0].root}?format=raw"
    status, headers, _ = get(server, path)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    other = f"/ipfs/{block_cid(RAW, b'never stored')}?format=raw"
    assert get(server, other)[0] == 401  # not even that it is not here
    assert get(server, path, Authorization="Bearer bad")[0] == 401
    status, headers, _ = get(server, path, Authorization="Bearer good")
    assert (status, headers["cache-control"].split(",")[0]) == (200, "private")
    assert server.counters.refused == 3


def test_our_own_reader_of_gateways_reads_ours(kept: Kept, serve: Serve) -> None:
    source = GatewaySource([f"http://127.0.0.1:{serve(kept.store).port}"])
    leaf = kept.file.dags[0].leaves[2]
    assert source.get(leaf.cid) == kept.data[leaf.offset : leaf.offset + leaf.length]
    assert not source.has(block_cid(RAW, b"never stored"))
