"""What a higher layer of a configuration must not do to a lower one without a word."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .document import Document, Path, Place, Source

if TYPE_CHECKING:
    from .merging import Node

_SECURITY: Final = ("security",)
_ACCESS: Final = ("security", "access")
_POLICY: Final = ("security", "plaintext_keys")
_STRICTER: Final = ("allow", "warn", "forbid")  # the later the stricter
_KEYS: Final = ("api_key", "api_keys")


class LayerRules:
    """Watches over the laying of layers.

    Args:
        document: Where problems and warnings go.
        layers: The layers, the lowest first.
        sources: What they were read from.
        known: Names of the catalogue.
    """

    def __init__(
        self,
        document: Document,
        layers: Sequence[Document],
        sources: Sequence[Source],
        known: Collection[str],
    ) -> None:
        self._document = document
        self._layers = layers
        self._sources = sources
        self._known = known
        # What decided where a row's key goes when the highest layer said one.
        self._meant: dict[str, dict[str, Any]] = {}

    def holds(self, below: Node, above: Node, path: Path) -> bool:
        """Tell whether what is below stays, whatever lies above; if so, that has been told.

        Args:
            below: What is there.
            above: What would be laid over it, or ``null``, which would remove it.
            path: Where.
        """
        if path == _POLICY:
            return self._policy(below, above)
        nothing = above.entries is None and above.value is None
        if path == _SECURITY:
            lifts = nothing and _protects(below)
        elif path == _ACCESS:
            lifts = bool(below.entries) and (nothing or above.entries == {})
        else:
            lifts = nothing and path[:2] == _ACCESS
        if lifts:
            text = f"restricts nothing, and would lift what {self._below(below, path)} says"
            text += "; write the rule out here, or remove it there"
            self._document.problem(path, text, place=self._place(above, path))
        return lifts

    def _policy(self, below: Node, above: Node) -> bool:
        old, new = (
            node.value.strip() if isinstance(node.value, str) else node.value
            for node in (below, above)
        )
        if new is None:
            new = "warn"  # the default
        if old not in _STRICTER[1:] or old == new:
            return False
        # What a variable's name stands for is not known yet: it does not loosen the strictest.
        unknown = old == _STRICTER[-1] and isinstance(new, str) and "${" in new
        if not unknown and new not in _STRICTER[: _STRICTER.index(old)]:
            return False
        text = f"{self._below(below, _POLICY)} says {old}, and the strictest holds; change it there"
        self._document.warn(_POLICY, text, place=self._place(above, _POLICY))
        return True

    def _place(self, node: Node, path: Path) -> Place:
        return self._layers[node.layer].place(path).within(self._sources[node.layer])

    def _below(self, node: Node, path: Path) -> str:
        return self._document.where(self._place(node, path)) or "a lower layer"

    def note_keys(self, root: Node, layer: Document) -> None:
        """Remember where the keys go that a layer says, once it has been laid.

        Args:
            root: The whole.
            layer: The layer.
        """
        rows = layer.data.get("llm") if isinstance(layer.data, dict) else None
        for name, row in rows.items() if isinstance(rows, dict) else ():
            if isinstance(row, dict) and any(row.get(key) is not None for key in _KEYS):
                self._meant[name] = dict(self._address(root, name))

    def report_moved_keys(self, root: Node) -> None:
        """Report the keys that would go elsewhere than the layers that say them knew.

        Args:
            root: The whole, whose places are in the document.
        """
        for name, meant in self._meant.items():
            row = _row(root, name)
            key = next((key for key in _KEYS if key in row), None)
            if key is None or row[key].value is None or row[key].value == "none":
                continue
            now = dict(self._address(root, name))
            field = next((each for each in now | meant if meant.get(each) != now.get(each)), None)
            if field is not None:
                field = "model" if field == "provider" and field not in row else field
                place = self._document.place(("llm", name, key))
                where = self._document.where(place) or "a lower layer"
                what, to = "this", "here"
                if field not in row:
                    what, to = "removing this in a higher layer", "there"
                text = (
                    f"the key comes from {where}, and {what} would send it to another address;"
                    f" write api_key {to} as well"
                )
                self._document.problem(("llm", name, field), text)

    def _address(self, root: Node, name: str) -> Iterator[tuple[str, Any]]:
        """Give what decides where a row's key goes: fields, and the vendor under ``provider``."""
        row = {
            field: node.value.strip() if isinstance(node.value, str) else node.value
            for field, node in _row(root, name).items()
            if node.value is not None
        }
        if "base_url" in row:
            yield "base_url", str(row["base_url"]).rstrip("/")
        if "adapter" in row:
            yield "adapter", row["adapter"]
        if "provider" in row:
            yield "provider", row["provider"]
        elif name in self._known:
            yield "provider", name  # its model may have any prefix
        elif self._known:
            vendor, slash, _ = str(row.get("model")).partition("/")
            yield "provider", vendor if slash else None


def _protects(security: Node) -> bool:
    """Whether a section has rules for callers, or forbids keys in files."""
    entries = security.entries or {}
    policy = entries.get(_POLICY[1])
    if policy is not None and policy.value == _STRICTER[-1]:
        return True
    access = entries.get(_ACCESS[1])
    return access is not None and bool(access.entries)


def _row(root: Node, name: str) -> dict[str, Node]:
    rows = (root.entries or {}).get("llm")
    row = rows.entries.get(name) if rows is not None and rows.entries is not None else None
    return {} if row is None or row.entries is None else row.entries
