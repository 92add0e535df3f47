"""What the names of a Python file stand for, as far as its text tells."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, TypeAlias

from typing_extensions import override

from .module_names import Place
from .text_files import called_names
from .vocabulary import Match, vocabulary

LOADERS: Final = frozenset(
    {"import_module", "__import__", "importorskip", "find_spec", "run_module"}
)
WRAPPERS: Final = frozenset({"Optional", "Union", "Annotated", "Final", "ClassVar"})

_SIGNS: Final = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop)

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Args:
        dotted: The absolute name of a module, or of something in it.
        made: Whether it is an instance made by calling that.
        members: The attributes that lead on from the instance.
        certain: Whether the file says so; else only its name does.
    """

    dotted: str
    made: bool = False
    members: tuple[str, ...] = ()
    certain: bool = True

    @property
    def match(self) -> Match | None:
        """The known module that the name leads into."""
        return _find(self.dotted)

    def attribute(self, name: str) -> Origin:
        """Return where an attribute of it comes from."""
        longer = replace(self, dotted=f"{self.dotted}.{name}")
        if self.made:
            # A ready-made instance that has no such thing is a module of the same name.
            is_made_here = not self.members and _is_instance(self.match)
            unknown = is_made_here and longer.match is None
            return OTHER if unknown else replace(self, members=(*self.members, name))
        return replace(longer, made=True) if _is_instance(longer.match) else longer

    def called(self) -> Origin | None:
        """Return the instance that calling it makes; None if that is not known."""
        match = self.match
        if match is None:
            return None
        if not self.made:
            is_made = bool(match.rest) and match.module.makes(match.rest[-1])
            return replace(self, made=True) if is_made else None
        if len(self.members) == 1 and self.members[0] in match.module.gives:
            return replace(self, members=())
        return None


def _is_instance(match: Match | None) -> bool:
    """Whether a name is that of an instance which its module offers."""
    if match is None or len(match.rest) != 1:
        return False
    return match.module.names.get(match.rest[0], {}).get("is") == "instance"


@cache
def _find(dotted: str) -> Match | None:
    return vocabulary().find(dotted)


OTHER: Final = Origin("")
"""Something that is known to be none of ours."""

Value: TypeAlias = Origin | None
"""None if nothing is known, so that the name alone may decide."""


def _rank(value: Value) -> int:
    if value is None:
        return 0
    return 1 if value is OTHER else 2 + (value.match is not None)


class Scoped(ast.NodeVisitor):
    """Goes through a file, and knows at each place what a name stands for.

    A name has one meaning in a whole scope: of several assignments the most telling counts.

    Args:
        place: Where the file lies.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._scopes: dict[ast.AST | None, dict[str, Value]] = {None: {}}
        self._stack: list[ast.AST | None] = [None]
        self._classes: list[ast.ClassDef | None] = [None]

    @override
    def generic_visit(self, node: ast.AST) -> None:
        """Go on to what a node has, but for the marks and signs that say nothing."""
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        self.visit(item)
            elif isinstance(value, ast.AST) and not isinstance(value, _SIGNS):
                self.visit(value)

    def share(self, other: Scoped) -> None:
        """Take over what another one found out about the same tree."""
        self._scopes = other._scopes

    @contextmanager
    def _within(self, node: ast.AST) -> Iterator[None]:
        self._scopes.setdefault(node, {})
        self._stack.append(node)
        is_class = isinstance(node, ast.ClassDef)
        if isinstance(node, ast.ClassDef):
            self._classes.append(node)
        try:
            yield
        finally:
            self._stack.pop()
            if is_class:
                self._classes.pop()

    @property
    def knows_any(self) -> bool:
        """Whether a name stands for something known, or leads to it."""
        return any(
            value is not None and (value.match is not None or _leads_on(value))
            for names in self._scopes.values()
            for value in names.values()
        )

    def _bind(self, name: str, value: Value, scope: ast.AST | None) -> None:
        names = self._scopes.setdefault(scope, {})
        if name not in names or _rank(value) > _rank(names[name]):
            names[name] = value

    def _enter(self, node: Function | ast.ClassDef) -> None:
        with self._within(node):
            body = [node.body] if isinstance(node, ast.Lambda) else node.body
            for child in body:
                self.visit(child)

    @override
    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    @override
    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    @override
    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node)

    def _function(self, node: Function) -> None:
        self.visit(node.args)
        if not isinstance(node, ast.Lambda):
            for child in (*node.decorator_list, node.returns):
                if child is not None:
                    self.visit(child)
        self._enter(node)

    @override
    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(child)
        self._enter(node)

    # --- what an expression stands for ------------------------------------------------------

    def value(self, node: ast.expr | None) -> Value:
        """Find out what an expression stands for."""
        found: Value = None
        match node:
            case ast.Name(id=name):
                found = self._named(name)
            case ast.Attribute():
                found = self._attribute(node)
            case ast.Call():
                found = self._call(node)
            case ast.Await(value=inner) | ast.NamedExpr(value=inner):
                found = self.value(inner)
            case ast.IfExp(body=first, orelse=second):
                found = max(self.value(first), self.value(second), key=_rank)
            case ast.BoolOp(values=values):
                found = max(map(self.value, values), key=_rank)
            case _:
                pass
        return found

    def _named(self, name: str) -> Value:
        for scope in reversed(self._stack):
            if name in self._scopes[scope]:
                if (value := self._scopes[scope][name]) is not None:
                    return value
                break
        return by_name(name)

    def _attribute(self, node: ast.Attribute) -> Value:
        if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
            found = self._scopes[self._classes[-1]].get(f"self.{node.attr}")
            return found or by_name(node.attr, attribute=True)
        base = self.value(node.value)
        if base is None or base is OTHER or not (base.match or _leads_on(base)):
            return by_name(node.attr, attribute=True)
        return base.attribute(node.attr)

    def _call(self, node: ast.Call) -> Value:
        name = last_name(node.func)
        if name in LOADERS and (dotted := self.loaded(node)):
            # `__import__("a.b")` gives a, `import_module("a.b")` gives b.
            return Origin(dotted.partition(".")[0] if name == "__import__" else dotted)
        if found := by_name(f"{name}()"):
            return found
        base = self.value(node.func)
        if base is None:
            return OTHER if name[:1].isupper() else None
        return OTHER if base is OTHER else base.called() or (None if base.match else OTHER)

    def loaded(self, node: ast.Call) -> str | None:
        """Return the absolute name of the module that a call loads by a literal name."""
        texts = [literal(argument) for argument in node.args[:1]]
        texts += [literal(word.value) for word in node.keywords if word.arg == "name"]
        if not texts or not texts[0]:
            return None
        name = texts[0]
        if not name.startswith("."):
            return name
        packages = [literal(argument) for argument in node.args[1:2]]
        packages += [literal(word.value) for word in node.keywords if word.arg == "package"]
        bare = name.lstrip(".")
        if packages and packages[0]:
            parts = packages[0].split(".")
            above = len(name) - len(bare) - 1
            return ".".join((*parts[: len(parts) - above], bare))
        return self.place.absolute(bare, len(name) - len(bare))


def by_name(name: str, *, attribute: bool = False) -> Value:
    """Take something for an instance because of its name alone."""
    module = called_names().get(name)
    if module is None or (attribute and not module.attribute_called):
        return None
    return Origin(
        f"amas.services.{module.key}"
        if "amas.services" in module.packages
        else f"amas.{module.key}",
        made=True,
        certain=False,
    )


def last_name(node: ast.expr) -> str:
    """Return the last name of a dotted expression."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def literal(node: ast.expr | None) -> str | None:
    """Return the text of a string literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _leads_on(origin: Origin) -> bool:
    """Whether a package without a name of its own leads to a known module."""
    return not origin.made and origin.dotted in _packages()


@cache
def _packages() -> frozenset[str]:
    roots: set[str] = set()
    for module in vocabulary().modules.values():
        for package in (*module.packages, *module.loose):
            parts = [part for part in f"{package}.{module.key}".split(".") if part]
            roots |= {".".join(parts[:length]) for length in range(1, len(parts))}
    return frozenset(roots | {"src"} | {f"src.{root}" for root in roots})
