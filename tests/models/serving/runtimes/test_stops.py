"""Stop sequences in text that comes in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farlane.models.serving.runtimes.stops import StopFilter

LETTERS = st.text("ab", max_size=12)


@given(st.lists(LETTERS, max_size=8), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_what_is_shown_ends_where_the_first_stop_begins(pieces: list[str], stops: list[str]) -> None:
    shown = StopFilter(stops)
    text = "".join([*(shown.feed(piece) for piece in pieces), shown.rest()])
    whole = "".join(pieces)
    found = [whole.find(stop) for stop in stops if stop in whole]
    assert shown.found == bool(found)
    if not found:
        assert text == whole
    else:
        assert whole.startswith(text)
        assert not any(stop in text for stop in stops)


def test_a_beginning_that_comes_to_nothing_is_shown() -> None:
    shown = StopFilter(["END"])
    assert [shown.feed("an E"), shown.feed("N"), shown.feed("trance"), shown.rest()] == [
        "an ",
        "",
        "ENtrance",
        "",
    ]
