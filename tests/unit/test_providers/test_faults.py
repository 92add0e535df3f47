"""What is said of a provider whose code is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from amas.providers.base.faults import content_of, unexpected
from amas.providers.errors import BadResponseError, ProviderUnavailableError


def caught(fail: Callable[[], Any]) -> Exception:
    """Return what a call raises."""
    try:
        fail()
    except Exception as error:  # noqa: BLE001 -- any
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        (lambda: dict[str, int]()["x"], BadResponseError),
        (lambda: ().__getitem__(0), BadResponseError),
        (lambda: None.x, BadResponseError),  # type: ignore[attr-defined]
        (lambda: len(5), BadResponseError),  # type: ignore[arg-type]
        (lambda: exec("import no_such_module"), BadResponseError),
        (lambda: exec("no_such_name"), BadResponseError),
        (lambda: json.loads("<html>"), ProviderUnavailableError),
        (lambda: open("/no/such/file"), ProviderUnavailableError),  # noqa: PTH123, SIM115
    ],
)
def test_a_mistake_of_programming_is_told_from_trouble(
    fail: Callable[[], Any], kind: type[ProviderUnavailableError]
) -> None:
    """After trouble, such as nonsense of an upstream's, the same provider may be asked again."""
    error = unexpected(caught(fail), provider="p")
    assert type(error) is kind
    assert "test_faults.py:" in error.message or "<string>:1 in <module>" in error.message


def test_the_place_is_in_the_callers_code_and_not_in_its_libraries() -> None:
    """That is where the mistake can be mended; without a traceback there is none."""
    message = unexpected(caught(lambda: json.loads("<"))).message
    assert message.startswith("unexpected JSONDecodeError: ")
    assert message.endswith(" in <lambda>)")
    assert unexpected(OSError("disk")).message == "unexpected OSError: disk"


def test_calls_of_tools_are_an_answer_without_a_text() -> None:
    """And so is an empty text."""
    assert content_of({"tool_calls": [{"id": "1"}]}, provider="p") == ""
    assert content_of({"content": ""}, provider="p") == ""
