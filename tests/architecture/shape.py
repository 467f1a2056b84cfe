"""Sizes, names, values and unfinished work."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from tests.architecture import sources
from tests.architecture.sources import Source, Violation

MODULE_LINES = 500
MODULE_LINES_SOFT = 300
FUNCTION_LINES = 70
PARAMETERS = 6

FORBIDDEN_NAMES = re.compile(r"_?(util|helper|common|base|manager)s?")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
VALUE_PACKAGES = ("reconciler.core", "reconciler.contracts")
VALUE_OPTIONS = ("frozen", "slots", "kw_only")
MAY_SLEEP = ("tests.conditions",)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_sizes(tree: tuple[Source, ...], limit: int = MODULE_LINES) -> list[Violation]:
    """Modules of more lines than `limit`."""
    return [
        Violation(source.path, 1, f"{lines} lines, {limit} is the limit: split it by idea")
        for source in tree
        if (lines := source.text.count("\n")) > limit
    ]


def function_sizes(tree: tuple[Source, ...]) -> list[Violation]:
    """Functions of more than FUNCTION_LINES lines, from `def` to the last line."""
    return [
        Violation(source.path, node.lineno, f"{node.name} has {lines} lines, {FUNCTION_LINES} is the limit")
        for source in tree
        for node in _functions(source.tree)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]


def parameters(tree: tuple[Source, ...]) -> list[Violation]:
    """Functions of what ships with more than PARAMETERS parameters, self and cls not counted.

    A click command is free: its parameters are the options that the command line has.
    """
    return [
        Violation(
            source.path,
            node.lineno,
            f"{node.name} takes {count} parameters, {PARAMETERS} is the limit: make them a value",
        )
        for source in sources.production(tree)
        for node in _functions(source.tree)
        if not _is_command(node) and (count := _count(node.args)) > PARAMETERS
    ]


def module_names(tree: tuple[Source, ...]) -> list[Violation]:
    """Modules and packages whose name says nothing about what is in them."""
    return [
        Violation(source.path, 1, f"the name {name!r} says nothing: name the idea")
        for source in tree
        if FORBIDDEN_NAMES.fullmatch(name := source.module.rpartition(".")[2])
    ]


def docstrings(tree: tuple[Source, ...]) -> list[Violation]:
    """Modules that do not say what they are for."""
    return [
        Violation(source.path, 1, "a module opens with a docstring that says what it is for")
        for source in tree
        if not (ast.get_docstring(source.tree) or "").strip()
    ]


def values(tree: tuple[Source, ...]) -> list[Violation]:
    """Dataclasses of the pure core and the contracts that are not frozen, slotted and keyword-only."""
    return [
        Violation(source.path, node.lineno, f"the value {node.name} lacks {', '.join(missing)}")
        for source in tree
        if source.module.startswith(VALUE_PACKAGES)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and (missing := _missing_options(node))
    ]


def unfinished(tree: tuple[Source, ...]) -> list[Violation]:
    """Marks of work left for later, and bodies that only pretend."""
    return [Violation(source.path, line, problem) for source in tree for line, problem in _unfinished(source)]


def sleeps(tree: tuple[Source, ...]) -> list[Violation]:
    """Tests that wait for a time instead of a condition."""
    return [
        Violation(source.path, node.lineno, "tests wait on conditions: use tests.conditions.eventually")
        for source in tree
        if source.module.startswith("tests") and source.module not in MAY_SLEEP
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and sources.dotted(node.func) in ("time.sleep", "sleep", "asyncio.sleep")
    ]


def imports_of_names(tree: tuple[Source, ...]) -> list[Violation]:
    """Imports that take a name out of one of our modules: a call says where it leads when it reads `module.name`.

    Free are types, which read well without their module: a name in CamelCase.
    """
    known = {source.module for source in tree}
    return [
        Violation(source.path, node.lineno, f"import the module {node.module}, not its {alias.name}")
        for source in sources.production(tree)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.module in known and node.module != "reconciler"
        for alias in node.names
        if f"{node.module}.{alias.name}" not in known and not _is_type_name(alias.name) and "_pb2" not in alias.name
    ]


def _is_type_name(name: str) -> bool:
    return name[0].isupper() and not name.isupper()


def _functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _count(arguments: ast.arguments) -> int:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [one for one in (arguments.vararg, arguments.kwarg) if one]
    return len(every) - (every[:1] != [] and every[0].arg in ("self", "cls"))


def _is_command(node: Function) -> bool:
    names = [sources.dotted(decorator) for decorator in node.decorator_list]
    return any(name.startswith("click.") or name.endswith((".command", ".group")) for name in names)


def _missing_options(node: ast.ClassDef) -> list[str]:
    for decorator in node.decorator_list:
        if sources.dotted(decorator).rpartition(".")[2] == "dataclass":
            keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
            given = {one.arg for one in keywords if isinstance(one.value, ast.Constant) and one.value.value is True}
            return [option for option in VALUE_OPTIONS if option not in given]
    return []


def _unfinished(source: Source) -> Iterator[tuple[int, str]]:
    if UNFINISHED.search(source.text):  # the tokenizer is slow, and almost no file has the words at all
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if token.type == tokenize.COMMENT and (mark := UNFINISHED.search(token.string)):
                yield token.start[0], f"{mark[0]}: finish it or leave it out"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield node.lineno, "NotImplementedError: finish it or leave it out"
    for function in _pretending(source.tree):
        yield function.lineno, f"{function.name} has no body"


def _pretending(tree: ast.Module) -> Iterator[Function]:
    """Functions whose body is `...`, outside a Protocol and not an overload."""
    excused = {
        function
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(sources.dotted(one).endswith("Protocol") for one in _bases(node))
        for function in node.body
    }
    for node in _functions(tree):
        last = node.body[-1]
        is_overload = any(sources.dotted(one).endswith("overload") for one in node.decorator_list)
        empty = isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...
        if empty and not is_overload and node not in excused:
            yield node


def _bases(node: ast.ClassDef) -> list[ast.expr]:
    return [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
