"""The known providers: `catalog.yaml`, read, checked and looked up.

The file is data and documents its fields in its header; this module holds the rules by which a configured provider
finds its row. It does not import LiteLLM.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from ..errors import ProviderConfigError
from ..types import Capability
from .cloud import CloudName

AuthHeader = Literal["authorization", "x-api-key", "x-goog-api-key", "api-key"]
Route = Literal["openai_sdk", "http", "anthropic", "gemini"]
KeyNeed = Literal["required", "optional", "none"]

_STRICT = ConfigDict(extra="forbid", strict=True)
_Address = Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*[^/?#\s])?$")]
_RelativePath = Annotated[str, Field(pattern=r"^(\.\./)*[\w-]+(/[\w-]+)*$")]


def _pairs(value: object) -> object:
    """Turn a mapping into pairs: they can be hashed and keep their order."""
    if not isinstance(value, dict):
        raise ValueError("must be a mapping of texts to texts")  # noqa: TRY004 -- pydantic's contract
    return tuple(value.items())


_Pairs = Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One row of the catalogue; the header of `catalog.yaml` says what each field means."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    title: str
    litellm_provider: str
    prefixes: tuple[str, ...] = ()
    base_url: _Address | None = None
    api_root: str = "/v1"
    rewrite: _Pairs = ()
    chat_path: str = "/chat/completions"
    models_path: _RelativePath | None = None
    models_check_key: bool = True
    auth_header: AuthHeader = "authorization"
    key: KeyNeed = "required"
    env: tuple[str, ...] = ()
    cloud: CloudName | None = None
    by_option: _Pairs = ()
    local: bool = False
    aggregator: bool = False
    native_ids: tuple[str, ...] = ()
    default_model: str | None = None
    context_window: PositiveInt | None = None
    prices: str | None = None
    capabilities: frozenset[Capability] = frozenset({Capability.STREAM})
    embedding_model: str | None = None
    end_marker: str | None = None
    embed_via: str | None = None
    embed_path: str = ""
    docs: str | None = None
    route: Route = "openai_sdk"
    detour: str | None = None

    @property
    def own_prefixes(self) -> frozenset[str]:
        """Prefixes that, before a model, mean this very row.

        The protocol's prefix (``openai/…``) is one of them, except where model ids themselves look like that.
        """
        own = {self.name, *self.prefixes}
        if not (self.aggregator and self.litellm_provider == "openai"):
            own.add(self.litellm_provider)
        return frozenset(own)

    def strip_prefix(self, model: str) -> str:
        """Return the vendor's model id for a model that may carry one of this row's prefixes."""
        prefix, slash, rest = model.partition("/")
        is_native = any(glob(pattern).fullmatch(model) for pattern in self.native_ids)
        return rest if slash and prefix in self.own_prefixes and not is_native else model


@dataclass(frozen=True, slots=True)
class Catalog:
    """The whole file.

    Args:
        entries: The rows by name, in the order of the file.
        prefixes: Prefix of a model, to the row it means.
        others: Further LiteLLM prefixes.
        endpoints: Endings of full request addresses, cut off every base URL.
    """

    entries: Mapping[str, CatalogEntry]
    prefixes: Mapping[str, CatalogEntry]
    others: frozenset[str]
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a configured provider's requests go.

    Args:
        litellm_provider: LiteLLM's ``custom_llm_provider``.
        model: The vendor's model id, without LiteLLM's prefix.
        entry: The row of the catalogue; None for a LiteLLM provider that has none.
    """

    litellm_provider: str
    model: str
    entry: CatalogEntry | None


def load_catalog() -> Mapping[str, CatalogEntry]:
    """Return the rows by name, in the order of the file; read once.

    Raises:
        ProviderConfigError: The file is damaged.
    """
    return catalog().entries


def lookup(name: str) -> CatalogEntry | None:
    """Return the row of that name, if there is one."""
    return catalog().entries.get(name)


def for_options(entry: CatalogEntry, options: Mapping[str, object]) -> CatalogEntry:
    """Return the row that a provider's options turn a row into; mostly that row itself.

    The variables of the row that was named stay: they are what a user has at hand.
    """
    for option, name in entry.by_option:
        if option in options:
            return replace(catalog().entries[name], env=entry.env)
    return entry


def by_prefix(prefix: str) -> CatalogEntry | None:
    """Return the row that a model written ``prefix/model`` means: by the row's name or a LiteLLM prefix."""
    return catalog().prefixes.get(prefix)


def from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """Build the ``llm:`` section for every provider whose key variable is set.

    Rows that need more than a key (an address or a model) are left out.

    Args:
        environ: The environment's variables.

    Returns:
        Provider name to its configuration, in catalogue order. The key is a reference such as ``${GROQ_API_KEY}``,
        never the key itself.
    """
    section: dict[str, dict[str, object]] = {}
    for entry in catalog().entries.values():
        name = next((name for name in entry.env if environ.get(name, "").strip()), None)
        if name and entry.base_url and entry.default_model:
            section[entry.name] = {"api_key": f"${{{name}}}"}
    return section


def resolve(name: str, model: str | None = None, provider: str | None = None) -> Resolved:
    """Find out which LiteLLM provider and which model a configured provider means.

    An explicit ``provider`` wins. Else the row of this name stands if the model's prefix is its own, or if its model
    ids contain slashes anyway. Else a known prefix wins, else the row of this name.

    Args:
        name: The provider's name in the configuration.
        model: Its ``model``, with or without a prefix; None takes the row's default.
        provider: Its ``provider``: the name of a row or a LiteLLM prefix.

    Raises:
        ProviderConfigError: Nothing says which service is meant, or which model.
    """
    if provider is not None:
        return _resolved(name, provider, model)
    own = lookup(name)
    prefix, slash, _ = (model or "").partition("/")
    if slash and _is_known(prefix) and not (own and (own.aggregator or prefix in own.own_prefixes)):
        return _resolved(name, prefix, model)
    if own is not None:
        return _resolved(name, name, model)
    raise ProviderConfigError(
        f"nothing says which service this is: {name!r} is not in the catalogue and "
        + (f"the model {model!r} begins with no known provider" if model else "no model is given")
        + f". Write `model: <provider>/<model>` or `provider: <provider>`{_close_matches(name, prefix)}; "
        "for any OpenAI-compatible server, `provider: openai` with its base_url",
        provider=name,
        field="provider",
    )


def _resolved(name: str, target: str, model: str | None) -> Resolved:
    """Resolve against the row or LiteLLM provider ``target``."""
    entry = by_prefix(target)
    if entry is not None:
        model = entry.strip_prefix(model) if model else entry.default_model
    elif target not in catalog().others:
        raise ProviderConfigError(
            f"unknown provider {target!r}{_close_matches(target)}; for any OpenAI-compatible server, "
            "write `provider: openai` with its base_url",
            provider=name,
            field="provider",
        )
    elif model is not None:
        model = model.removeprefix(f"{target}/")
    if not model:
        raise ProviderConfigError(
            f"there is no default model for {target!r}: write `model:` with the vendor's name of it",
            provider=name,
            field="model",
        )
    if entry is not None:
        return Resolved(entry.litellm_provider, model, entry)
    return Resolved(target, model, None)


def _is_known(prefix: str) -> bool:
    return prefix in catalog().prefixes or prefix in catalog().others


def _close_matches(*words: str) -> str:
    known = [*catalog().prefixes, *catalog().others]
    found = dict.fromkeys(
        match for word in words for match in difflib.get_close_matches(word, known, cutoff=0.7)
    )
    return f" (did you mean {', '.join(found)}?)" if found else ""


@cache
def glob(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in which ``*`` stands for one path segment."""
    return re.compile(re.escape(pattern).replace(r"\*", "[^/]+"))


# --- reading the file ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _File:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    endpoints: tuple[str, ...]
    providers: dict[str, dict[str, Any]]
    other_litellm_providers: tuple[str, ...]


@cache
def catalog() -> Catalog:
    """Return the whole catalogue; read once."""
    return parse_catalog(files(__package__).joinpath("catalog.yaml").read_text(encoding="utf-8"))


def parse_catalog(text: str) -> Catalog:
    """Read and check a catalogue.

    Args:
        text: YAML in the form of `catalog.yaml`.

    Raises:
        ProviderConfigError: A row has an unknown field or a wrong value; says which.
    """
    try:  # the C loader is ten times faster; PyYAML may have been built without it
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        raise ProviderConfigError(f"catalog.yaml is not YAML: {error}") from None
    file: _File = _validated(_adapter(_File), document, "")
    rows = file.providers
    entries = {name: _entry(name, rows) for name in rows}
    prefixes = dict(entries)
    for entry in entries.values():
        for prefix in entry.prefixes:
            if prefix in prefixes:
                raise ProviderConfigError(
                    f"catalog.yaml: providers.{entry.name}.prefixes: {prefix!r} is already taken"
                )
            prefixes[prefix] = entry
    return Catalog(
        entries=MappingProxyType(entries),
        prefixes=MappingProxyType(prefixes),
        others=frozenset(file.other_litellm_providers),
        endpoints=file.endpoints,
    )


def _entry(name: str, rows: Mapping[str, dict[str, Any]]) -> CatalogEntry:
    where = f"providers.{name}"
    row = dict(rows[name])
    base = row.pop("like", None)
    values: dict[str, Any] = {"litellm_provider": name}
    if base is not None:
        if "like" in rows.get(base, {"like": None}):
            raise ProviderConfigError(
                f"catalog.yaml: {where}.like: must name a row that has no `like` itself"
            )
        inherited = {"litellm_provider": base} | rows[base]
        values = {key: inherited[key] for key in inherited.keys() - {"env", "prefixes", "title"}}
    values |= row
    if values["litellm_provider"] != "openai":
        values.setdefault("prices", values["litellm_provider"])
    if isinstance(address := values.get("base_url"), str):
        values.setdefault("api_root", urlsplit(address).path)
    entry: CatalogEntry = _validated(_adapter(CatalogEntry), values | {"name": name}, where)
    return entry


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _validated(adapter: TypeAdapter[Any], value: object, where: str) -> Any:
    """Check a value as strict JSON: there a list may become a tuple, but no text a number."""
    try:
        return adapter.validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        problems = [
            "catalog.yaml: "
            + ".".join([where, *map(str, problem["loc"])]).strip(".")
            + f": {problem['msg']}"
            for problem in error.errors(include_url=False)
        ]
    raise ProviderConfigError(problems=problems)
