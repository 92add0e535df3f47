"""Laying the layers of a configuration over one another, every value keeping its place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from .document import Document, Path, Source
from .layer_rules import LayerRules

_ROW: Final = 2  # parts of the path of a provider's row
_KEYS: Final = (("api_key", "api_keys"), ("api_keys", "api_key"))


@dataclass(slots=True)
class Node:
    """A value, and the layer that it comes from.

    Args:
        layer: Number of the layer.
        value: What is no mapping.
        entries: The entries of a mapping.
    """

    layer: int
    value: Any
    entries: dict[str, Node] | None = None


def merge(layers: Sequence[Document], source: Source, known: Collection[str] = ()) -> Document:
    """Lay documents over one another.

    Mappings are merged; everything else replaces what is below. ``null`` removes what is
    below, and where nothing is written nothing is said. A provider's ``api_key`` removes the
    ``api_keys`` below, and the other way round. What restricts callers or keys is not lifted,
    and a key goes nowhere else than the layers that say it know: ``LayerRules``.

    Args:
        layers: The documents, the lowest first.
        source: What the result goes by.
        known: Names of the catalogue.

    Returns:
        One document: the data of all, with their places, problems and warnings.
    """
    merged = Document(None)
    merged.source = source
    sources = [replace(each.source, rank=rank) for rank, each in enumerate(layers)]
    rules = LayerRules(merged, layers, sources, known)
    root = Node(0, None)
    for index, layer in enumerate(layers):
        merged.take_notes(layer, sources[index])
        node = _tree(layer.data, index)
        if index == 0 or (root.value is None and root.entries is None):
            root = node
        elif root.entries is not None and (node.entries is not None or node.value is not None):
            root = _Layering(layer, rules).lay(root, node, ())
        rules.note_keys(root, layer)
    merged.data = _Result(merged, layers, sources).put(root, ())
    rules.report_moved_keys(root)
    return merged


def _tree(value: Any, layer: int) -> Node:
    if not isinstance(value, dict):
        return Node(layer, value)
    return Node(layer, None, {key: _tree(item, layer) for key, item in value.items()})


class _Layering:
    """Lays one document over what is there.

    Args:
        upper: The document.
        rules: What it must not do.
    """

    def __init__(self, upper: Document, rules: LayerRules) -> None:
        self._upper = upper
        self._rules = rules

    def lay(self, below: Node, above: Node, path: Path) -> Node:
        """Return what is there once one value lies over another."""
        if below.entries is None or above.entries is None:
            return above
        if len(path) == _ROW and path[0] == "llm":
            _drop_other_keys(below.entries, above.entries)
        for key, node in above.entries.items():
            where = (*path, key)
            old = below.entries.get(key)
            if old is None:
                below.entries[key] = node
            elif self._is_blank(node, where) or self._rules.holds(old, node, where):
                continue
            elif node.entries is not None or node.value is not None:
                below.entries[key] = self.lay(old, node, where)
            else:
                del below.entries[key]
        return below

    def _is_blank(self, node: Node, path: Path) -> bool:
        """Whether nothing is written where a value would stand; its place is then its key's."""
        if node.entries is not None or node.value is not None:
            return False
        place = self._upper.place(path)
        return place.column > 0 and place == self._upper.place(path, at_key=True)


def _drop_other_keys(below: dict[str, Node], above: dict[str, Node]) -> None:
    said = [key for key in ("api_key", "api_keys") if key in above and above[key].value is not None]
    for mine, other in _KEYS:
        if said == [mine]:
            below.pop(other, None)


class _Result:
    """Writes values and places into the merged document.

    Args:
        document: Where they go.
        layers: Where they come from.
        sources: What the layers were read from.
    """

    def __init__(
        self, document: Document, layers: Sequence[Document], sources: Sequence[Source]
    ) -> None:
        self._document = document
        self._layers = layers
        self._sources = sources

    def put(self, node: Node, path: Path) -> Any:
        """Note the places of a value and return it."""
        self._mark(node.layer, path)
        if node.entries is not None:
            return {key: self.put(item, (*path, key)) for key, item in node.entries.items()}
        self._mark_items(node.value, node.layer, path)
        return node.value

    def _mark_items(self, value: Any, layer: int, path: Path) -> None:
        entries = value.items() if isinstance(value, dict) else ()
        for key, item in enumerate(value) if isinstance(value, list) else entries:
            self._mark(layer, (*path, key))
            self._mark_items(item, layer, (*path, key))

    def _mark(self, layer: int, path: Path) -> None:
        document, source = self._layers[layer], self._sources[layer]
        key, value = (document.place(path, at_key=each).within(source) for each in (True, False))
        self._document.mark(path, key=key, value=value)
