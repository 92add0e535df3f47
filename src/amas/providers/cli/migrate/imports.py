"""Imports, calls and names of known modules, put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .findings import Source
from .module_names import Place
from .vocabulary import Module, address, variable, vocabulary


@dataclass(frozen=True, slots=True)
class Imported:
    """What a ``from … import …`` asks for.

    Args:
        module: The absolute name of the module or package.
        names: What is taken from it.
        is_relative: Whether dots stood in front.
    """

    module: str
    names: Sequence[str]
    is_relative: bool = False


def report_import(
    source: Source, at: int, dotted: str, place: Place, *, certain: bool = True
) -> bool:
    """Take down an ``import a.b``, or a module loaded by its name.

    Returns:
        Whether it was one to be taken down.
    """
    match = vocabulary().find(dotted)
    if match is None:
        return False
    module = match.module
    if module.is_sdk:
        if module.only or place.is_local(dotted):
            return False
    elif match.rest or module.file is None:
        return False
    source.add(at, "import", module, f"imports {module.key}", module.do, certain=certain)
    return True


def report_names(
    source: Source, at: int, imported: Imported, place: Place, *, certain: bool = True
) -> Mapping[Module, Sequence[str]]:
    """Take down a ``from a.b import c``: one finding for each known module in it.

    Returns:
        The known modules, and the names taken from each.
    """
    known: dict[Module, list[str]] = {}
    for name in imported.names:
        for module in _meant(imported, name, place):
            known.setdefault(module, []).append(name)
    for module, names in known.items():
        source.add(
            at, "import", module, f"imports {', '.join(names)} from {module.key}", module.todo(names),
            certain=certain,
        )  # fmt: skip
    return known


def _meant(imported: Imported, name: str, place: Place) -> Sequence[Module]:
    """Find the known modules that a name of an import comes from."""
    if name == "*":
        offered = list(vocabulary().offered(imported.module))
        match = vocabulary().find(imported.module)
        return [match.module] if match and not match.rest else offered
    match = vocabulary().find(f"{imported.module}.{name}")
    if match is None:
        return ()
    module, rest = match.module, match.rest
    if module.is_sdk:
        if imported.is_relative or place.is_local(imported.module):
            return ()
        return [module] if not rest or module.counts(rest[0]) else ()
    if len(rest) > 1 or (rest and not module.counts(rest[0])) or not (rest or module.file):
        return ()
    return [module]


def report_call(source: Source, at: int, method: str, module: Module, *, certain: bool) -> None:
    """Take down a call on an instance of an old module."""
    source.add(
        at, "call", module, f"calls {method}() of {module.key}",
        module.methods.get(method, module.do), certain=certain,
    )  # fmt: skip


def report_address(source: Source, at: int, text: str) -> None:
    """Take down an address, if a vendor's API lies there."""
    entry = address(text)
    if entry is not None:
        source.add(
            at, "address", entry.name, f"address of {entry.title}",
            f"ask manager.generate(…), with the provider `{entry.name}` in the providers: section",
            section="http",
        )  # fmt: skip


def report_variable(source: Source, at: int, name: str) -> bool:
    """Take down a variable, if an old module or a vendor's SDK reads it.

    Returns:
        Whether it is one of those.
    """
    word = variable(name)
    if word is None:
        return False
    source.add(at, "variable", name, f"variable {name}", word, section="variables")
    return True
