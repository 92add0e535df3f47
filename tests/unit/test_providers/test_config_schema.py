"""The JSON schema that editors complete and check configurations by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from amas.config.field_reference import all_fields, in_words, yaml_value
from amas.config.json_schema import DRAFT, FILE_NAME, document_schema, schema_text
from amas.config.provider_settings import ProvidersSettings, load_settings

FILE = Path(__file__).parents[3] / "configs" / FILE_NAME
VALIDATOR = jsonschema.Draft7Validator(document_schema())
DEFINITIONS: dict[str, Any] = document_schema()["definitions"]
FIELDS = [
    pytest.param(model, name, field, id=f"{model}.{name}")
    for model, definition in DEFINITIONS.items()
    for name, field in definition["properties"].items()
]


def everything(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a schema."""
    if isinstance(schema, dict):
        yield schema
    for item in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(item, dict | list):
            yield from everything(item)


def accepts(**section: Any) -> bool:
    """Tell whether the schema takes a section."""
    return VALIDATOR.is_valid({"providers": section})


def test_the_shipped_schema_is_that_of_the_code() -> None:
    """Who changes a field makes the file anew."""
    assert FILE.read_text(encoding="utf-8") == schema_text(), (
        f"run: amas-providers config schema > configs/{FILE_NAME}"
    )


def test_it_is_a_schema_of_the_draft_that_every_editor_knows() -> None:
    """It is valid, and each reference stands alone, because draft 7 ignores what is beside it."""
    jsonschema.Draft7Validator.check_schema(document_schema())
    assert document_schema()["$schema"] == DRAFT
    references = [item for item in everything(document_schema()) if "$ref" in item]
    assert references
    assert all(item.keys() == {"$ref"} for item in references)
    names = {item["$ref"].removeprefix("#/definitions/") for item in references}
    assert names == DEFINITIONS.keys()


@pytest.mark.parametrize(("model", "name", "field"), FIELDS)
def test_every_field_says_what_it_is(model: str, name: str, field: dict[str, Any]) -> None:
    """Title, description, default and examples are there, and fit what the field takes."""
    assert field["title"]
    assert field["description"].endswith(".")
    assert field["examples"]
    assert ("default" in field) is (name not in DEFINITIONS[model].get("required", ()))
    fragment = VALIDATOR.evolve(schema={**field, "definitions": DEFINITIONS})
    for value in (*field["examples"], *([field["default"]] if field.get("default") else [])):
        fragment.validate(value)
    assert in_words(field)


def test_every_key_of_the_models_is_in_the_reference() -> None:
    """The schema is made from the models, and the reference from the schema."""
    listed = {entry.path for entry in all_fields()}
    hidden = {"warnings", "source", "disabled", "files", "layers"}
    for name in ProvidersSettings.model_fields.keys() - hidden:
        assert (name,) in listed, f"{name} is no key of a file, or has no place in the schema"
    assert ("llm", "*", "timeout") in listed
    assert ("manager", "policy", "*", "retry") in listed
    assert ("migration", "llm_service", "flag") in listed
    assert len(listed) == len(all_fields())


def test_the_examples_of_the_reference_are_yaml_that_says_the_same(tmp_path: Path) -> None:
    """The lines that explain a field load, wherever a file can hold them alone."""
    environ = {
        "OPENAI_API_KEY": "k" * 20,
        "OPENAI_KEY_1": "key-one" * 3,
        "OPENAI_KEY_2": "b" * 20,
        "HTTPS_PROXY": "http://proxy:3128",
        "ALERT_WEBHOOK": "https://hooks.example/x",
        "AMAS_MASTER_KEY": "m" * 20,
    }
    path = tmp_path / "c.yaml"
    together = {"fallback_order", "access", "providers", "extends", "input", "output"}
    for entry in all_fields():
        if together & set(entry.path) or entry.path[:1] == ("models",):
            continue  # they need something else beside them
        text = "\n".join(entry.lines()).replace("<outcome>", "timeout").replace("<name>", "openai")
        path.write_text(text + "\n", encoding="utf-8")
        assert load_settings(path, environ=environ).source == str(path), entry.name


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("free", "free"),
        ("yes", '"yes"'),
        ("30%", '"30%"'),
        ("127.0.0.1", '"127.0.0.1"'),
        ("a: b", '"a: b"'),
        ("", '""'),
        (True, "true"),
        (0.5, "0.5"),
        (["a", {"b": "${C}"}], '[a, {b: "${C}"}]'),
    ],
)
def test_values_are_written_as_yaml_has_them(value: object, written: str) -> None:
    """Quotes stand where YAML would read something else, and nowhere else."""
    assert yaml_value(value) == written


@pytest.mark.parametrize("document", [{}, {"provider": {}}, [], None, {"providers": []}])
def test_what_is_no_configuration_is_refused(document: Any) -> None:
    """The section must be there, and be a mapping."""
    assert not VALIDATOR.is_valid(document)


def test_other_sections_are_the_hosts() -> None:
    """Nothing is said of what stands beside the section, and an empty section is one."""
    assert VALIDATOR.is_valid({"providers": None, "database": {"port": "any"}})


def test_references_stand_for_numbers_words_and_truth_values() -> None:
    """Where the loader follows a variable, the schema takes it, and no other text."""
    row = {"timeout": "${T}", "enabled": "${E:-true}", "health_probe": "${P}", "rpm": " ${R} "}
    assert accepts(llm={"a": row})
    assert not accepts(llm={"a": {"timeout": "30"}})
    assert not accepts(llm={"a": {"timeout": "${}"}})
    assert not accepts(llm={"a": {"health_probe": "x"}})
    assert accepts(llm={"a": {"capabilities": ["stream", "${C}"]}})
    assert accepts(migration={"llm_service": "${FLAG}", "universal_ai_manager": "30%"})


def test_an_empty_value_is_the_default_but_not_where_it_would_mean_more_rights() -> None:
    """The schema takes nothing where the loader does."""
    assert accepts(llm={"a": None, "b": {"timeout": None, "price": None}}, audit=None, manager=None)
    assert accepts(manager={"policy": {"auth": {"retry": None}}, "circuit_breaker": None})
    assert not accepts(llm={"a": {"price": {"input": None, "output": 1}}})
    assert not accepts(llm={"a": {"api_keys": [None]}})
    assert not accepts(security={"access": {"bot": None}})
    assert not accepts(security={"access": {"bot": {"providers": None}}})
    assert not accepts(manager={"policy": {"auth": None}})


@pytest.mark.parametrize("entry", ["openai/", "/x", "openai//x", " / ", ""])
def test_a_chain_names_providers_and_models(entry: str) -> None:
    """What has an empty part is refused, and so is an entry that is there twice."""
    assert not accepts(models={"fast": [entry]})
    assert not accepts(models={"fast": {"chain": ["openai", "openai"]}})
    assert accepts(models={"fast": ["openai/a/b:c", " groq ", "${A:-x}/y", "${B}"]})


def test_what_a_file_may_repeat_and_may_not_leave_empty() -> None:
    """A word twice counts once, as for the loader; a caller and a file have a name."""
    assert accepts(manager={"response_checks": ["json", "json"]})
    assert accepts(llm={"a": {"capabilities": ["stream", "stream"], "rpm": 1e3}})
    assert not accepts(security={"access": {"": {}}})
    assert not accepts(extends=" ")
    assert not accepts(extends=["a.yaml", ""])


def test_api_key_and_api_keys_exclude_each_other() -> None:
    """One of them may be there but empty."""
    assert not accepts(llm={"a": {"api_key": "x", "api_keys": ["y"]}})
    assert accepts(llm={"a": {"api_key": None, "api_keys": ["y"]}})
