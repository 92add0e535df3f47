"""What the row of a new provider has to say. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self
from urllib.parse import urlsplit

from ....config.document import label
from ....config.references import References
from ....config.resolution import is_plaintext, is_secret
from ....config.section import NAME
from ....config.yaml_edit import Row
from ...errors import ProviderConfigError, suggestion
from ...llm.catalog import CatalogEntry, by_prefix, catalog, resolve
from ...security.addresses import Reach, is_loopback, literal, reach_of

NO_KEY: Final = "none"
CUSTOM: Final = "custom"
"""The catalogue's row for any OpenAI-compatible server."""

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody says of a provider to add.

    Args:
        name: A name of the catalogue, a prefix of LiteLLM, or any with a ``base_url``.
        row_name: What the row is to be called; the name, if None.
        model: Its model; the catalogue's, if None.
        base_url: Its address; the catalogue's, if None.
        key_from: Variable that has its key; ``none`` if it wants none; None to find out.
        keyed: Whether its key comes in another way, so that it surely wants one.
        local: Whether it is said to be a server of one's own.
        options: LiteLLM's own parameters for it, each as ``name=value``.
    """

    name: str
    row_name: str | None = None
    model: str | None = None
    base_url: str | None = None
    key_from: str | None = None
    keyed: bool = False
    local: bool = False
    options: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The row that follows from a wish.

    Args:
        name: What it is called.
        title: Its name for people.
        fields: What it says; the key is a reference.
        variable: The variable that its key is in; None if it wants no key.
        docs: Page where one gets a key, if that is known.
        lacks_model: Whether nothing says which model to ask.
    """

    name: str
    title: str
    fields: Row
    variable: str | None
    docs: str | None = None
    lacks_model: bool = False

    def with_model(self, model: str) -> Plan:
        """Return the plan with a model that was found out."""
        fields = {name: value for name, value in self.fields.items() if name == "provider"}
        fields |= {"model": model}
        return replace(self, fields={**fields, **self.fields, "model": model}, lacks_model=False)

    def with_key(self, text: str) -> Plan:
        """Return the plan with another text in the place of the key."""
        return replace(self, fields={**self.fields, "api_key": text})

    def without(self, field: str) -> Self:
        """Return the plan without a field."""
        rest = {name: value for name, value in self.fields.items() if name != field}
        return replace(self, fields=rest)


def plan(wish: Wish, environ: Mapping[str, str]) -> Plan:
    """Make the row of a provider.

    Args:
        wish: What is said of it.
        environ: The variables; the first of the catalogue that is set has the key.

    Returns:
        The row, as short as it can be.

    Raises:
        ProviderConfigError: Nobody knows this provider, or a name is none.
    """
    name = wish.name if wish.row_name is None else wish.row_name
    for text in {wish.name, name}:
        if not NAME.fullmatch(text):
            raise ProviderConfigError(
                "a provider's name begins with a letter or digit and has at most 64 letters, digits"
                " and _ . -"
            )
    entry, provider = _known(wish)
    variable = _variable(wish, entry, environ)
    fields: dict[str, str | bool | Mapping[str, str]] = {}
    if name != (entry.name if entry else "") or _misread(wish.model, entry):
        fields["provider"] = provider
    if model := wish.model or (entry and entry.default_model):
        fields["model"] = model
    if wish.base_url:
        fields["base_url"] = wish.base_url
    if variable is not None:
        fields["api_key"] = f"${{{variable}}}"
    elif wish.key_from == NO_KEY or provider == CUSTOM:
        fields["api_key"] = NO_KEY
    # Without a key it counts as one's own anyway, and so does what the catalogue says runs there.
    if wish.local or (variable and _is_private(wish.base_url) and not (entry and entry.local)):
        fields["local"] = True
    if wish.options:
        fields["options"] = dict(_option(name, text) for text in wish.options)
    return Plan(
        name=name,
        title=_title(entry, provider),
        fields=fields,
        variable=variable,
        docs=entry.docs if entry else None,
        lacks_model=not model,
    )


def _known(wish: Wish) -> tuple[CatalogEntry | None, str]:
    """Return the row of the catalogue that is meant, if one is, and the word for ``provider``."""
    entry = by_prefix(wish.name)
    if entry is not None:
        return entry, entry.name
    if wish.name in catalog().others:
        return None, wish.name
    if wish.base_url:
        return by_prefix(CUSTOM), CUSTOM
    known = [*catalog().prefixes, *catalog().others]
    raise ProviderConfigError(
        f"neither the catalogue nor LiteLLM knows {label(wish.name)!r}{suggestion(wish.name, known)};"
        " look with `amas-providers providers catalog --search WORD`, or give the address of an"
        " OpenAI-compatible server with --base-url"
    )


def _variable(wish: Wish, entry: CatalogEntry | None, environ: Mapping[str, str]) -> str | None:
    """Return the variable that the key is in, whether it is set or not."""
    if wish.key_from == NO_KEY:
        return None
    if wish.key_from is not None:
        if not _VARIABLE.fullmatch(wish.key_from):
            # Not repeated: it may be the key itself.
            raise ProviderConfigError(
                "--key-from takes the name of an environment variable, or none; a key is never an"
                " argument: export it, and give the variable's name"
            )
        return wish.key_from
    own = re.sub(r"[^A-Z0-9]", "_", (wish.row_name or wish.name).upper()) + "_API_KEY"
    names = entry.env if entry and entry.name != CUSTOM else (own,)
    for name in names:
        if environ.get(name, "").strip():
            return name
    # An unknown server in the internet wants a key, whatever the catalogue's row for any allows.
    public = entry is not None and entry.name == CUSTOM and not _is_own(wish.base_url)
    if entry and entry.key != "required" and not public and not wish.keyed:
        return None
    return names[0] if names else own


def _option(row: str, text: str) -> tuple[str, str]:
    """Take ``name=value`` apart; neither is repeated, since it may be a credential."""
    name, equals, value = text.partition("=")
    if not (_VARIABLE.fullmatch(name) and equals and value):
        raise ProviderConfigError("--option takes NAME=VALUE, such as api_version=2024-10-21")
    path = ("llm", row, "options", name)
    if is_secret(path) and is_plaintext(value, path, References({}, {}, "")):
        raise ProviderConfigError(
            f"the option {label(name)} is a credential: export it, and give a reference to the"
            f" variable: --option '{label(name)}=${{VARIABLE}}'"
        )
    return name, value


def _misread(model: str | None, entry: CatalogEntry | None) -> bool:
    """Tell whether a model's own prefix would lead to another vendor than the row's name."""
    if entry is None or model is None:
        return entry is None
    return resolve(entry.name, model).entry is not entry


def _is_own(base_url: str | None) -> bool:
    """Tell whether an address is surely that of a server of one's own."""
    return is_loopback(_host(base_url)) or _is_private(base_url)


def _is_private(base_url: str | None) -> bool:
    """Tell whether an address is refused unless it is said to be a server of one's own."""
    host = _host(base_url)
    if not host or is_loopback(host):
        return False
    address = literal(host)
    private = address is not None and reach_of(address)[0] is not Reach.PUBLIC
    return private or (base_url or "").strip().lower().startswith("http:")


def _host(base_url: str | None) -> str:
    try:
        return urlsplit((base_url or "").strip()).hostname or ""
    except ValueError:  # said properly when the row is checked
        return ""


def _title(entry: CatalogEntry | None, provider: str) -> str:
    if entry is None:
        return f"{provider}, by LiteLLM"
    return "OpenAI-compatible server" if entry.name == CUSTOM else entry.title
