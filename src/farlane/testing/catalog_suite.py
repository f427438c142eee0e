"""The conformance suite of catalogs: names, versions, aliases and races, on any storage."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from farlane.errors import Conflict, Exhausted, FarlaneError, InvalidInput, NotFound, PermissionRefused
from farlane.kit.clock import ManualClock
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows import Rows
from farlane.models.catalog.values import MAX_DELTAS, AliasMove, Author, DeltaRow, PrivateFile
from farlane.models.cid import Cid
from farlane.models.manifest.signature import Signature
from farlane.models.names import parse_reference

ADA, BOB = Author("lab", "ada"), Author("rival", "bob")


def manifest(number: int) -> Cid:
    """Return the CID of some manifest."""
    return Cid(1, 0x71, bytes([number]) * 32)


def delta(target: int, base: int, size_bytes: int) -> DeltaRow:
    """Return a delta between two of these manifests, with a root of its own for each size."""
    root = Cid(1, 0x71, bytes([target, base]) + size_bytes.to_bytes(30, "big"))
    return DeltaRow(manifest(target), manifest(base), root, size_bytes)


class CatalogSuite:
    """Subclass it with a fixture `rows` that returns fresh storage."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return a clock that stands still."""
        return ManualClock()

    @pytest.fixture
    def catalog(self, rows: Rows, clock: ManualClock) -> Catalog:
        """Return a catalog with three versions of `lab/mini`."""
        made = Catalog(rows, clock)
        for number in (1, 2, 3):
            made.add("lab/mini", manifest(number), author=ADA)
        return made

    def test_versions_are_numbered_from_one_and_kept_once(self, catalog: Catalog) -> None:
        """A version that is added again keeps its number."""
        again = catalog.add("lab/mini", manifest(2), author=ADA)
        assert again.number == 2
        assert [one.number for one in catalog.versions("lab/mini")] == [1, 2, 3]
        assert [one.name for one in catalog.models()] == ["lab/mini"]

    def test_references_find_their_version(self, catalog: Catalog) -> None:
        """By number, CID, alias, or the newest."""
        catalog.move("lab/mini", "champion", manifest(2), ADA)
        for text, number in (
            ("lab/mini", 3), ("lab/mini@latest", 3), ("lab/mini@v1", 1), ("lab/mini@champion", 2),
            (f"lab/mini@{manifest(1).text}", 1),
        ):  # fmt: skip
            assert catalog.resolve(text).number == number

    @pytest.mark.parametrize(
        "text", ["lab/mini@v9", "lab/mini@champoin", "lab/other", f"lab/mini@{manifest(9).text}"]
    )
    def test_what_is_not_there_is_not_found(self, catalog: Catalog, text: str) -> None:
        """Names, numbers, aliases and CIDs alike."""
        with pytest.raises(NotFound):
            catalog.resolve(text)

    def test_a_mistyped_alias_names_the_nearest(self, catalog: Catalog) -> None:
        """The message helps."""
        catalog.move("lab/mini", "champion", manifest(2), ADA)
        with pytest.raises(NotFound, match="did you mean 'champion'"):
            catalog.resolve("lab/mini@champoin")

    def test_a_removed_version_gives_its_number_to_nobody(self, catalog: Catalog) -> None:
        """Numbers stay what they were."""
        catalog.remove("lab/mini@v3", ADA)
        assert catalog.add("lab/mini", manifest(4), author=ADA).number == 4
        assert [one.number for one in catalog.versions("lab/mini")] == [1, 2, 4]

    def test_a_version_under_an_alias_is_not_removed(self, catalog: Catalog) -> None:
        """The alias would point to nothing."""
        catalog.move("lab/mini", "champion", manifest(2), ADA)
        with pytest.raises(Conflict, match="champion"):
            catalog.remove("lab/mini@v2", ADA)
        catalog.remove_alias("lab/mini", "champion", ADA)
        catalog.remove("lab/mini@v2", ADA)
        assert manifest(2) not in catalog.roots()

    def test_a_removed_model_leaves_nothing(self, catalog: Catalog) -> None:
        """A name that was removed is free again."""
        catalog.move("lab/mini", "champion", manifest(2), ADA)
        catalog.remove_model("lab/mini", ADA)
        assert catalog.roots() == ()
        assert catalog.moves_after(0) == ()
        assert catalog.add("lab/mini", manifest(7), author=BOB).number == 1

    def test_deltas_are_kept_between_versions_smallest_first(self, catalog: Catalog) -> None:
        """One for each pair; a second one takes the place of the first."""
        large, small = delta(3, 1, 700), delta(3, 2, 500)
        for one in (delta(3, 1, 900), large, small):
            catalog.deltas.add(one)
        assert catalog.deltas.of(manifest(3)) == (small, large)
        assert catalog.deltas.of(manifest(2)) == ()
        assert set(catalog.roots()) == {manifest(1), manifest(2), manifest(3), small.root, large.root}
        catalog.deltas.remove(manifest(3), manifest(2))
        assert catalog.deltas.of(manifest(3)) == (large,)

    def test_a_delta_needs_both_its_versions(self, catalog: Catalog) -> None:
        """What is not here is no base, and nothing is made that is not here."""
        for one in (delta(3, 9, 1), delta(9, 3, 1)):
            with pytest.raises(NotFound, match="no version here"):
                catalog.deltas.add(one)

    def test_a_delta_goes_with_either_of_its_versions(self, catalog: Catalog) -> None:
        """Its root is no root of a collection any more."""
        catalog.deltas.add(delta(3, 1, 1))
        catalog.deltas.add(delta(3, 2, 1))
        catalog.remove("lab/mini@v1", ADA)
        assert catalog.deltas.of(manifest(3)) == (delta(3, 2, 1),)
        catalog.remove("lab/mini@v3", ADA)
        assert catalog.deltas.of(manifest(3)) == ()
        catalog.add("other", manifest(5), author=ADA)
        catalog.deltas.add(delta(2, 5, 1))
        catalog.remove_model("other", ADA)
        assert catalog.roots() == (manifest(2),)

    def test_a_version_has_so_many_deltas_and_no_more(self, catalog: Catalog) -> None:
        """Whoever adds the next is told so; those there are can be replaced."""
        for number in range(10, 11 + MAX_DELTAS):
            catalog.add("lab/mini", manifest(number), author=ADA)
        for number in range(10, 10 + MAX_DELTAS):
            catalog.deltas.add(delta(1, number, number))
        with pytest.raises(Exhausted):
            catalog.deltas.add(delta(1, 10 + MAX_DELTAS, 1))
        catalog.deltas.add(delta(1, 10, 1))
        assert len(catalog.deltas.of(manifest(1))) == MAX_DELTAS

    def test_a_manifest_is_known_while_its_version_is(self, catalog: Catalog) -> None:
        """By whatever name; the root of a delta is no version."""
        catalog.deltas.add(delta(3, 1, 1))
        assert catalog.has(manifest(3))
        assert not catalog.has(delta(3, 1, 1).root)
        catalog.remove("lab/mini@v3", ADA)
        assert not catalog.has(manifest(3))

    def test_private_files_are_noted_once_and_forgotten(self, catalog: Catalog) -> None:
        """Whatever becomes of the versions that have them."""
        mine, theirs = (PrivateFile(who, "ab" * 32, manifest(1), manifest(2)) for who in ("lab", "rival"))
        catalog.private.change([mine, theirs])
        catalog.private.change([mine])
        assert catalog.private.all() == {mine, theirs}
        catalog.private.change([], [mine])
        assert catalog.private.all() == {theirs}

    def test_moves_are_recorded_with_who_and_when(self, catalog: Catalog, clock: ManualClock) -> None:
        """The history tells it all."""
        catalog.move("lab/mini", "champion", manifest(1), ADA)
        clock.advance(60)
        second = catalog.move("lab/mini", "champion", parse_reference("lab/mini@v2"), ADA)
        assert second == catalog.history("lab/mini", "champion")[-1]
        assert (second.before, second.target, second.author) == (manifest(1), manifest(2), ADA)
        assert [one.at for one in catalog.history("lab/mini")] == [clock.now() - 60, clock.now()]

    def test_rollback_goes_back_step_by_step(self, catalog: Catalog) -> None:
        """Twice back is two steps, not there and back again."""
        for number in (1, 2, 3):
            catalog.move("lab/mini", "champion", manifest(number), ADA)
        assert catalog.rollback("lab/mini", "champion", ADA).target == manifest(2)
        assert catalog.rollback("lab/mini", "champion", ADA).target == manifest(1)
        with pytest.raises(NotFound, match="nothing to go back to"):
            catalog.rollback("lab/mini", "champion", ADA)
        catalog.move("lab/mini", "champion", manifest(3), ADA)
        assert catalog.rollback("lab/mini", "champion", ADA).target == manifest(1)

    def test_an_alias_that_somebody_moved_is_not_moved_blindly(self, catalog: Catalog) -> None:
        """Compare and set: what is not where it should be stays."""
        catalog.move("lab/mini", "champion", manifest(1), ADA, expected=None)
        for expected in (None, manifest(3)):
            with pytest.raises(Conflict, match="somebody else has moved it"):
                catalog.move("lab/mini", "champion", manifest(2), ADA, expected=expected)
        assert catalog.aliases("lab/mini") == {"champion": manifest(1)}
        catalog.move("lab/mini", "champion", manifest(2), ADA, expected=manifest(1))

    def test_of_two_pushes_to_one_alias_one_wins(self, catalog: Catalog) -> None:
        """However many threads try."""
        catalog.move("lab/mini", "champion", manifest(1), ADA)
        results: list[str] = []
        start = threading.Barrier(8)

        def push(number: int) -> None:
            start.wait()
            try:
                catalog.move("lab/mini", "champion", manifest(2 + number % 2), ADA, expected=manifest(1))
                results.append("won")
            except Conflict:
                results.append("lost")

        threads = [threading.Thread(target=push, args=(number,)) for number in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert sorted(results) == ["lost"] * 7 + ["won"]
        assert len(catalog.history("lab/mini")) == 2

    def test_a_name_belongs_to_its_organisation(self, catalog: Catalog) -> None:
        """Nobody else adds, moves, removes or trusts."""
        attempts: list[Callable[[], object]] = [
            lambda: catalog.add("lab/mini", manifest(4), author=BOB),
            lambda: catalog.move("lab/mini", "champion", manifest(1), BOB),
            lambda: catalog.remove("lab/mini@v1", BOB),
            lambda: catalog.remove_model("lab/mini", BOB),
            lambda: catalog.trust("lab/mini", "0xb", BOB),
        ]
        for attempt in attempts:
            with pytest.raises(PermissionRefused, match="belongs to lab"):
                attempt()
        assert len(catalog.versions("lab/mini")) == 3

    def test_whoever_has_it_on_their_disk_changes_every_name(self, catalog: Catalog) -> None:
        """They could write to its file as well."""
        catalog.add("lab/mini", manifest(1), author=ADA)
        assert catalog.add("lab/mini", manifest(2)).number == 2
        assert catalog.move("lab/mini", "champion", manifest(2)).target == manifest(2)
        assert catalog.model("lab/mini").organisation == "lab"

    def test_the_first_publisher_is_the_one_who_is_trusted(self, catalog: Catalog) -> None:
        """Another account's version is refused until somebody says otherwise."""
        mine, other = Signature("0xA", b"a" * 65), Signature("0xB", b"b" * 65)
        assert catalog.add("lab/signed", manifest(1), mine, ADA).signature == mine
        for signature in (other, None):
            with pytest.raises(PermissionRefused, match="belongs to 0xA"):
                catalog.add("lab/signed", manifest(2), signature, ADA)
        catalog.trust("lab/signed", "0xB", ADA)
        assert catalog.add("lab/signed", manifest(2), other, ADA).number == 2
        assert catalog.model("lab/signed").publisher == "0xB"

    def test_a_failed_change_leaves_nothing(self, catalog: Catalog) -> None:
        """A refused first version claims no name."""
        with pytest.raises(PermissionRefused):
            catalog.add("lab/mini", manifest(8), Signature("0xA", b"a" * 65), ADA)
        with pytest.raises(InvalidInput):
            catalog.add("Not A Name", manifest(8), author=ADA)
        assert [one.name for one in catalog.models()] == ["lab/mini"]

    def test_subscribers_hear_of_every_move(self, catalog: Catalog) -> None:
        """And of none after they have left."""
        heard: list[AliasMove] = []
        leave = catalog.subscribe(heard.append)
        catalog.move("lab/mini", "champion", manifest(1), ADA)
        catalog.move("lab/mini", "champion", manifest(2), ADA)
        catalog.rollback("lab/mini", "champion", ADA)
        catalog.remove_alias("lab/mini", "champion", ADA)
        leave()
        catalog.move("lab/mini", "canary", manifest(2), ADA)
        assert [one.target for one in heard] == [manifest(1), manifest(2), manifest(1), None]
        assert [one.alias for one in catalog.moves_after(heard[-1].sequence)] == ["canary"]
        assert list(catalog.moves_after(0))[:4] == heard

    @pytest.mark.parametrize("alias", ["v1", "latest", "Champion", "1st", "", "a" * 41])
    def test_an_alias_cannot_look_like_a_version(self, catalog: Catalog, alias: str) -> None:
        """A reference means one thing."""
        with pytest.raises(InvalidInput, match="no name for an alias"):
            catalog.move("lab/mini", alias, manifest(1), ADA)

    def test_an_alias_points_to_versions_of_its_name(self, catalog: Catalog) -> None:
        """And to no other's."""
        with pytest.raises(FarlaneError):
            catalog.move("lab/mini", "champion", parse_reference("lab/other@v1"), ADA)
        with pytest.raises(NotFound):
            catalog.move("lab/mini", "champion", manifest(9), ADA)

    def test_accepted_licences_are_remembered_by_who_and_version(self, catalog: Catalog) -> None:
        """One's word is not another's."""
        catalog.accept("ada", "LicenseRef-gemma", manifest(1))
        assert catalog.accepted("ada", manifest(1)) == "LicenseRef-gemma"
        assert catalog.accepted("bob", manifest(1)) == ""
        assert catalog.accepted("ada", manifest(2)) == ""
