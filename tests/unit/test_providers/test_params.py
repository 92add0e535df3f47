"""What a caller may say: parameters by allow-list, and the messages of a prompt."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amas.providers import InvalidRequestError
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.llm.params import (
    ALLOWED,
    ESSENTIAL,
    check_params,
    split_supported,
    to_messages,
)
from amas.providers.llm.target import RESERVED_OPTIONS

USER = {"role": "user", "content": "hello"}


def test_none_means_not_given() -> None:
    """A parameter that is None is as if it were not there; false and zero are values."""
    given = {"temperature": 0, "seed": None, "logprobs": False}
    assert check_params(given, provider="p") == {"temperature": 0, "logprobs": False}


def test_unknown_parameters_are_named_with_suggestions() -> None:
    """All unknown names are told at once, each with the nearest that is known."""
    with pytest.raises(InvalidRequestError) as caught:
        check_params({"max_token": 5, "zzz": 1, "temperature": 1}, provider="p")
    assert "'max_token' (did you mean 'max_tokens'?), 'zzz';" in caught.value.message
    assert "allowed are frequency_penalty, " in caught.value.message
    assert caught.value.provider == "p"


@given(st.text(min_size=1).filter(lambda name: name not in ALLOWED))
def test_nothing_but_the_allowed_passes(name: str) -> None:
    """No name that is not on the list gets through."""
    with pytest.raises(InvalidRequestError):
        check_params({name: "x"}, provider="p")


def test_allow_list_has_nothing_that_reroutes() -> None:
    """What decides on key, address, vendor or client is neither allowed nor anything else's name."""
    assert not ALLOWED & RESERVED_OPTIONS
    assert ESSENTIAL <= ALLOWED
    rerouting = {"extra_headers", "extra_body", "organization", "metadata", "functions", "n"}
    assert not ALLOWED & rerouting


def test_allowed_parameters_are_litellms() -> None:
    """Each allowed name is one that LiteLLM's completion takes, but those of other vendors."""
    names = inspect.signature(load_runtime().litellm.completion).parameters
    assert ALLOWED - names.keys() <= {"top_k", "prediction"}


def test_unsupported_parameters_are_left_out() -> None:
    """What a model does not take is left out and named, in order."""
    params = {"temperature": 1, "seed": 2, "logit_bias": {}}
    kept, dropped = split_supported(params, ["temperature"], provider="p", model="m")
    assert (kept, dropped) == ({"temperature": 1}, ("logit_bias", "seed"))
    kept, dropped = split_supported(params, None, provider="p", model="m")
    assert (kept, dropped) == (params, ())
    assert kept is not params


@pytest.mark.parametrize("name", sorted(ESSENTIAL))
def test_essential_parameters_are_not_left_out(name: str) -> None:
    """Without these the answer would be another one, so the request is refused."""
    with pytest.raises(InvalidRequestError, match=f"'m' does not take {name}") as caught:
        split_supported({name: [], "seed": 1}, ["seed"], provider="p", model="m")
    assert (caught.value.provider, caught.value.model) == ("p", "m")


def test_text_becomes_a_message() -> None:
    """A text is the user's message, after the system's."""
    assert to_messages("hello", None, provider="p") == [USER]
    system = {"role": "system", "content": "be brief"}
    assert to_messages("hello", "be brief", provider="p") == [system, USER]
    assert to_messages([USER], "be brief", provider="p") == [system, USER]


def test_messages_are_copied() -> None:
    """What is done to the messages later does not reach the caller's."""
    message = {"role": "user", "content": "hello", "name": "Ann"}
    [copied] = to_messages((message,), None, provider="p")
    assert copied == message
    assert copied is not message


@pytest.mark.parametrize("role", ["assistant", "developer", "function", "system", "tool", "user"])
def test_all_roles_of_openai_pass(role: str) -> None:
    """Every role of OpenAI's is a role."""
    assert to_messages([{"role": role, "content": "x"}], None, provider="p")


@pytest.mark.parametrize(
    ("prompt", "system", "says"),
    [
        ("", None, "the prompt is empty"),
        (" \n", None, "the prompt is empty"),
        ([], None, "at least one message"),
        (5, None, "at least one message"),
        ({"role": "user"}, None, "at least one message"),
        (["hello"], None, "a mapping with a role"),
        ([{"content": "x"}], None, "a mapping with a role"),
        ([{"role": "boss", "content": "x"}], None, "a mapping with a role"),
        ([USER, {"role": "user", "content": 5}], "b", r"content of prompt\[1\] .* not int"),
        ([{"role": "tool", "content": {"a": 1}}], None, r"content of prompt\[0\] .* not dict"),
        ([{"role": "assistant", "content": b"x"}], None, r"content of prompt\[0\] .* not bytes"),
        ("hello", 5, "system_prompt must be a text"),
        ([{"role": "system", "content": "a"}], "b", "give one of them"),
        ([{"role": "developer", "content": "a"}], "b", "give one of them"),
    ],
)
def test_what_is_no_prompt_is_refused(prompt: Any, system: Any, says: str) -> None:
    """The error says what a prompt looks like."""
    with pytest.raises(InvalidRequestError, match=says):
        to_messages(prompt, system, provider="p")


@pytest.mark.parametrize("content", ["", [], (), None])
def test_all_contents_of_openai_pass(content: Any) -> None:
    """A text, parts, and nothing, as beside the calls of tools, are contents."""
    message = {"role": "assistant", "content": content}
    assert to_messages([message], None, provider="p") == [message]


@pytest.mark.parametrize("value", [b"x", bytearray(b"x")])
def test_bytes_are_no_value(value: Any) -> None:
    """OpenAI's SDK would send the numbers of the letters."""
    with pytest.raises(InvalidRequestError, match="stop is bytes"):
        check_params({"stop": value}, provider="p")


@pytest.mark.parametrize("tools", ["abc", [object()], {"type": "function"}, [{}, 7], 5])
def test_tools_that_are_none_are_refused(tools: Any) -> None:
    """LiteLLM would leave them out without a word."""
    with pytest.raises(InvalidRequestError, match="tools must be a list"):
        check_params({"tools": tools}, provider="a")
