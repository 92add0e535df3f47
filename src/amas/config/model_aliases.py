"""Reads the section ``models:``, and checks it against the providers that there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from ..providers.base.provider_config import ProviderConfig
from ..providers.errors import ProviderConfigError
from .document import Document, Path, kind, label
from .models_schema import ModelAlias, chain_problems, split_entry
from .param_values import report_params
from .resolution import Resolver
from .section import NAME
from .short_forms import long_entry
from .validation import validate

_SECTION = "models"


@dataclass(frozen=True, slots=True)
class Rows:
    """What aliases can name.

    Args:
        names: Names of all rows of the section ``llm:``.
        enabled: Configurations of those that take part.
        check: Called with such a configuration; raises ProviderConfigError if it cannot work.
        not_configured: Returns what to say of a name that no row has.
    """

    names: Collection[str]
    enabled: Mapping[str, ProviderConfig]
    check: Callable[[ProviderConfig], None] | None
    not_configured: Callable[[str, Collection[str]], str]


def read_aliases(
    data: object, document: Document, resolver: Resolver, rows: Rows
) -> dict[str, ModelAlias]:
    """Read the section.

    Args:
        data: Its data, unresolved.
        document: Where the problems go.
        resolver: What follows its references.
        rows: What the aliases can name.

    Returns:
        The aliases that are right, by name.
    """
    if data is None:
        return {}
    if not isinstance(data, dict):
        text = f"must be a mapping, not {kind(data)}; write `name: [provider/model, …]` lines below"
        document.problem((_SECTION,), f"{text} it")
        return {}
    reader = _Reader(document, rows, data)
    written = {name: value for name, value in data.items() if reader.is_usable(name, value)}
    resolved = resolver.section(
        _SECTION, {name: long_entry(_SECTION, name, written[name], document) for name in written}
    )
    found = {name: reader.read(name, value) for name, value in resolved.items()}
    return {name: alias for name, alias in found.items() if alias is not None}


class _Reader:
    def __init__(self, document: Document, rows: Rows, aliases: Collection[str]) -> None:
        self._document = document
        self._rows = rows
        self._aliases = aliases

    def is_usable(self, name: str, value: object) -> bool:
        """Tell whether an alias can be read on; if not, it has been told why."""
        path = (_SECTION, name)
        if not NAME.fullmatch(name):
            text = (
                "the name of an alias begins with a letter or digit and has at most 64 "
                "letters, digits and _ . -; rename it"
            )
            self._document.problem(path, text, at_key=True)
        elif name in self._rows.names:
            text = (
                f"{label(name)!r} is also the name of a provider under providers.llm, and it must"
                " not mean two things; rename the alias"
            )
            self._document.problem(path, text, at_key=True)
        elif not isinstance(value, list | dict):
            text = (
                f"must be a list of providers, not {kind(value)}; write for example"
                f" `{label(name)}: [{next(iter(self._rows.names), 'provider')}/model, …]`"
            )
            self._document.problem(path, text)
        else:
            return True
        return False

    def read(self, name: str, value: object) -> ModelAlias | None:
        """Check an alias whose references have been followed."""
        path = (_SECTION, name)
        alias = validate(ModelAlias, value, path, self._document)
        if alias is None:
            return None
        for index, text in chain_problems(alias.chain, self._unknown):
            self._document.problem((*path, "chain", index), text)
        providers = [split_entry(entry)[0] for entry in alias.chain]
        configs = [self._rows.enabled[item] for item in providers if item in self._rows.enabled]
        if not configs:
            self._document.warn(path, "none of its providers is enabled, so calls by it will fail")
        report_params(alias.params, (*path, "params"), self._document)
        self._check_params(alias, path, configs)
        return alias

    def _unknown(self, provider: str) -> str | None:
        if provider in self._rows.names:
            return None
        if provider in self._aliases:
            return (
                f"{label(provider)!r} is an alias, and an alias cannot name one; write the"
                " providers that it stands for"
            )
        text = self._rows.not_configured(provider, self._rows.names)
        more = "" if text.endswith("?") else "; an entry is provider/model, or a provider alone"
        return text + more

    def _check_params(self, alias: ModelAlias, path: Path, configs: list[ProviderConfig]) -> None:
        """Check the parameters as those of each provider are."""
        check = self._rows.check
        problems: dict[str, None] = {}
        for config in configs if check and alias.params else ():
            try:
                check(replace(config, params=alias.params))  # type: ignore[misc]  # not None here
            except ProviderConfigError as error:
                if error.field == "params":
                    problems |= dict.fromkeys(error.problems)
        for text in problems:
            self._document.problem((*path, "params"), text)
