"""Answers compared without a word of them, and the file of differences."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from amas.providers.secret import Secret
from amas.services import sketches
from amas.services.sketches import Answer, append_line, differing, error_class, sketch

KEY = "sk-" + "test" * 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("HTTP 503: upstream is down", "http 503"),
        ("Error code: 429 - slow down", "http 429"),
        ("All AI providers failed", "all failed"),
        ("No active AI providers configured", "all failed"),
        ("DeepSeek API key not configured", "no key"),
        ("Unsupported provider: x", "unsupported"),
        ("No model available", "no model"),
        ("Request timed out", "timeout"),
        ("ReadTimeout", "timeout"),
        ("Too Many Requests", "rate limit"),
        ("All connection attempts failed", "connection"),
        ("what is this?", "other"),
    ],
)
def test_an_errors_text_has_a_class(text: str, expected: str) -> None:
    """The class says what happened, in few words that are always the same."""
    assert error_class(text) == expected


def test_a_sketch_has_the_form_of_an_answer_and_no_word_of_it() -> None:
    """Keys, types, success, provider and latency are there; of the content its length and hash."""
    secret = Secret("OpaqueSecretOfSomebody")
    answer: dict[Any, Any] = {
        "success": True,
        "content": "the answer",
        "provider": "ollama",
        "tokens_used": 3,
        3: None,
        secret.get_secret_value(): 1.5,
    }
    made = sketch(Answer(answer, None, 0.25))
    assert made.pop("content")["length"] == 10
    assert made == {
        "raised": None,
        "type": "dict",
        "keys": {
            "success": "bool",
            "content": "str",
            "provider": "str",
            "tokens_used": "int",
            "3": "NoneType",
            "**********": "float",
        },
        "success": True,
        "provider": "ollama",
        "error": None,
        "latency_ms": 250.0,
    }


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("text", 4),
        ("", 0),
        ("\ud800", 1),
        ({"response": "abc"}, 3),
        ({"content": None, "response": "abc"}, 3),
        ({"embedding": [0.1, 0.2]}, 2),
        ({"response": {"choices": []}}, None),
        (None, None),
        (7, None),
        ([1], None),
    ],
)
def test_content_is_a_length_and_a_hash(value: object, length: int | None) -> None:
    """Texts and vectors have both; equal contents have equal hashes, others have not."""
    content = sketch(Answer(value))["content"]
    if length is None:
        assert content is None
    else:
        assert content["length"] == length
        assert content == sketch(Answer(value))["content"]
        assert content["hash"] != sketch(Answer("other"))["content"]["hash"]


def test_the_hash_cannot_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short answer has another hash in every process, so nobody can guess it from a table."""
    before = sketch(Answer("yes"))["content"]["hash"]
    monkeypatch.setattr(sketches, "_HASH_KEY", b"another process")
    assert sketch(Answer("yes"))["content"]["hash"] != before


def test_an_exception_is_sketched_by_its_class() -> None:
    """Its text gives a class of error, and is not kept."""
    made = sketch(Answer(error=TimeoutError(f"timed out, with {KEY}")))
    assert (made["raised"], made["type"], made["error"]) == ("TimeoutError", None, "timeout")
    assert KEY not in str(made)


OK = {"success": True, "response": "a", "provider": "ollama", "n": 1}


@pytest.mark.parametrize(
    ("new", "parts"),
    [
        (Answer(OK, None, 9.0), []),
        (Answer({**OK, "extra": 1}), ["added_keys"]),
        (Answer({"success": True, "response": "a", "provider": "ollama"}), ["missing_keys"]),
        (Answer({**OK, "n": 1.0}), ["types"]),
        (Answer({**OK, "provider": "groq"}), ["provider"]),
        (Answer({**OK, "response": "b"}), ["content"]),
        (Answer({**OK, "success": False}), ["success"]),
        (Answer({**OK, "error": "HTTP 500"}), ["added_keys", "error"]),
        (
            Answer("a"),
            ["type", "missing_keys", "success", "provider"],
        ),
        (
            Answer(error=ValueError("No model")),
            ["raised", "type", "missing_keys", "success", "provider", "error", "content"],
        ),
    ],
)
def test_what_differs_is_named(new: Answer, parts: list[str]) -> None:
    """Every part of a sketch counts but the latency."""
    assert differing(sketch(Answer(OK)), sketch(new)) == parts


def test_a_line_is_appended_to_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    """The folder is made, the mode is 0600 though the file was there before, lines add up."""
    path = tmp_path / "logs" / "differences.jsonl"
    append_line(str(path), {"a": "ä\ud800"})
    path.chmod(0o644)
    append_line(str(path), {"b": 2})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"a": "ä\ud800"},
        {"b": 2},
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
