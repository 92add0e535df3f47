"""What the scanner knows, read from ``vocabulary.yaml`` and the catalogue of vendors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import yaml

from ...llm.catalog import CatalogEntry, load_catalog

# No name that anybody imports has as many.
_MAX_PARTS = 200

_MAKERS = frozenset({"class", "factory"})


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """An old module or a vendor's SDK; the head of ``vocabulary.yaml`` says what the fields mean."""

    key: str
    section: str
    do: str
    is_sdk: bool = False
    packages: Sequence[str] = ("",)
    loose: Sequence[str] = ()
    reexports: Sequence[str] = ()
    file: str | None = None
    distinctive: bool = False
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    only: Sequence[str] = ()
    own: Sequence[str] = ()
    methods: Mapping[str, str] = field(default_factory=dict)
    gives: Sequence[str] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    called: Sequence[str] = ()
    attribute_called: bool = True
    accessors: Sequence[str] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False

    def counts(self, name: str) -> bool:
        """Whether a name of this module matters."""
        return not self.only or any(fnmatchcase(name, pattern) for pattern in self.only)

    def makes(self, name: str) -> bool:
        """Whether calling this name gives an instance."""
        if self.is_sdk:
            return name[:1].isupper()
        return self.names.get(name, {}).get("is") in _MAKERS

    def todo(self, names: Sequence[str]) -> str:
        """Say what is to be done about an import of these names."""
        words = dict.fromkeys(self.names[name]["do"] for name in names if name in self.names)
        # One name has its own word; several have the module's, unless one of them is missing there.
        return next(iter(words)) if len(words) == 1 else self.do


@dataclass(frozen=True, slots=True)
class Match:
    """A dotted name that leads into a known module.

    Args:
        module: The module.
        rest: What follows its name: ``("LLMService",)``.
    """

    module: Module
    rest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All that is known."""

    sections: Mapping[str, str]
    modules: Mapping[str, Module]
    asks: frozenset[str]
    errors: Mapping[str, str]
    variables: Mapping[str, str]
    companions: frozenset[str]
    by_name: Mapping[str, Sequence[Module]]
    keys: Mapping[str, Module]

    def find(self, dotted: str) -> Match | None:
        """Find the module that an absolute dotted name names, or leads into."""
        parts = tuple(dotted.split("."))
        if len(parts) > _MAX_PARTS:
            return None
        for length in range(len(parts), 0, -1):
            package, rest = ".".join(parts[:length]), parts[length:]
            for module in self.by_name.get(parts[length - 1], ()):
                if _names(module, package, rest) and _leads_somewhere(module, rest):
                    return Match(module, rest)
            if len(rest) == 1 and (offered := self._reexports(package, rest[0])):
                return Match(offered, rest)
        return None

    def offered(self, package: str) -> Iterator[Module]:
        """Find the modules whose names a package offers itself."""
        for module in self.modules.values():
            if any(_ends_with(package, one) for one in module.reexports):
                yield module

    def _reexports(self, package: str, name: str) -> Module | None:
        return next((one for one in self.offered(package) if name in one.names), None)


def _names(module: Module, dotted: str, rest: Sequence[str]) -> bool:
    """Whether a dotted name is this module's, as imported from one of its packages."""
    if not (dotted == module.key or dotted.endswith(f".{module.key}")):
        return False
    package = dotted[: -len(module.key)].rstrip(".")
    if any(_ends_with(package, one) for one in module.packages):
        return True
    return package in module.loose and bool(rest) and rest[0] in (module.own or module.only)


def _leads_somewhere(module: Module, rest: Sequence[str]) -> bool:
    """Whether there is such a thing in a module, as far as is known.

    The new ``amas.providers.manager`` has a module of the same name as an instance of the old one.
    """
    if len(rest) == 1 or module.names.get(rest[0] if rest else "", {}).get("is") != "instance":
        return True
    return rest[1] in {*module.methods, *module.attributes}


def _ends_with(package: str, known: str) -> bool:
    """Whether a package is a known one; one of AMAS may lie anywhere."""
    return package == known or (known.partition(".")[0] == "amas" and package.endswith(f".{known}"))


@cache
def vocabulary() -> Vocabulary:
    """Return what is known; read once."""
    text = files(__package__).joinpath("vocabulary.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    modules = {
        key: Module(key, is_sdk=is_sdk, **row)
        for is_sdk, table in ((False, data["old"]), (True, data["sdk"]))
        for key, row in table.items()
    }
    by_name: dict[str, list[Module]] = {}
    for module in modules.values():
        by_name.setdefault(module.key.rpartition(".")[2], []).append(module)
    return Vocabulary(
        sections=data["sections"],
        modules=modules,
        asks=frozenset(data["asks"]),
        errors=data["errors"],
        variables=data["variables"] | dict.fromkeys(data["ambiguous"], _AMBIGUOUS),
        companions=frozenset(data["companions"]),
        by_name=by_name,
        keys={key: module for module in modules.values() for key in module.keys},
    )


_AMBIGUOUS = (
    "old modules read it as keys of different vendors:"
    " `amas-providers migrate config --from all` tells which"
)


# --- what the catalogue knows -------------------------------------------------------------------


@cache
def variable(name: str) -> str | None:
    """Say where a variable goes now; None if it is none of ours."""
    if word := vocabulary().variables.get(name):
        return word
    if entry := _variables().get(name):
        return f"api_key: ${{{name}}} of the provider `{entry.name}` in the providers: section"
    if name.startswith("AI_") and (entry := _variables().get(name[3:])):
        return (
            f"no provider ever read it; set {name[3:]}, or write api_key: ${{{name}}}"
            f" for the provider `{entry.name}`"
        )
    return None


@cache
def _variables() -> Mapping[str, CatalogEntry]:
    return {name: entry for entry in load_catalog().values() for name in entry.env}


def address(text: str) -> CatalogEntry | None:
    """Find the vendor whose API an address belongs to."""
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    for candidate in (host, host.removeprefix("api.")):
        entry = _hosts().get(candidate)
        if entry is None:
            continue
        # A vendor's own site has other pages, too; a host of an API has nothing else.
        is_site = candidate == host and candidate.count(".") == 1
        return entry if not is_site or _first(parts.path) == _first(entry.api_root) else None
    return None


def _first(path: str) -> str:
    return path.lstrip("/").partition("/")[0]


@cache
def _hosts() -> Mapping[str, CatalogEntry]:
    hosts: dict[str, CatalogEntry] = {}
    for entry in load_catalog().values():
        if entry.base_url and not entry.local:
            hosts.setdefault(urlsplit(entry.base_url).hostname or "", entry)
    return hosts
