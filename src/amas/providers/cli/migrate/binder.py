"""First pass over a Python file: which names are bound to what."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from typing_extensions import override

from .bindings import OTHER, WRAPPERS, Function, Origin, Scoped, Value, last_name, literal
from .vocabulary import vocabulary


class Binder(Scoped):
    """Takes down what each name of a file is bound to."""

    @override
    def visit_Import(self, node: ast.Import) -> None:
        """Bind what an import gives: the first part of a dotted name, or the name after `as`."""
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self._bind(name, self._imported(alias), self._stack[-1])

    def _imported(self, alias: ast.alias) -> Origin:
        match = vocabulary().find(alias.name)
        if match and match.module.is_sdk and self.place.is_local(alias.name):
            return OTHER
        if alias.asname is None:
            return Origin(alias.name.partition(".")[0])
        # What follows an old module's name can be no module of its own.
        return OTHER if match and match.rest and not match.module.is_sdk else Origin(alias.name)

    @override
    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Bind the names that are taken from a module."""
        module = self.place.absolute(node.module or "", node.level)
        if module is None:
            return
        hidden = node.level == 0 and self.place.is_local(module)
        for name, alias in self._taken(module, node):
            dotted = f"{module}.{name}"
            if hidden and self._is_sdk(dotted):
                self._bind(alias, OTHER, self._stack[-1])
            else:
                # As an attribute, since a module may offer a ready-made instance.
                self._bind(alias, Origin(module).attribute(name), self._stack[-1])

    @staticmethod
    def _taken(module: str, node: ast.ImportFrom) -> Iterator[tuple[str, str]]:
        for alias in node.names:
            if alias.name != "*":
                yield alias.name, alias.asname or alias.name
                continue
            match = vocabulary().find(module)
            modules = [match.module] if match else vocabulary().offered(module)
            for known in modules:
                yield from ((name, name) for name in known.names)

    @staticmethod
    def _is_sdk(dotted: str) -> bool:
        match = vocabulary().find(dotted)
        return match is not None and match.module.is_sdk

    @override
    def visit_Assign(self, node: ast.Assign) -> None:
        """Bind the targets of an assignment."""
        self.generic_visit(node)
        for target in node.targets:
            self._assign(target, node.value)

    @override
    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Bind the target of an assignment inside an expression."""
        self.generic_visit(node)
        self._assign(node.target, node.value)

    @override
    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Bind a name to what is assigned to it, or to what its annotation says."""
        self.generic_visit(node)
        value = self.value(node.value)
        self._target(node.target, self._annotated(node.annotation) if value is None else value)

    @override
    def visit_withitem(self, node: ast.withitem) -> None:
        """Bind the name after `as`."""
        self.generic_visit(node)
        if node.optional_vars is not None:
            self._target(node.optional_vars, self.value(node.context_expr))

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if (
            isinstance(target, ast.Tuple | ast.List)
            and isinstance(value, ast.Tuple | ast.List)
            and len(target.elts) == len(value.elts)
        ):
            for one, its in zip(target.elts, value.elts, strict=True):
                self._assign(one, its)
            return
        self._target(target, self.value(value))

    def _target(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, value, self._stack[-1])
        elif isinstance(target, ast.Attribute) and last_name(target.value) in {"self", "cls"}:
            self._bind(f"self.{target.attr}", value, self._classes[-1])

    @override
    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Bind a class: to the old class it derives from, or else to none of ours."""
        bases = [base for base in map(self.value, node.bases) if base and base.match]
        self._bind(node.name, bases[0] if bases else OTHER, self._stack[-1])
        super().visit_ClassDef(node)

    @override
    def _function(self, node: Function) -> None:
        if not isinstance(node, ast.Lambda):
            self._bind(node.name, None, self._stack[-1])
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self._bind(argument.arg, self._annotated(argument.annotation), node)
        super()._function(node)

    def _annotated(self, annotation: ast.expr | None) -> Value:
        """Return the instance that an annotation promises."""
        for name in _alternatives(annotation):
            value = self.value(name)
            if value is OTHER:
                return OTHER
            if value and (made := value.called()):
                return made
        return None


def _alternatives(annotation: ast.expr | None) -> Iterator[ast.expr]:
    """Give out the classes that an annotation allows."""
    if isinstance(annotation, ast.Name | ast.Attribute):
        yield annotation
    elif isinstance(annotation, ast.BinOp):
        yield from _alternatives(annotation.left)
        yield from _alternatives(annotation.right)
    elif isinstance(annotation, ast.Tuple):
        for element in annotation.elts:
            yield from _alternatives(element)
    elif isinstance(annotation, ast.Subscript):
        if last_name(annotation.value) in WRAPPERS:
            yield from _alternatives(annotation.slice)
    elif text := literal(annotation):
        try:
            yield from _alternatives(ast.parse(text, mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
