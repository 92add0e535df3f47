"""The values of the parameters that every vendor knows are checked when a file is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from amas.config.json_schema import document_schema
from amas.config.param_values import PARAM_VALUES
from amas.config.provider_settings import load_settings
from amas.providers.errors import ProviderConfigError
from amas.providers.llm.params import ALLOWED

VALIDATOR = jsonschema.Draft7Validator(document_schema())

RIGHT: dict[str, list[Any]] = {
    "frequency_penalty": [0, -0.5],
    "logit_bias": [{}, {"50256": -100}],
    "logprobs": [True, False],
    "max_completion_tokens": [1],
    "max_tokens": [1, 2000],
    "parallel_tool_calls": [False],
    "presence_penalty": [-2],
    "response_format": [{"type": "json_object"}],
    "seed": [0, -1],
    "stop": ["END", ["a", "b"], []],
    "temperature": [0, 0.2, 2],
    "tool_choice": ["auto", {"type": "function"}],
    "tools": [[{"type": "function"}], []],
    "top_k": [40, -1],
    "top_logprobs": [0],
    "top_p": [0, 1, 0.9],
    "user": ["anybody", 3],
    "reasoning_effort": ["low", {"effort": "low"}],
}
WRONG: dict[str, list[Any]] = {
    "frequency_penalty": ["much"],
    "logit_bias": [[1], 3],
    "logprobs": [1],
    "max_completion_tokens": [0],
    "max_tokens": [-5, 1.5, "many", [1], True],
    "parallel_tool_calls": ["perhaps"],
    "presence_penalty": [True],
    "response_format": ["json"],
    "seed": ["x", 1.5],
    "stop": [{"a": 1}, 3, ["a", 1]],
    "temperature": ["hot", "0.2", -1, [0.2]],
    "tool_choice": [3, True],
    "tools": ["search", {"type": "function"}, ["search"]],
    "top_k": [0.5, -2],
    "top_logprobs": [-1],
    "top_p": [1.5],
}


def cases(values: Mapping[str, list[Any]]) -> list[Any]:
    """Return a case for each value."""
    return [
        pytest.param(name, value, id=f"{name}={value!r}")
        for name, items in values.items()
        for value in items
    ]


def section(name: str, value: object) -> dict[str, Any]:
    """Return a configuration whose one row and one alias have a parameter."""
    params = {name: value}
    return {
        "providers": {
            "llm": {"local": {"params": params}},
            "models": {"fast": {"chain": ["local"], "params": params}},
        }
    }


def test_every_parameter_checked_is_one_that_is_allowed() -> None:
    """And each has values here that are right, and some that are wrong."""
    assert PARAM_VALUES.keys() <= ALLOWED
    assert PARAM_VALUES.keys() == WRONG.keys()
    assert PARAM_VALUES.keys() <= RIGHT.keys() <= ALLOWED


@pytest.mark.parametrize(("name", "value"), [*cases(RIGHT), *cases({key: [None] for key in WRONG})])
def test_a_right_value_passes(name: str, value: object) -> None:
    """Nothing means not given; the loader and the schema for editors agree."""
    document = section(name, value)
    assert load_settings(document).llm["local"].params == {name: value}
    assert VALIDATOR.is_valid(document)


@pytest.mark.parametrize(("name", "value"), cases(WRONG))
def test_a_wrong_value_is_told_at_its_place(tmp_path: Path, name: str, value: object) -> None:
    """In rows and in aliases, with an example that is right, and without the value."""
    path = tmp_path / "c.yaml"
    document = section(name, value)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ProviderConfigError) as raised:
        load_settings(path)
    row, alias = raised.value.problems
    known = PARAM_VALUES[name]
    for problem, where in ((row, "llm.local"), (alias, "models.fast")):
        assert f"providers.{where}.params.{name}: must be {known.words}" in problem
        assert problem.endswith(f"; write for example `{name}: {known.example}`")
    assert known.fits(yaml.safe_load(known.example))


@pytest.mark.parametrize(("name", "value"), cases(WRONG))
def test_editors_refuse_a_wrong_value_too(name: str, value: object) -> None:
    """Each of them, before anything is run."""
    document = section(name, value)
    assert not VALIDATOR.is_valid(document)


def test_a_number_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds is read before it is checked, and editors take the reference."""
    monkeypatch.setenv("HEAT", "0.5")
    document = section("temperature", "${HEAT}")
    assert load_settings(document).llm["local"].params == {"temperature": 0.5}
    assert VALIDATOR.is_valid(document)
    monkeypatch.setenv("HEAT", "hot")
    with pytest.raises(ProviderConfigError, match=r"params\.temperature: must be a number"):
        load_settings(document)
