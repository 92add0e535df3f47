"""What the model says: default replies, forced forms, example values, token counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amas.providers.testing.upstream import ChatRequest, Message, Reply, Tool, ToolCall, Usage
from amas.providers.testing.upstream.chat import compose, count_tokens, split_words
from amas.providers.testing.upstream.schema import example_of

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def ask(**options: Any) -> ChatRequest:
    """Build a request whose last user message has four words."""
    messages = (
        Message("system", "Be brief."),
        Message("user", "one two three four"),
        Message("assistant", "five"),
    )
    return ChatRequest("openai", "m", messages, **options)


def test_default_reply_names_the_upstream_and_quotes_the_user() -> None:
    """Without a reply setting the upstream quotes the last user message."""
    assert compose(ask(), None, "alpha").content == "alpha says: one two three four"


def test_default_reply_cuts_long_messages() -> None:
    """No more than 80 characters are quoted."""
    chat = ChatRequest("openai", "m", (Message("user", "x" * 200),))
    assert compose(chat, None, "alpha").content == "alpha says: " + "x" * 80


def test_default_reply_without_user_message() -> None:
    """A conversation without a user message is answered all the same."""
    assert compose(ChatRequest("openai", "m"), None, "alpha").content == "alpha says: "


def test_usage_counts_words() -> None:
    """Prompt tokens are the words of all messages, completion tokens those of all said."""
    reply = Reply("a b", [ToolCall("f", {"x": 1})], reasoning="c d e")
    assert compose(ask(), lambda _: reply, "alpha").usage == Usage(7, 7)
    assert Usage(7, 7).total_tokens == 14
    assert (count_tokens(None), count_tokens(" a\nb ")) == (0, 2)


def test_usage_of_the_reply_is_kept() -> None:
    """Token counts given by a callable are sent as they are."""
    reply = Reply("a", usage=Usage(1000, 2000))
    assert compose(ask(), lambda _: reply, "alpha").usage == Usage(1000, 2000)


def test_forced_tool_is_called_with_example_arguments() -> None:
    """A forced tool is called with values for its required properties, and an id."""
    chat = ask(tools=(Tool("f", CITY),), forced_tool="f")
    reply = compose(chat, "pong", "alpha")
    assert reply.content is None
    assert reply.tool_calls == (ToolCall("f", {"city": "example"}, "call_00000001"),)
    assert reply.finish_reason == "tool_calls"


def test_forced_tool_takes_a_fixed_json_object() -> None:
    """A fixed text that is a JSON object becomes the arguments of a forced tool."""
    chat = ask(tools=(Tool("f", CITY),), forced_tool="f")
    [call] = compose(chat, '{"city": "Oslo"}', "alpha").tool_calls
    assert call.arguments == {"city": "Oslo"}


def test_forced_tool_that_is_not_defined() -> None:
    """A forced tool without a definition is called without arguments."""
    assert compose(ask(forced_tool="g"), None, "alpha").tool_calls[0].arguments == {}


@pytest.mark.parametrize(
    ("schema", "text", "answer"),
    [
        (CITY, None, {"city": "example"}),
        ({}, None, {"answer": "alpha"}),
        (CITY, "not json", {"city": "example"}),
        (CITY, "[1]", {"city": "example"}),
        (CITY, '{"city": "Oslo"}', {"city": "Oslo"}),
        (CITY, "{}", {}),
    ],
)
def test_json_answers(schema: dict[str, Any], text: str | None, answer: Any) -> None:
    """A wanted JSON object conforms to its schema, or is the fixed text when that is one."""
    content = compose(ask(json_schema=schema), text, "alpha").content
    assert json.loads(content or "") == answer


def test_callable_has_the_last_word() -> None:
    """What a callable says is not replaced by a forced tool or a JSON object."""
    chat = ask(tools=(Tool("f", CITY),), forced_tool="f", json_schema=CITY)
    assert compose(chat, lambda _: "plain", "alpha").content == "plain"


def test_call_ids_and_finish_reason_of_the_reply_are_kept() -> None:
    """Ids are made up only where they are missing; a finish reason other than stop stays."""
    calls = [ToolCall("f", id="mine"), ToolCall("f")]
    reply = compose(ask(), lambda _: Reply(None, calls, finish_reason="length"), "alpha")
    assert [call.id for call in reply.tool_calls] == ["mine", "call_00000002"]
    assert reply.finish_reason == "length"


@pytest.mark.parametrize(
    ("arguments", "text", "value"),
    [
        ({"a": "ä"}, '{"a": "ä"}', {"a": "ä"}),
        ("{broken", "{broken", {}),
        ('{"a":1}',) * 2 + ({"a": 1},),
    ],
)
def test_arguments_as_text_and_object(arguments: Any, text: str, value: Any) -> None:
    """Arguments given as text are sent as they stand, and as an object where they are one."""
    call = ToolCall("f", arguments)
    assert (call.arguments_json, call.arguments_object) == (text, value)


@pytest.mark.parametrize("text", ["", "one", " a  b\n\nc ", "é ü", "\n"])
def test_words_join_to_the_text(text: str) -> None:
    """Splitting a text into chunks loses nothing."""
    assert "".join(split_words(text)) == text


DEFINITIONS = {
    "$defs": {
        "Point": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    },
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/Point"}, "gone": {"$ref": "#/$defs/None/at/all"}},
    "required": ["at", "gone"],
}
RECURSIVE = {
    "$defs": {
        "Node": {"type": "object", "properties": {"n": {"$ref": "#/$defs/Node"}}, "required": ["n"]}
    },
    "$ref": "#/$defs/Node",
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        (
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]},
            {"a": "example"},
        ),
        ({"required": ["a"]}, {"a": "example"}),
        ({"properties": {"a": {"type": "string"}}}, {}),
        ({"const": 3}, 3),
        ({"enum": ["low", "high"]}, "low"),
        ({"type": "string", "minLength": 9}, "examplexx"),
        ({"type": "string", "maxLength": 2}, "ex"),
        ({"type": "string", "format": "date"}, "2024-01-31"),
        ({"type": "string", "format": "unheard-of"}, "example"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": -5}, -5),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
        ({"type": "number"}, 1.5),
        ({"type": "number", "minimum": 0, "maximum": 1}, 0.5),
        ({"type": "number", "exclusiveMinimum": 2}, 3.0),
        ({"type": "number", "exclusiveMaximum": 0}, -1.0),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 1),
        ({"type": ["null"]}, None),
        ({"type": "array"}, []),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 1),
        ({"oneOf": [{"type": "null"}]}, None),
        (
            {"allOf": [CITY, {"properties": {"n": {"type": "integer"}}, "required": ["n"]}]},
            {"city": "example", "n": 1},
        ),
        ({"$ref": "#"}, {}),
        (DEFINITIONS, {"at": {"x": 1}, "gone": {}}),
    ],
)
def test_example_values(schema: dict[str, Any], value: Any) -> None:
    """Example values conform to their schema, required properties only."""
    assert example_of(schema) == value
    assert type(example_of(schema)) is type(value)


def test_example_of_a_schema_nothing_conforms_to() -> None:
    """A schema that requires itself for ever still yields a value."""
    assert json.dumps(example_of(RECURSIVE)).count("n") > 10
