"""A provider's configuration: checked when it is built, and frozen."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest

from amas.providers import Capability, ProviderConfig, ProviderConfigError, Secret
from amas.providers.types import Effect, HealthProbe, Outcome, Price, ResponseCheck

KEY = "zq9" + "Lm4vXe7" * 3
KEYS = [KEY + "A", KEY + "B", KEY + "C"]


def test_a_name_is_enough() -> None:
    """Everything but the name has a default."""
    config = ProviderConfig("openai")
    assert (config.timeout, config.max_retries, config.enabled) == (30, 3, True)
    assert config.key_value is None
    assert config.params == config.options == config.policy == {}
    assert config.api_keys == ()
    assert (config.max_concurrency, config.max_queue, config.rpm, config.tpm) == (
        None,
        0,
        None,
        None,
    )
    assert (config.weight, config.price, config.health_probe) == (1, None, "free")
    assert config.response_checks is None


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
        pytest.param("api_key", "x" * 4_097, "more than 4,096 characters", id="api_key-too-long"),
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
        ("api_keys", KEY, "must be a list of keys; one alone goes into api_key"),
        ("api_keys", None, "must be a list of keys"),
        ("api_keys", {KEY}, "must be a list of keys"),
        ("api_keys", [KEY, 5], "must be a text"),
        ("api_keys", [KEY, " "], "is empty"),
        ("api_keys", [KEY, "schlüssel"], "characters that no key has"),
        ("api_keys", [KEY, f" {KEY}\n"], "has the same key twice"),
        ("max_concurrency", 0, "whole number, 1 or more"),
        ("max_concurrency", 2.5, "whole number, 1 or more"),
        ("max_queue", -1, "whole number, 0 or more"),
        ("max_queue", None, "whole number, 0 or more"),
        ("rpm", 0, "whole number, 1 or more"),
        ("tpm", "100", "whole number, 1 or more"),
        ("weight", 0, "must be a number above 0"),
        ("weight", -1.5, "must be a number above 0"),
        ("weight", float("inf"), "must be a number above 0"),
        ("weight", "2", "must be a number above 0"),
        ("weight", None, "must be a number above 0"),
        ("weight", True, "must be a number above 0"),
        ("price", 5, "must have input and output"),
        ("price", {"input": 1}, "must have input and output"),
        ("price", {"input": 1, "output": 2, "cached": 0}, "must have input and output"),
        ("price", {"input": 1, "output": -2}, "must have numbers, 0 or more"),
        ("price", {"input": "1", "output": 2}, "must have numbers, 0 or more"),
        ("price", Price(1, float("nan")), "must have numbers, 0 or more"),
        ("health_probe", "cheap", "must be one of free, paid, off"),
        ("health_probe", False, "must be one of free, paid, off"),
        ("health_probe", None, "must be one of free, paid, off"),
        ("response_checks", ["polite"], "must be a list drawn from not_empty, json"),
        ("response_checks", "json", "must be a list drawn from not_empty, json"),
        ("policy", ["auth"], "must be a mapping"),
        ("policy", {"ok": {}}, "must have outcomes for keys: connection, timeout"),
        ("policy", {"cancelled": {}}, "must have outcomes for keys"),
        ("policy", {7: {}}, "must have outcomes for keys"),
        ("policy", {"auth": "no"}, "must have, by outcome, retry, failover, circuit"),
        ("policy", {"auth": {"again": "no"}}, "must have, by outcome, retry, failover, circuit"),
        ("policy", {"auth": {"retry": "yes"}}, "for retry one of no, once, backoff, short_wait"),
        ("policy", {"auth": {"failover": True}}, "for failover one of no, yes, larger_window"),
        ("policy", {"auth": {"circuit": ["trip"]}}, "for circuit one of success, failure"),
    ],
)
def test_wrong_values_are_refused(field: str, value: Any, says: str) -> None:
    """The error names the field and says what it wants, never the value."""
    with pytest.raises(ProviderConfigError, match=says) as caught:
        ProviderConfig(**({"name": "p"} | {field: value}))
    assert caught.value.field == field
    assert "schlüssel" not in str(caught.value)
    assert KEY not in str(caught.value)


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


@pytest.mark.parametrize("keys", [KEYS, tuple(KEYS), [f" {key}\n" for key in KEYS]])
def test_the_first_of_several_keys_is_the_key(keys: list[str]) -> None:
    """Several keys become secrets in their order, and the first stands in ``api_key`` as well."""
    config = ProviderConfig("p", api_keys=keys)
    assert all(isinstance(key, Secret) for key in (*config.api_keys, config.api_key))
    assert config.api_keys == tuple(map(Secret, KEYS))
    assert config.api_key == KEYS[0]
    assert config.key_value == KEYS[0]
    keys = list(keys)
    assert ProviderConfig("p", api_keys=keys) == config


def test_what_the_caller_does_to_its_list_of_keys_changes_nothing() -> None:
    """The keys are a tuple of their own."""
    keys: list[Secret | str] = [*KEYS]
    config = ProviderConfig("p", api_keys=keys)
    keys.clear()
    assert len(config.api_keys) == 3
    assert isinstance(config.api_keys, tuple)


@pytest.mark.parametrize("key", [KEY, KEYS[1], Secret(KEY), "sch" + "lüssel", 5])
def test_a_key_beside_several_others_is_a_mistake(key: Any) -> None:
    """Whoever gives both learns what to do, and no key is shown."""
    with pytest.raises(ProviderConfigError) as caught:
        ProviderConfig("p", api_key=key, api_keys=KEYS)
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.problems)
    assert not [each for each in (*KEYS, KEY, "lüssel") if each in shown.replace(__file__, "")]
    if key not in {"sch" + "lüssel", 5}:
        assert "exclude each other; put all keys into one" in str(caught.value)
        assert caught.value.field == "api_keys"


def test_several_keys_are_shown_nowhere() -> None:
    """Neither repr, asdict, JSON, nor a pickle has one of the keys; the pickle has none at all."""
    config = ProviderConfig("p", api_keys=KEYS, options={"api_token": KEY})
    pickled = pickle.dumps(config)
    shown = [
        *(repr(config), str(config), f"{config}", repr(asdict(config)), repr(pickled)),
        *(json.dumps(asdict(config), default=str), repr(copy.deepcopy(config))),
    ]
    assert not [text for text in shown if KEY in text]
    again = pickle.loads(pickled)
    assert (again.api_key, again.api_keys) == (None, ())
    assert again == replace(config, api_key=None, api_keys=(), options=again.options)


def test_copies_keep_several_keys() -> None:
    """Within the process each kind of copy works like the original."""
    config = ProviderConfig(
        "p", api_keys=KEYS, policy={"auth": {"retry": "once"}}, price=Price(1, 2)
    )
    for made in (copy.copy(config), copy.deepcopy(config), replace(config, timeout=5, weight=1)):
        assert made.api_keys == config.api_keys
        assert made.key_value == KEYS[0]
        assert replace(made, timeout=30) == config
    assert copy.deepcopy(config).policy["auth"] is not config.policy["auth"]


def test_keys_can_be_replaced() -> None:
    """A copy may have another key, other keys, one of several, or none."""
    one, several = ProviderConfig("p", api_key=KEY), ProviderConfig("p", api_keys=KEYS)
    assert replace(one, api_key=KEYS[1]).key_value == KEYS[1]
    other = replace(several, api_keys=KEYS[1:])
    assert (other.key_value, len(other.api_keys)) == (KEYS[1], 2)
    assert replace(other, api_keys=KEYS).key_value == KEYS[0]
    alone = replace(several, api_key=several.api_keys[1], api_keys=())
    assert (alone.key_value, alone.api_keys) == (KEYS[1], ())
    assert replace(several, api_key=several.api_key, api_keys=()).key_value == KEYS[0]
    assert replace(several, api_keys=()).key_value == KEYS[0]
    assert replace(replace(several, api_keys=()), api_key=KEY).key_value == KEY
    assert replace(several, api_key=None, api_keys=()).key_value is None
    assert replace(one, api_key=None, api_keys=KEYS).key_value == KEYS[0]


def test_one_key_among_several_is_not_replaced_by_guess() -> None:
    """Which of several keys a new ``api_key`` would replace is not known, so it is refused."""
    with pytest.raises(ProviderConfigError, match="exclude each other"):
        replace(ProviderConfig("p", api_keys=KEYS), api_key=KEY)
    with pytest.raises(ProviderConfigError, match="exclude each other"):
        replace(ProviderConfig("p", api_key=KEY), api_keys=KEYS)


def test_choices_are_read_from_texts_and_enumerations() -> None:
    """Texts become members of their enumerations, a mapping becomes a price, and rules texts."""
    config = ProviderConfig(
        "p",
        price={"input": 0, "output": 0.6},
        health_probe="off",
        response_checks=["json", ResponseCheck.NOT_EMPTY],  # type: ignore[arg-type]
        policy={Outcome.AUTH: {"circuit": Effect.TRIP}, "timeout": {"retry": "once"}, "quota": {}},
    )
    assert config.price == Price(0, 0.6)
    assert config.health_probe is HealthProbe.OFF
    assert config.response_checks == frozenset(ResponseCheck)
    assert config.policy == {"auth": {"circuit": "trip"}, "timeout": {"retry": "once"}, "quota": {}}
    rules = config.policy.items()
    assert {type(text) for name, rule in rules for text in (name, *rule, *rule.values())} == {str}
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_policy_is_copied_whole() -> None:
    """Changing a rule afterwards changes nothing."""
    rules = {"auth": {"retry": "once"}}
    config = ProviderConfig("p", policy=rules)
    rules["auth"]["retry"] = "no"
    rules.clear()
    assert config.policy == {"auth": {"retry": "once"}}
