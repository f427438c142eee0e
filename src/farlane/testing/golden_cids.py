"""Files and directories whose CIDs kubo has written down, under both profiles.

Source: kubo, test/cli/cid_profiles_test.go: contents and names are the ChaCha20 keystream under SHA-256 of a seed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from farlane.models.unixfs.describing import Plain, describe
from farlane.models.unixfs.directory import Directory, Entry, directory
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.unixfs.profiles import V0_2015, V1_2025, Profile

MIB, KIB = 1 << 20, 1 << 10
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz01234567890-_"


class Keystream(io.RawIOBase):
    """So many bytes of the keystream of a seed."""

    def __init__(self, seed: str, size_bytes: int) -> None:
        key = hashlib.sha256(seed.encode()).digest()
        self._cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()
        self._left = size_bytes
        self._zeros = bytes(MIB)

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fill a buffer as far as there is anything."""
        count = min(len(buffer), self._left, MIB)
        buffer[:count] = self._cipher.update(self._zeros[:count])
        self._left -= count
        return count


class GoldenFile(NamedTuple):
    """A file: the seed of its keystream or, where it has no seed, its content."""

    profile: Profile
    seed: str
    content: bytes
    size_bytes: int
    cid: str

    def dag(self) -> FileDag:
        """Return what this code makes of it."""
        stream = Keystream(self.seed, self.size_bytes) if self.seed else io.BytesIO(self.content)
        return describe(stream, self.size_bytes, [Plain(self.profile)]).dags[0]  # type: ignore[arg-type]


class GoldenDirectory(NamedTuple):
    """A directory of files that all hold one "x"; its names come from a keystream, the last one of another length."""

    profile: Profile
    files: int
    name_bytes: int
    last_bytes: int
    cid: str

    def made(self) -> Directory:
        """Return what this code makes of it."""
        names = Keystream(f"hamt-{self.profile.name}", MIB)
        root = describe(io.BytesIO(b"x"), 1, [Plain(self.profile)]).dags[0].root
        block_bytes = len(b"x") if self.profile.raw_leaves else len(b"\x0a\x07\x08\x02\x12\x01x\x18\x01")
        entries = []
        for number in range(self.files):
            octets = names.read(self.last_bytes if number == self.files - 1 else self.name_bytes) or b""
            name = "".join(_ALPHABET[octet % len(_ALPHABET)] for octet in octets)
            entries.append(Entry(name, root, block_bytes))
        return directory(entries, self.profile)


SMALL_FILES: Final = (
    GoldenFile(V0_2015, "", b"", 0, "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
    GoldenFile(V1_2025, "", b"", 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    GoldenFile(V0_2015, "", b"hello world", 11, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
    GoldenFile(
        V1_2025, "", b"hello world", 11, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    ),
)
FULL_FILES: Final = (
    GoldenFile(V0_2015, "v0-seed", b"", 44544 * KIB, "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2"),
    GoldenFile(
        V1_2025,
        "v1-2025-seed",
        b"",
        1024 * MIB,
        "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm",
    ),
)
"""Their root is as wide as a node may be."""
OVERFULL_FILES: Final = (
    GoldenFile(V0_2015, "v0-seed", b"", 44800 * KIB, "QmepeWtdmS1hHXx1oZXsPUv6bMrfRRKfZcoPPU4eEfjnbf"),
    GoldenFile(
        V1_2025,
        "v1-2025-seed",
        b"",
        1025 * MIB,
        "bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue",
    ),
)
"""One chunk more: a level more."""
PLAIN_DIRECTORIES: Final = (
    GoldenDirectory(V0_2015, 0, 0, 0, "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"),
    GoldenDirectory(V1_2025, 0, 0, 0, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"),
    GoldenDirectory(V0_2015, 4096, 30, 30, "QmX5GtRk3TSSEHtdrykgqm4eqMEn3n2XhfkFAis5fjyZmN"),
    GoldenDirectory(V1_2025, 4766, 11, 21, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"),
)
"""Empty ones, and those that just fit into one block."""
SHARDED_DIRECTORIES: Final = (
    GoldenDirectory(V0_2015, 4033, 31, 31, "QmeMiJzmhpJAUgynAcxTQYek5PPKgdv3qEvFsdV3XpVnvP"),
    GoldenDirectory(V1_2025, 4766, 11, 22, "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"),
)
"""They do not fit: a HAMT."""


def cids() -> Iterator[tuple[str, str]]:
    """Yield of every one the CID that kubo gives it and the one that is made here; hashes two files of a GiB."""
    for file in (*SMALL_FILES, *FULL_FILES, *OVERFULL_FILES):
        yield file.cid, file.dag().root.text
    for one in (*PLAIN_DIRECTORIES, *SHARDED_DIRECTORIES):
        yield one.cid, one.made().root.text
