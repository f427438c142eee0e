"""farlane.models.cards: what a model card says, and cards that say too much."""

from __future__ import annotations

import pytest

from farlane.models.cards import Card, architecture, read_card


@pytest.mark.parametrize(
    ("front", "card"),
    [
        ("license: apache-2.0", Card("Apache-2.0")),
        ("license: gemma", Card("LicenseRef-gemma", True)),
        ("license: other\nlicense_name: llama 3 community", Card("LicenseRef-llama-3-community", True)),
        ("license: other", Card("LicenseRef-other", True)),
        ("license: [mit, apache-2.0]", Card("MIT")),
        ("license: unknown", Card()),
        (
            "pipeline_tag: text-generation\nbase_model: [a/b, c/d]",
            Card(task="text-generation", bases=("a/b", "c/d")),
        ),
        ("base_model: a/b\nlicense: 7", Card(bases=("a/b",))),
        ("- a list", Card()),
        (": :\n\t", Card()),
        ("a: &a [x, x]\nb: &b [*a, *a]\nlicense: mit", Card()),
        ("license: !!python/object/apply:os.system ['true']", Card()),
    ],
)
def test_front_matter_is_read_as_far_as_it_can_be(front: str, card: Card) -> None:
    assert read_card(f"---\n{front}\n---\n# Title\n".encode()) == card


@pytest.mark.parametrize(
    "raw", [b"", b"# Title", b"---\nlicense: mit", b"\xff\xfe", b"---\n" + b"[" * 100_000 + b"\n---\n"]
)
def test_a_card_without_front_matter_says_nothing(raw: bytes) -> None:
    assert read_card(raw) == Card()


def test_the_architecture_is_that_of_the_configuration() -> None:
    assert architecture(b'{"architectures": ["BertModel"]}') == "BertModel"
    for raw in (b"{", b"[]", b'{"architectures": []}', b"[" * 100_000):
        assert architecture(raw) == ""
