"""The CIDs that kubo gives the same files and directories, under both profiles.

Source: kubo, test/cli/cid_profiles_test.go: contents and names are the ChaCha20 keystream under SHA-256 of a seed.
"""

from __future__ import annotations

import hashlib
import io

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from farlane.models.cid import parse_cid
from farlane.models.unixfs.dag_pb import decode_node
from farlane.models.unixfs.describing import Plain, describe
from farlane.models.unixfs.directory import Entry, directory
from farlane.models.unixfs.profiles import V0_2015, V1_2025, Profile

MIB, KIB = 1 << 20, 1 << 10
ALPHABET = "abcdefghijklmnopqrstuvwxyz01234567890-_"
PROFILES = {profile.name: profile for profile in (V0_2015, V1_2025)}


class Keystream(io.RawIOBase):
    """So many bytes of the keystream of a seed."""

    def __init__(self, seed: str, size_bytes: int) -> None:
        key = hashlib.sha256(seed.encode()).digest()
        self._cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()
        self._left = size_bytes
        self._zeros = bytes(MIB)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self._left)
        buffer[:count] = self._cipher.update(self._zeros[:count])
        self._left -= count
        return count


def file_cid(profile: Profile, stream: io.IOBase, size_bytes: int) -> str:
    return describe(stream, size_bytes, [Plain(profile)]).dags[0].root.text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("profile", "content", "cid"),
    [
        (V0_2015, b"", "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
        (V1_2025, b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (V0_2015, b"hello world", "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
        (V1_2025, b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    ],
)
def test_small_files(profile: Profile, content: bytes, cid: str) -> None:
    assert file_cid(profile, io.BytesIO(content), len(content)) == cid


@pytest.mark.parametrize(
    ("profile", "seed", "size_bytes", "links", "cid"),
    [
        (V0_2015, "v0-seed", 44544 * KIB, 174, "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2"),
        (V0_2015, "v0-seed", 44800 * KIB, 2, "QmepeWtdmS1hHXx1oZXsPUv6bMrfRRKfZcoPPU4eEfjnbf"),
        (
            V1_2025,
            "v1-2025-seed",
            1024 * MIB,
            1024,
            "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
        ),
        (
            V1_2025,
            "v1-2025-seed",
            1025 * MIB,
            2,
            "bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue",
        ),
    ],
    ids=["v0 full", "v0 over", "v1 full", "v1 over"],
)
def test_files_at_and_over_the_width_of_a_node(
    profile: Profile, seed: str, size_bytes: int, links: int, cid: str
) -> None:
    dag = describe(Keystream(seed, size_bytes), size_bytes, [Plain(profile)]).dags[0]  # type: ignore[arg-type]
    assert dag.root == parse_cid(cid)
    assert len(decode_node(dag.nodes[dag.root]).links) == links


@pytest.mark.parametrize(
    ("profile", "files", "name_bytes", "last_bytes", "cid"),
    [
        (V0_2015, 4096, 30, 30, "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN"),
        (V0_2015, 4033, 31, 31, "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP"),
        (V1_2025, 4766, 11, 21, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"),
        (V1_2025, 4766, 11, 22, "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"),
    ],
    ids=["v0 at", "v0 over", "v1 at", "v1 over"],
)
def test_directories_at_and_over_the_sharding_threshold(
    profile: Profile, files: int, name_bytes: int, last_bytes: int, cid: str
) -> None:
    names = Keystream(f"hamt-{profile.name}", MIB)
    dag = describe(io.BytesIO(b"x"), 1, [Plain(profile)]).dags[0]
    block_bytes = len(b"x") if profile.raw_leaves else len(b"\x0a\x07\x08\x02\x12\x01x\x18\x01")
    entries = []
    for number in range(files):
        octets = names.read(last_bytes if number == files - 1 else name_bytes) or b""
        entries.append(
            Entry("".join(ALPHABET[octet % len(ALPHABET)] for octet in octets), dag.root, block_bytes)
        )
    made = directory(entries, profile)
    assert made.root.text == cid
    assert (len(made.nodes) > 1) == (cid.endswith(("nvP", "idu")))


@pytest.mark.parametrize(
    ("profile", "cid"),
    [
        (V0_2015, "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"),
        (V1_2025, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"),
    ],
)
def test_empty_directories(profile: Profile, cid: str) -> None:
    assert directory([], profile).root.text == cid
