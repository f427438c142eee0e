"""Stillness: nothing new to see is told from something new, and time alone counts after a while."""

from __future__ import annotations

from dataclasses import replace

from farlane.hub.deciding.stillness import STILL_S, Stillness


def test_only_what_is_new_is_asked_about(build) -> None:
    nodes = build.nodes((4, 8))
    view = build.view(nodes, build.group(nodes, count=9))
    stillness = Stillness()
    assert not stillness.holds(view)
    stillness.decided(view, 2)
    assert not stillness.holds(view)
    stillness.decided(view, 0)
    assert stillness.holds(replace(view, now=view.now + STILL_S / 2))
    assert not stillness.holds(replace(view, now=view.now + STILL_S))
    assert not stillness.holds(replace(view, now=view.now - 1.0))
    assert not stillness.holds(build.view(nodes, build.group(nodes, count=8)))
    assert not stillness.holds(build.view(nodes, build.group(nodes, count=9), running=((0, (1,), 5.0),)))
    assert not stillness.holds(build.view(build.nodes((4, 8), offline=[0]), build.group(nodes, count=9)))
