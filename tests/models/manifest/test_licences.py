"""farlane.models.manifest.licences: SPDX expressions, and who has accepted one."""

from __future__ import annotations

import pytest

from farlane.errors import InvalidInput, PermissionRefused
from farlane.models.manifest.licences import check_expression, require_acceptance
from farlane.models.manifest.values import Licence
from farlane.testing.manifests import small_manifest


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("apache-2.0", "Apache-2.0"),
        (" MIT ", "MIT"),
        ("mit or (apache-2.0 and bsd-3-clause)", "MIT OR (Apache-2.0 AND BSD-3-Clause)"),
        ("GPL-2.0-or-later with classpath-exception-2.0", "GPL-2.0-or-later WITH Classpath-exception-2.0"),
        ("LicenseRef-gemma", "LicenseRef-gemma"),
        ("DocumentRef-x:LicenseRef-y", "DocumentRef-x:LicenseRef-y"),
        ("CC-BY-NC-4.0", "CC-BY-NC-4.0"),
        ("Apache-1.0+", "Apache-1.0+"),
    ],
)
def test_expressions_are_written_one_way(text: str, written: str) -> None:
    assert check_expression(text) == written
    assert check_expression(written) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gemma",
        "Apache 2.0",
        "MIT OR",
        "AND MIT",
        "(MIT",
        "MIT)",
        "MIT WITH",
        "MIT WITH MIT",
        "M!T",
        "MIT MIT",
        "x" * 600,
    ],
)
def test_what_spdx_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="licence"):
        check_expression(text)


def test_a_typing_error_names_the_nearest() -> None:
    with pytest.raises(InvalidInput, match=r"did you mean Apache-2\.0"):
        check_expression("Apache2.0")


def test_a_licence_that_must_be_accepted_stops_those_who_have_not() -> None:
    licence = Licence(expression="LicenseRef-gemma", acceptance=True)
    asked = small_manifest(licence=licence)
    require_acceptance(asked, "LicenseRef-gemma", "type this")
    require_acceptance(small_manifest(licence=Licence(expression="MIT")), "", "type this")
    with pytest.raises(PermissionRefused, match=r"LicenseRef-gemma.*type this"):
        require_acceptance(asked, "", "type this")
    with pytest.raises(PermissionRefused, match="another licence"):
        require_acceptance(asked, "MIT", "type this")
