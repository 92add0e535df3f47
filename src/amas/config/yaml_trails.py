"""Ways through the nodes of a YAML file, as its text has them: anchors and ``<<`` not yet followed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

from .document import Path
from .yaml_nodes import TAG, UNBRACES


def entries_of(node: yaml.MappingNode) -> list[tuple[Any, Any]]:
    """Return the entries that a mapping has in effect: its own, then what ``<<`` brings."""
    found: dict[Any, tuple[Any, Any]] = {}
    seen: set[int] = set()
    left: list[yaml.Node] = [node]
    while left:
        each = left.pop()
        if id(each) in seen or not isinstance(each, yaml.MappingNode):
            continue
        seen.add(id(each))
        merged: list[yaml.Node] = []
        for key, value in each.value:
            if key.tag == TAG + "merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                found.setdefault(name_of(key), (key, value))
        left += reversed(merged)
    return list(found.values())


def reachable(nodes: list[Any]) -> set[int]:
    """Return the identities of all nodes that stand in some, through anchors and ``<<`` too."""
    found: set[int] = set()
    left = [*nodes]
    while left:
        node = left.pop()
        if id(node) in found:
            continue
        found.add(id(node))
        if isinstance(node, yaml.MappingNode):
            left += [each for entry in node.value for each in entry]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value
    return found


def count_uses(root: yaml.Node) -> Counter[int]:
    """Count by how many places each node is used."""
    uses: Counter[int] = Counter()
    left = [root]
    while left:
        node = left.pop()
        inner = node.value if isinstance(node, yaml.SequenceNode) else ()
        if isinstance(node, yaml.MappingNode):
            inner = [each for entry in entries_of(node) for each in entry]
        for child in inner:
            uses[id(child)] += 1
            if uses[id(child)] == 1:
                left.append(child)
    return uses


def trail_of(node: Any, path: Path) -> list[Any]:
    """Return the nodes on the way to a value that is there, the value last."""
    trail = []
    for part in path:
        if isinstance(part, int):
            node = node.value[part]
        else:
            node = next(value for key, value in entries_of(node) if name_of(key) == part)
        trail.append(node)
    return trail


def name_of(key: yaml.Node) -> Any:
    """Return the text of a key; what stands for one that is no text."""
    return key.value.translate(UNBRACES) if isinstance(key, yaml.ScalarNode) else id(key)


def child_of(node: Any, part: str | int) -> tuple[Any, Any] | None:
    """Return the key and the value of an entry of a mapping, or an item of a list, if it is there."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return (None, node.value[part]) if part < len(node.value) else None
    entries = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((entry for entry in entries if name_of(entry[0]) == part), None)


def end_of(key: Any, node: Any) -> int:
    """Return where the last thing of a node ends; that of its key, if nothing is written there."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        key, node = last if isinstance(last, tuple) else (key, last)
    begin, end = node.start_mark.index, node.end_mark.index
    return int(end if end > begin or key is None else key.end_mark.index)
