"""A provider's configuration: checked when it is built, and frozen."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from amas.providers import Capability, ProviderConfig, ProviderConfigError, Secret

KEY = "zq9" + "Lm4vXe7" * 3


def test_a_name_is_enough() -> None:
    """Everything but the name has a default."""
    config = ProviderConfig("openai")
    assert (config.timeout, config.max_retries, config.enabled) == (30, 3, True)
    assert config.key_value is None
    assert config.params == config.options == {}


@pytest.mark.parametrize("key", [KEY, Secret(KEY), f"  {KEY}\n"])
def test_key_becomes_a_secret(key: str) -> None:
    """However a key is given, it is kept as a secret without the whitespace around it."""
    config = ProviderConfig("openai", api_key=key)
    assert isinstance(config.api_key, Secret)
    assert config.key_value == KEY
    assert KEY not in repr(config)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "", "must be a text that is not empty"),
        ("name", 5, "must be a text that is not empty"),
        ("api_key", "", "is empty"),
        ("api_key", " \n", "is empty"),
        ("api_key", 5, "must be a text"),
        ("api_key", "two words", "characters that no key has"),
        ("api_key", "line\r\nX-Evil: 1", "characters that no key has"),
        ("api_key", "schlüssel", "characters that no key has"),
        ("timeout", 0, "number of seconds above 0"),
        ("timeout", -1, "number of seconds above 0"),
        ("timeout", None, "number of seconds above 0"),
        ("timeout", float("inf"), "number of seconds above 0"),
        ("timeout", float("nan"), "number of seconds above 0"),
        ("timeout", "30", "number of seconds above 0"),
        ("timeout", True, "number of seconds above 0"),
        ("first_content_timeout", 0, "number of seconds above 0"),
        ("idle_timeout", -0.1, "number of seconds above 0"),
        ("stream_timeout", "x", "number of seconds above 0"),
        ("max_retries", -1, "whole number, 0 or more"),
        ("max_retries", 1.5, "whole number, 0 or more"),
        ("max_retries", None, "whole number, 0 or more"),
        ("max_retries", True, "whole number, 0 or more"),
        ("context_window", 0, "whole number, 1 or more"),
        ("enabled", "yes", "must be true or false"),
        ("base_url", " ", "must be a text that is not empty"),
        ("model", "", "must be a text that is not empty"),
        ("provider", 5, "must be a text that is not empty"),
        ("embedding_model", "", "must be a text that is not empty"),
        ("params", ["temperature"], "must be a mapping"),
        ("options", None, "must be a mapping"),
        ("capabilities", ["flight"], "must be a list drawn from stream, tools"),
        ("capabilities", 5, "must be a list drawn from"),
    ],
)
def test_wrong_values_are_refused(field: str, value: Any, says: str) -> None:
    """The error names the field and says what it wants, never the value."""
    with pytest.raises(ProviderConfigError, match=says) as caught:
        ProviderConfig(**({"name": "p"} | {field: value}))
    assert caught.value.field == field
    assert "schlüssel" not in str(caught.value)


def test_values_are_copied_and_frozen() -> None:
    """What the caller does to its dictionaries later changes nothing."""
    params, options = {"temperature": 1}, {"headers": {"Token": KEY}}
    config = ProviderConfig("p", params=params, options=options, capabilities=frozenset({"tools"}))  # type: ignore[arg-type]
    params["temperature"] = 2
    options["headers"]["Token"] = "changed"
    assert config.params == {"temperature": 1}
    assert config.options["headers"]["Token"] == KEY
    assert config.capabilities == frozenset({Capability.TOOLS})
    with pytest.raises(FrozenInstanceError):
        config.timeout = 5  # type: ignore[misc]


def test_copies_keep_the_key_and_pickles_do_not() -> None:
    """Within the process a copy works like the original; a pickle has to be given its key."""
    config = ProviderConfig("p", api_key=KEY, params={"stop": ["x"]}, options={"api_token": KEY})
    for made in (copy.copy(config), copy.deepcopy(config), replace(config, timeout=30)):
        assert made == config
        assert made.key_value == KEY
    deep = copy.deepcopy(config)
    assert deep.params["stop"] is not config.params["stop"]
    data = pickle.dumps(config)
    assert KEY.encode() not in data
    assert pickle.loads(data).api_key is None
    assert pickle.loads(data).params == config.params
