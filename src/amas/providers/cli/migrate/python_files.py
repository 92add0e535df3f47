"""Uses in Python files, read from their syntax tree; nothing is imported or executed."""

from __future__ import annotations

import ast
import re
import warnings

from typing_extensions import override

from .binder import Binder
from .bindings import LOADERS, OTHER, Origin, Scoped, last_name, literal
from .findings import Source
from .imports import Imported, report_call, report_import, report_names, report_variable
from .module_names import Place
from .text_files import Part, report_dotted, scan_text
from .vocabulary import Match, vocabulary

_DOTTED = re.compile(r"[A-Za-z_]\w*(?:[.:][A-Za-z_]\w*)*")
_PATCHERS = frozenset({"patch", "setattr", "delattr", "resolve_name", "import_string"})
_READERS = frozenset({"get", "pop", "setdefault"})
_VARIABLES = frozenset({"getenv", "get_api_key", "setenv", "delenv"})


class NotReadableError(Exception):
    """Python's parser cannot read the file; the message says why."""


def scan_python(source: Source, place: Place) -> None:
    """Take down what a Python file uses.

    Args:
        source: Its text.
        place: Where it lies.

    Raises:
        NotReadableError: It is no Python, or nested too deeply.
    """
    if "\0" in source.text:
        raise NotReadableError("no Python: it has NUL bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the scanned code, which is not ours
            tree = ast.parse(source.text)
        binder = Binder(place)
        binder.visit(tree)
        if binder.knows_any:
            # Once more, since a method may use what a later one assigns.
            binder.visit(tree)
        reader = _Reader(source, place)
        reader.share(binder)
        reader.visit(tree)
    except SyntaxError as error:
        raise NotReadableError(f"syntax error in line {error.lineno or 1}") from None
    except ValueError:  # characters that are none
        raise NotReadableError("no Python") from None
    except (RecursionError, MemoryError):
        raise NotReadableError("nested too deeply") from None


class _Reader(Scoped):
    """Second pass: takes down the uses."""

    def __init__(self, source: Source, place: Place) -> None:
        super().__init__(place)
        self._source = source

    def _at(self, node: ast.expr | ast.stmt | ast.alias) -> int:
        return self._source.offset(node.lineno, node.col_offset)

    @override
    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            at = self._at(node if alias is node.names[0] else alias)
            report_import(self._source, at, alias.name, self.place)

    @override
    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self.place.absolute(node.module or "", node.level)
        if module is not None:
            names = [alias.name for alias in node.names]
            imported = Imported(module, names, is_relative=bool(node.level))
            report_names(self._source, self._at(node), imported, self.place)

    # --- calls and attributes ---------------------------------------------------------------

    @override
    def visit_Call(self, node: ast.Call) -> None:
        is_told = self._literals(node)
        value = self.value(node.func)
        match = value.match if value else None
        if is_told or (value and match and self._reported(node, value, match)):
            self._base(node.func)
        else:
            self._made_by_accessor(node)
            self.visit(node.func)
        for child in (*node.args, *node.keywords):
            self.visit(child)

    def _reported(self, node: ast.Call, value: Origin, match: Match) -> bool:
        module, at = match.module, self._at(node)
        name = last_name(node.func)
        if module.is_sdk:
            return self._sdk_call(at, value, match, name)
        if value.made:
            if len(value.members) != 1 or not (value.certain or name in module.methods):
                return False
            if module.quiet and name not in module.methods:
                return False
            report_call(self._source, at, name, module, certain=False)
            return True
        if not match.rest or not module.counts(match.rest[0]):
            return False
        what = f"calls {match.rest[0]}() of {module.key}"
        self._source.add(at, "call", module, what, module.todo(match.rest[:1]), certain=False)
        return True

    def _sdk_call(self, at: int, value: Origin, match: Match, name: str) -> bool:
        module = match.module
        if value.made:
            matters = bool(value.members) and name in vocabulary().asks
        else:
            matters = bool(match.rest) and module.counts(match.rest[0])
        if matters:
            what = f"calls {name}() of {module.key}"
            self._source.add(at, "call", module, what, module.do, certain=False)
        return matters

    def _made_by_accessor(self, node: ast.Call) -> None:
        made = self.value(node)
        if made and made.made and not made.certain and made.match:
            self._use(node, made.match, made)

    def _base(self, node: ast.expr) -> None:
        """Go on behind a chain of attributes that has been taken down as a whole."""
        while isinstance(node, ast.Attribute):
            node = node.value
        if not isinstance(node, ast.Name):
            self.visit(node)

    @override
    def visit_Attribute(self, node: ast.Attribute) -> None:
        value = self.value(node)
        match = value.match if value else None
        if value is OTHER:
            self._base(node)
            return
        if not value or not match or match.module.is_sdk:
            self.generic_visit(node)
            return
        module = match.module
        if len(value.members) == 1 and node.attr in module.attributes:
            what = f"reads {node.attr} of {module.key}"
            todo = module.attributes[node.attr]
            self._source.add(self._at(node), "read", module, what, todo, certain=False)
        elif not value.members or (len(value.members) == 1 and node.attr in module.methods):
            self._use(node, match, value)
        else:
            self.visit(node.value)
            return
        self._base(node)

    @override
    def visit_Name(self, node: ast.Name) -> None:
        value = self.value(node)
        match = value.match if value else None
        if value and match and not match.module.is_sdk:
            self._use(node, match, value)

    def _use(self, node: ast.expr, match: Match, value: Origin) -> None:
        """Take down that something is handed on, tested or derived from."""
        module = match.module
        if module.quiet or isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            return
        if match.rest and not module.counts(match.rest[0]):
            return
        if value.made or match.rest:
            self._source.add(
                self._at(node), "use", module, f"uses {ast.unparse(node)} of {module.key}",
                "nothing by itself: it follows what is done where it is made", certain=False,
            )  # fmt: skip

    @override
    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        for one in caught:
            value = self.value(one)
            match = value.match if value else None
            if one and match and match.module.is_sdk and match.rest:
                name = match.rest[-1]
                ours = vocabulary().errors.get(name, "ProviderError")
                self._source.add(
                    self._at(one), "use", match.module, f"catches {name} of {match.module.key}",
                    f"catch amas.providers.{ours}", certain=False,
                )  # fmt: skip
        self.generic_visit(node)

    # --- literals ---------------------------------------------------------------------------

    def _literals(self, node: ast.Call) -> bool:
        """Take down what a call's literals say: modules loaded by name, and variables.

        Returns:
            Whether that is all there is to be said about the call.
        """
        name = last_name(node.func)
        if name in LOADERS and (dotted := self.loaded(node)):
            return report_import(self._source, self._at(node), dotted, self.place)
        first = literal(node.args[0]) if node.args else None
        if first is None:
            return False
        of_environ = isinstance(node.func, ast.Attribute) and _is_environ(node.func.value)
        if name in _VARIABLES or (name in _READERS and of_environ):
            return report_variable(self._source, self._at(node), first)
        if name in _PATCHERS and _DOTTED.fullmatch(first) and "." in first:
            self._patched(node.args[0], first)
        return False

    def _patched(self, node: ast.expr, dotted: str) -> None:
        match = vocabulary().find(dotted)
        if match and match.module.is_sdk and match.rest and match.module.counts(match.rest[0]):
            module = match.module
            self._source.add(self._at(node), "name", module, f"replaces {dotted}", module.do)

    @override
    def visit_Subscript(self, node: ast.Subscript) -> None:
        if _is_environ(node.value) and (name := literal(node.slice)):
            report_variable(self._source, self._at(node), name)
        self.generic_visit(node)

    @override
    def visit_Compare(self, node: ast.Compare) -> None:
        if (name := literal(node.left)) and any(map(_is_environ, node.comparators)):
            report_variable(self._source, self._at(node), name)
        self.generic_visit(node)

    @override
    def visit_Dict(self, node: ast.Dict) -> None:
        keys = {text: key for key in node.keys if key and (text := literal(key))}
        modules = {module for text in keys if (module := vocabulary().keys.get(text))}
        for module in modules:
            for name in vocabulary().companions & keys.keys():
                todo = module.attributes.get(name, module.do)
                what = f"configuration key {name}"
                self._source.add(self._at(keys[name]), "key", module, what, todo)
        self.generic_visit(node)

    @override
    def visit_keyword(self, node: ast.keyword) -> None:
        self._key(node.arg or "", self._source.offset(node.lineno, node.col_offset))
        self.generic_visit(node)

    def _key(self, name: str, at: int) -> None:
        if module := vocabulary().keys.get(name):
            self._source.add(at, "key", module, f"configuration key {name}", module.keys[name])

    @override
    def visit_Constant(self, node: ast.Constant) -> None:
        if not isinstance(node.value, str):
            return
        at = self._at(node)
        if _DOTTED.fullmatch(node.value):
            self._name(node.value, at)
        self._key(node.value, at)
        self._text(node)

    def _name(self, text: str, at: int) -> None:
        """Take down a literal that is nothing but a dotted name."""
        match = vocabulary().find(text.replace(":", "."))
        if match is None or match.module.is_sdk:
            return
        if match.rest:
            if match.rest[0] in match.module.names:
                report_dotted(self._source, at, text.replace(":", "."))
        elif match.module.distinctive:
            what = f"names {text}"
            certain = "." in text
            self._source.add(at, "name", match.module, what, match.module.do, certain=certain)

    @override
    def visit_Expr(self, node: ast.Expr) -> None:
        if literal(node.value) is None:
            self.generic_visit(node)
        else:
            self._text(node.value, addresses=False)

    @override
    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._text(node)
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.visit(value.value)

    def _text(self, node: ast.expr, *, addresses: bool = True) -> None:
        """Read the text of a literal: it may be code, a command or an address."""
        end = self._source.offset(node.end_lineno or node.lineno, node.end_col_offset or 0)
        part = Part(self._at(node), end, addresses=addresses, certain=False)
        scan_text(self._source, self.place, part)


def _is_environ(node: ast.expr) -> bool:
    return last_name(node) == "environ"
