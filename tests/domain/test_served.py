"""What a request comes to: counted alike on both sides of a stream, and never less than it was a moment ago."""

from __future__ import annotations

from farlane.domain.inference import EmbedReply, FinishReason, GeneratePiece
from farlane.domain.served import RequestTally, Served


def test_a_generation_counts_what_its_last_piece_says() -> None:
    tally = RequestTally(request_bytes=10, reply_bytes=20)
    for piece in (GeneratePiece("a"), GeneratePiece("b"), GeneratePiece("c", FinishReason.STOP, 7, 9)):
        tally.count(piece)
    assert tally.ended(failed=False) == Served(1, 0, 7, 9, 10, 20)


def test_a_generation_that_is_cut_short_counts_its_pieces() -> None:
    tally = RequestTally()
    for piece in (GeneratePiece("a"), GeneratePiece(""), GeneratePiece("b")):
        tally.count(piece)
    assert tally.ended(failed=True) == Served(1, 1, 0, 2)


def test_a_last_piece_that_says_less_takes_nothing_back() -> None:
    tally = RequestTally()
    for _ in range(3):
        tally.count(GeneratePiece("a"))
    tally.count(GeneratePiece("", FinishReason.STOP, 1, 1))
    assert tally.completion_tokens == 3


def test_embeddings_count_their_prompts() -> None:
    tally = RequestTally()
    tally.count(EmbedReply(b"", 4, 12))
    assert tally.ended(failed=False).prompt_tokens == 12


def test_sums_name_the_first_figure_in_which_one_is_beyond_the_other() -> None:
    less, more = Served(2, 0, 5, 5, 9, 9), Served(1, 1, 5, 6).plus(Served(1, 0, 0, 0, 9, 9))
    assert more == Served(2, 1, 5, 6, 9, 9)
    assert (more.beyond(less), less.beyond(more)) == ("failed", "")
