"""Which tests reach which functions of the package: so that a mutant meets those alone that could notice it.

In a second copy of the tree each function notes that it was called, and a plugin of pytest asks after each test. What a
fixture of a whole module or session calls belongs to each test that asks for it; what is called while tests are
collected belongs to all of the file.
"""

import ast
import builtins
import hashlib
import inspect
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

# Programs that tests start run the same text, and nobody asks them.
_NOTE = "getattr(__import__('builtins'), '_reached', set()).add({name!r})"


def instrumented(module: str, source: str) -> str:
    """Returns a module's text in which each function first notes its name, "path scope" as `mutants.Mutant` has it."""
    tree = ast.parse(source)
    _instrument(tree, module, ())
    return ast.unparse(tree)


def _instrument(node: ast.AST, module: str, scope: tuple[str, ...]) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef) and any("numba" in ast.unparse(one) for one in child.decorator_list):
            continue  # the compiler knows no such call, so such a function's mutants meet all tests of its file
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = (*scope, child.name)
            _instrument(child, module, inner)
            if isinstance(child, ast.FunctionDef):
                note = ast.parse(_NOTE.format(name=f"{module} {'.'.join(inner)}")).body
                child.body[bool(ast.get_docstring(child, clean=False)) : 0] = note
        else:
            _instrument(child, module, scope)


class Recorder:
    """Writes {test: [seconds, functions, hash of its text]} of a run; the entry "" is what collecting them calls."""

    def __init__(self, out: pathlib.Path) -> None:
        """Takes the file to write; tests that it knows and that have not changed are not run again."""
        self._out = out
        self._wide: dict[Any, set[str]] = {}
        self._tests: dict[str, list[Any]] = json.loads(out.read_text("utf-8")) if out.exists() else {}
        self._begin = time.monotonic()
        self._called: set[str] = set()

    @property
    def _called(self) -> set[str]:
        return vars(builtins)["_reached"]

    @_called.setter
    def _called(self, called: set[str]) -> None:
        vars(builtins)["_reached"] = called

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keeps what importing the tests has called, and forgets tests that have changed."""
        items = {item.nodeid: item for item in session.items}
        kept = {name: row for name, row in self._tests.items() if name in items and row[2] == _digest(items[name])}
        self._tests = {**kept, "": [time.monotonic() - self._begin, self._called, ""]}
        session.items[:] = [item for name, item in items.items() if name not in kept]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """Follows a test with its set-up and what comes after it."""
        self._called, begin = set(), time.monotonic()
        try:
            return (yield)
        finally:
            definitions = [last[-1] for last in item._fixtureinfo.name2fixturedefs.values()]
            shared = [self._wide[found] for found in definitions if found in self._wide]
            seconds = round(time.monotonic() - begin, 2)
            self._tests[item.nodeid] = [seconds, self._called.union(*shared), _digest(item)]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        """Keeps apart what a fixture calls that several tests share."""
        if fixturedef.scope == "function":
            return (yield)
        before, self._called = self._called, set()
        try:
            return (yield)
        finally:
            self._wide.setdefault(fixturedef, set()).update(self._called)
            self._called = before | self._called

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Writes the file, if the tests are green."""
        if exitstatus in (0, 5):
            self._out.write_text(json.dumps(self._tests, default=sorted), "utf-8")


def _digest(item: Any) -> str:
    return hashlib.sha256(inspect.getsource(item.function).encode()).hexdigest()[:16]


class Chosen:
    """A plugin that runs given tests alone, the quickest file and its quickest test first."""

    def __init__(self, wanted: dict[str, float]) -> None:
        """`wanted` maps the tests to the seconds they took."""
        self._wanted = wanted

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves out what is not wanted; the tests of a file stay together."""
        kept = [item for item in items if item.nodeid in self._wanted]
        files: dict[pathlib.Path, float] = {}
        for item in kept:
            files[item.path] = files.get(item.path, 0.0) + self._wanted[item.nodeid]
        items[:] = sorted(kept, key=lambda item: (files[item.path], str(item.path), self._wanted[item.nodeid]))


def every(recorded: dict[str, list[Any]]) -> dict[str, float]:
    """Returns {test: seconds} of a file's tests."""
    return {name: seconds for name, (seconds, *_) in recorded.items() if name}


def reaching(recorded: dict[str, list[Any]], function: str) -> dict[str, float]:
    """Returns {test: seconds} of a file's tests that reach a function, named "path scope"; all where importing does."""
    if function in recorded.get("", [0, [], ""])[1]:
        return every(recorded)
    return {name: seconds for name, (seconds, called, _) in recorded.items() if name and function in called}
