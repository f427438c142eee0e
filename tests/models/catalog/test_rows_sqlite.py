"""farlane.models.catalog on an SQLite file: the suite, other processes, and files that are something else."""

from __future__ import annotations

import gzip
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, InvalidInput
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows import Rows
from farlane.models.catalog.rows_sqlite import SqliteRows
from farlane.models.catalog.values import PrivateFile
from farlane.testing.catalog_suite import ADA, CatalogSuite, delta, manifest

OLD = Path(__file__).parents[2] / "data/catalog-v1.sqlite.gz"
"""Made by the code of schema 1: two versions of lab/mini, `champion` on the first, one licence accepted."""


class TestSqliteCatalog(CatalogSuite):
    @pytest.fixture
    def rows(self, tmp_path: Path) -> Iterator[Rows]:
        made = SqliteRows(tmp_path / "catalog.db")
        yield made
        made.close()


PUSH = """
import sys
from pathlib import Path
from farlane.errors import Conflict
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_sqlite import SqliteRows
from farlane.testing.catalog_suite import ADA, manifest

catalog = Catalog(SqliteRows(Path(sys.argv[1])))
sys.stdin.readline()
try:
    catalog.move("mini", "champion", manifest(int(sys.argv[2])), ADA, expected=manifest(1))
    print("won")
except Conflict as error:
    print("lost" if "somebody else" in error.message else error.message)
"""


def test_of_two_processes_that_push_to_one_alias_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    catalog = Catalog(SqliteRows(path))
    for number in (1, 2, 3):
        catalog.add("mini", manifest(number), author=ADA)
    catalog.move("mini", "champion", manifest(1), ADA)
    pushers = [
        subprocess.Popen(
            [sys.executable, "-c", PUSH, str(path), str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in (2, 3)
    ]  # fmt: skip
    for one in pushers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = sorted(one.communicate()[0].strip() for one in pushers)
    assert said == ["lost", "won"]
    assert catalog.moves_after(1)[0].target == catalog.aliases("mini")["champion"]
    catalog.close()


def test_a_catalog_is_the_same_after_it_was_closed(tmp_path: Path) -> None:
    first = Catalog(SqliteRows(tmp_path / "catalog.db"))
    first.add("mini", manifest(1), author=ADA)
    first.move("mini", "champion", manifest(1), ADA)
    first.close()
    again = Catalog(SqliteRows(tmp_path / "catalog.db"))
    assert again.resolve("mini@champion").manifest == manifest(1)
    assert (tmp_path / "catalog.db").stat().st_mode & 0o777 == 0o600
    again.close()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    with pytest.raises(InvalidInput, match="not a catalog"):
        SqliteRows(other)
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 40)
    with pytest.raises(Corrupted, match="damaged"):
        SqliteRows(tmp_path / "text.db")


def test_a_newer_catalog_is_refused(tmp_path: Path) -> None:
    SqliteRows(tmp_path / "catalog.db").close()
    connection = sqlite3.connect(tmp_path / "catalog.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Conflict, match="newer farlane"):
        SqliteRows(tmp_path / "catalog.db")


def test_a_catalog_of_schema_1_opens_and_can_have_deltas(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    for _ in range(2):
        catalog = Catalog(SqliteRows(path))
        assert catalog.resolve("lab/mini@champion").manifest == manifest(1)
        assert catalog.accepted("ada", manifest(2)) == "MIT"
        catalog.deltas.add(delta(2, 1, 7))
        assert catalog.roots() == (manifest(1), manifest(2), delta(2, 1, 7).root)
        catalog.private.change([PrivateFile("lab", "ab" * 32, manifest(1), manifest(2))])
        assert len(catalog.private.all()) == 1
        catalog.close()


def test_a_catalog_of_schema_2_opens_and_can_note_private_files(tmp_path: Path) -> None:
    path, file = tmp_path / "catalog.db", PrivateFile("lab", "ab" * 32, manifest(1), manifest(2))
    SqliteRows(path).close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE private_files")  # what schema 2 had not
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    for _ in range(2):
        catalog = Catalog(SqliteRows(path))
        catalog.private.change([file])
        assert catalog.private.all() == {file}
        catalog.close()
