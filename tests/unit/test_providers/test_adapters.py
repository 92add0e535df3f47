"""Code of one's own for a vendor that LiteLLM lacks: named in a row, with options of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from amas.providers import ProviderConfig, ProviderManager
from amas.providers.base.factory import check_options, find_factory, make_provider
from amas.providers.base.options import OptionsError, parse_options
from amas.providers.errors import AllProvidersFailedError, ProviderConfigError
from amas.providers.manager.discovery import read_configuration
from amas.providers.security.sandbox import inspection
from amas.providers.security.sandbox.provider import SandboxedProvider
from amas.providers.testing import FakeProvider

MODULE = """
    from typing import Literal

    from pydantic import BaseModel, Field, SecretStr

    from amas.providers import BaseProvider


    class Part(BaseModel):
        size: int = 1


    class Acme(BaseProvider):
        class Options(BaseModel):
            region: Literal["eu", "us"]
            seats: int = Field(default=1, ge=1, examples=[3], description="How many.")
            access_token: SecretStr | None = None
            parts: list[Part] = []

        options: Options

        async def _set_up(self): ...
        async def _probe(self): ...
        async def _tear_down(self): ...

        async def generate(self, prompt, **kwargs):
            token = self.options.access_token.get_secret_value()
            return {"content": f"{self.options.region} {self.options.seats} {token[::-1]}"}


    class Strict(Acme):
        class Options(BaseModel):
            number: int

            def model_post_init(self, _context):
                raise KeyError("of its own {braces}")


    class Buggy(Acme):
        Options = None

        async def generate(self, prompt, **kwargs):
            return {"content": self.text_of({})}

        def text_of(self, data):
            return data["txt"]


    class Half(BaseProvider):
        async def _set_up(self): ...
        async def _tear_down(self): ...


    class Plain(Buggy):
        def generate(self, prompt, **kwargs):
            return {"content": "x"}


    class Whole(Buggy):
        async def stream(self, prompt, **kwargs):
            return []


    class Alone(Buggy):
        def __init__(self): ...


    async def later(config):
        return Acme(config)


    class Other: ...


    NUMBER = 5
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put modules where they can be imported."""
    for name, text in {
        "acme_llm": MODULE,
        "acme_boom": "raise RuntimeError('no licence')",
        "acme_ends": "import os; os._exit(3)",
        "acme_hangs": "while True: pass",
        "acme_needs": "import acme_that_is_gone",
        "acme_exits": "raise SystemExit('no licence')",
    }.items():
        (tmp_path / f"{name}.py").write_text(dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


def problems(folder: Path, rows: dict[str, Any]) -> list[str]:
    """Return what is wrong with rows, each as a flow mapping on a line of its own."""
    lines = [f"    {name}: {yaml.safe_dump(row, default_flow_style=True, width=999)}"
             for name, row in rows.items()]  # fmt: skip
    file = folder / "c.yaml"
    file.write_text("providers:\n  llm:\n" + "".join(line.rstrip() + "\n" for line in lines))
    with pytest.raises(ProviderConfigError) as raised:
        read_configuration(file)
    return [line.removeprefix(f"{file}:") for line in raised.value.problems]


async def test_an_adapter_answers_with_its_own_options(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own; a text from a variable becomes a number where one is wanted."""
    monkeypatch.setenv("SEATS", "4")
    token = "abc" * 4
    row = {
        "adapter": "acme_llm:Acme",
        "options": {"region": "eu", "seats": "${SEATS}", "access_token": token},
    }
    async with ProviderManager.from_config({"providers": {"llm": {"acme": row}}}) as manager:
        assert isinstance(manager.providers["acme"], SandboxedProvider)
        assert (await manager.generate("hi"))["content"] == f"eu 4 {token[::-1]}"
    assert "acme_llm" not in sys.modules


def test_each_mistake_in_options_has_its_place_and_a_way_out(folder: Path) -> None:
    """The same in a process of its own and here; no credential is in a message."""
    token = "xyz" * 4
    wrong = {
        "adapter": "acme_llm:Acme",
        "options": {"access_token": token, "parts": [{"sise": 1}], "regoin": "eu", "seats": 0},
    }
    found = problems(folder, {"far": wrong, "near": wrong | {"isolation": "none"}})
    for number, name in enumerate(("far", "near")):
        own = [line for line in found if f"llm.{name}." in line]
        assert [line.split(": ", 1)[1].replace(f".{name}.", ".X.") for line in own] == [
            "providers.llm.X.options.region: is missing; write `region: …` as its adapter wants it",
            "providers.llm.X.options.parts[0].sise: unknown key; did you mean 'size'?",
            "providers.llm.X.options.regoin: unknown key; did you mean 'region'?",
            (
                "providers.llm.X.options.seats: must be 1 or more, not 0;"
                " write for example `seats: 3` (How many.)"
            ),
        ]
        assert all(line.startswith(f"{number + 3}:") for line in own)
    assert token not in str(found)


@pytest.mark.parametrize("isolation", ["process", "none"])
def test_each_mistake_in_adapter_has_its_place_and_a_way_out(folder: Path, isolation: str) -> None:
    """Whatever is wrong with the code that a row names."""
    wrong = {
        "acme_lm:Acme": "there is no module 'acme_lm' (did you mean 'acme_llm'?); install",
        "acme_llm:Acne": "module 'acme_llm' has no 'Acne' (did you mean 'Acme'?)",
        "acme_llm:Other": "it is no ProviderBase; derive it from amas.providers.BaseProvider",
        "acme_llm:NUMBER": "it is a int, and makes no provider",
        "acme_llm:Half": "not complete; add `async def _probe`, `async def generate`",
        "acme_llm:Plain": "its generate is awaited, and is not async; write `async def generate`",
        "acme_llm:Whole": "its stream returns, and is to be iterated; `yield` the pieces in it",
        "acme_llm:Alone": "it makes no provider when it is called with a ProviderConfig; name a",
        "acme_llm:later": "it makes no provider when it is called with a ProviderConfig; name a",
        "os:getcwd": "it makes no provider when it is called with a ProviderConfig; name a class",
        "acme_llm.py:Acme": "it is no name of a module; write acme_llm:Acme, without .py",
        "nope:Nope": "there is no module 'nope'; install",
        "acme_boom:X": "RuntimeError: no licence (acme_boom.py:1 in <module>)",
        "acme_exits:X": "SystemExit: no licence (acme_exits.py:1 in <module>)",
        "acme_needs:X": "ModuleNotFoundError: No module named 'acme_that_is_gone'",
    }
    if isolation == "process":  # the words are the same, and each takes a process
        wrong = dict(list(wrong.items())[:2])
    rows = {
        f"p{number}": {"adapter": where, "isolation": isolation, "options": {"number": 1}}
        for number, where in enumerate(wrong)
    }
    found = problems(folder, rows)
    assert len(found) == len(wrong)
    for number, (line, (where, what)) in enumerate(zip(found, wrong.items(), strict=True)):
        column = 18 + len(str(number))
        assert line.startswith(f"{number + 3}:{column}: providers.llm.p{number}.adapter: {where!r}")
        assert what in line


@pytest.mark.parametrize("isolation", ["process", "none"])
async def test_a_mistake_in_an_adapter_has_its_place_and_is_made_once(isolation: str) -> None:
    """File, line and function of the adapter; asking it again would not help."""
    row = {"adapter": "acme_llm:Buggy", "isolation": isolation}
    async with ProviderManager.from_config({"providers": {"llm": {"acme": row}}}) as manager:
        with pytest.raises(AllProvidersFailedError) as raised:
            await manager.generate("hi")
    line = dedent(MODULE).splitlines().index('        return data["txt"]') + 1
    assert [error.message for error in raised.value.errors] == [
        f"unexpected KeyError: 'txt' (acme_llm.py:{line} in text_of)"
    ]
    assert raised.value.attempts[0]["outcome"] == "bad_response"


@pytest.mark.parametrize("isolation", ["process", "none"])
def test_a_model_that_fails_at_checking_is_named(folder: Path, isolation: str) -> None:
    """Whatever a validator of somebody else's raises is a problem of its row."""
    options = {"number": 1}
    row = {"adapter": "acme_llm:Strict", "isolation": isolation, "options": options}
    (line,) = problems(folder, {"acme": row})
    assert "providers.llm.acme.options: cannot be checked by its adapter: KeyError" in line
    assert line.startswith("3:")


def test_an_adapter_is_written_in_one_form_and_beside_no_provider(folder: Path) -> None:
    """What LiteLLM would be told has no meaning for it."""
    rows = {
        "a": {"adapter": "acme_llm.Acme"},
        "b": {"adapter": "acme_llm:Acme", "provider": "openai"},
    }
    first, second = problems(folder, rows)
    assert first == (
        "3:18: providers.llm.a.adapter: must have the form package.module:Class; write for"
        ' example `adapter: "acme_llm.provider:AcmeProvider"`'
    )
    assert second.startswith("4:18: providers.llm.b.adapter: adapter excludes provider")


@pytest.mark.parametrize(
    ("module", "why"),
    [("acme_ends", "its process ended without an answer"), ("acme_hangs", "come to an end within")],
)
def test_code_that_ends_or_hangs_holds_nobody_up(
    module: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is killed after a while, and nothing of it is left."""
    monkeypatch.setattr(inspection, "_SECONDS", 0.7)
    with pytest.raises(ProviderConfigError, match=why) as raised:
        inspection.inspect(f"{module}:X", ProviderConfig("x", adapter=f"{module}:X"))
    assert raised.value.field == "adapter"


def test_a_row_that_is_switched_off_is_not_tried() -> None:
    """Nor is its code imported."""
    row = {"adapter": "acme_boom:X", "enabled": False}
    settings, _ = read_configuration({"providers": {"llm": {"acme": row}}})
    assert settings.llm["acme"].adapter == "acme_boom:X"


@dataclass
class _Plain:
    """Options as a dataclass."""

    region: str
    seats: int = 1


class _Open(BaseModel):
    """Options that take whatever comes."""

    model_config = ConfigDict(extra="allow")


def test_options_may_be_a_dataclass_or_take_any_key() -> None:
    """Keys that there are not are mistakes unless the model says otherwise."""
    assert parse_options(_Plain, {"region": "eu"}, provider="x") == _Plain("eu")
    assert parse_options(_Open, {"any": 1}, provider="x").model_extra == {"any": 1}
    with pytest.raises(OptionsError) as raised:
        parse_options(_Plain, {"regoin": "eu"}, provider="x")
    assert [(item.path, item.kind) for item in raised.value.mistakes] == [
        (("region",), "missing"),
        (("regoin",), "extra_forbidden"),
    ]
    assert raised.value.mistakes[1].names == ("region", "seats")


def test_options_that_are_no_model_are_the_adapters_mistake() -> None:
    """It says so, and how to put it right."""

    class Options:
        """Neither a model nor a dataclass."""

    with pytest.raises(ProviderConfigError, match=r"is no model: .* pydantic model or a dataclass"):
        parse_options(Options, {}, provider="x")


def test_a_function_may_make_the_provider() -> None:
    """It gets the row; what it makes has to be a provider."""
    where = f"{__name__}:_made"
    factory = find_factory(where)
    check_options(factory, ProviderConfig("x"))
    assert make_provider(factory, where, ProviderConfig("x")).name == "x"
    with pytest.raises(ProviderConfigError, match="makes a NoneType, not a ProviderBase"):
        make_provider(lambda _config: None, where, ProviderConfig("x"))


def _made(config: ProviderConfig) -> FakeProvider:
    return FakeProvider(config.name)
