"""What an upstream quotes of a prompt is not shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amas.providers.observability.quoting import QUOTED, without_quotes

PROMPT = "Write a letter to Dr. Karelia Montague about her results."


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param("status 503: overloaded", "status 503: overloaded", id="nothing"),
        pytest.param(f"bad input: {PROMPT}", f"bad input: {QUOTED}", id="all"),
        pytest.param(
            "cannot read 'Dr. Karelia Montague about' here",
            f"cannot read '{QUOTED}' here",
            id="a part",
        ),
        pytest.param(
            "Karelia Montague, and once more Karelia Montague.",
            f"{QUOTED}, and once more{QUOTED}.",
            id="twice",
        ),
        pytest.param("a lette", "a lette", id="a few characters"),
        pytest.param("", "", id="no message"),
    ],
)
def test_what_stands_in_both_is_left_out(message: str, shown: str) -> None:
    """Longer runs only: words that everybody uses remain."""
    assert without_quotes(message, PROMPT) == shown


@pytest.mark.parametrize(
    "prompt",
    [
        [{"role": "user", "content": PROMPT}],
        [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}],
        [{"role": "assistant", "content": None, "n": 1, "tool_calls": [{"x": {"args": PROMPT}}]}],
        [{"role": "user", "content": b"bytes"}, {"role": "user", "content": PROMPT}],
    ],
)
def test_messages_are_looked_through(prompt: list[dict[str, Any]]) -> None:
    """At any depth."""
    assert without_quotes(f"bad input: {PROMPT}", prompt) == f"bad input: {QUOTED}"


def test_a_short_prompt_is_left_out_as_a_whole() -> None:
    """Though it is shorter than what is looked for in longer ones."""
    assert without_quotes("what is pear42?", " pear42 ") == f"what is {QUOTED}?"
    assert without_quotes("it says no", "no") == "it says no"


def test_a_message_about_a_very_long_prompt_is_not_shown() -> None:
    """Looking through it would take too long."""
    shown = without_quotes("bad: secret words", "x" * 70_000)
    assert "secret" not in shown
    assert shown.startswith(QUOTED)


@given(
    before=st.text(max_size=30),
    quoted=st.text(min_size=11, max_size=60),
    after=st.text(max_size=30),
    around=st.text(max_size=30),
)
def test_no_long_run_of_a_prompt_is_left(before: str, quoted: str, after: str, around: str) -> None:
    """Whatever stands around it, here and there."""
    prompt = around + quoted + around
    shown = without_quotes(before + quoted + after, prompt)
    pieces = shown.split(QUOTED)
    runs = [piece[i : i + 11] for piece in pieces for i in range(len(piece) - 10)]
    assert not [run for run in runs if run in prompt]
