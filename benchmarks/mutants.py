"""Small faults of the kind that a careless change brings in, as replacements in the text of a module.

Each operator looks at one node of the syntax tree and offers other text for it. What tests cannot be asked to notice is
left alone: annotations, docstrings, decorators, the words of a message.
"""

import ast
import copy
import dataclasses
import hashlib
from collections.abc import Iterator

COMPARISONS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# A call of another function that takes the same arguments.
NAMES = {
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "any": "all",
    "all": "any",
    "argmax": "argmin",
    "fullmatch": "match",
    "sum": "max",
    "floor": "ceil",
    "ceil": "floor",
    "cos": "sin",
    "startswith": "endswith",
    "endswith": "startswith",
    "removeprefix": "removesuffix",
    "zeros": "ones",
    "ones": "zeros",
    "log_softmax": "softmax",
    "lstrip": "rstrip",
    "sorted": "list",
}
# Calls whose first two arguments may stand either way or cannot be swapped without an exception at once, and keywords
# without a meaning of their own for what is computed.
_UNSWAPPED = {"max", "min", "maximum", "minimum", "isinstance", "issubclass", "hasattr", "getattr", "setattr", "open"}
_DULL_KEYWORDS = {"encoding", "strict", "stacklevel", "file", "flush", "indent", "ensure_ascii", "exist_ok", "dtype"}
_TEXTS = (ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.Set)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One replacement. `key` names it by what it does and where, so that it outlives changes around it."""

    module: str  # path from the root of the repository
    scope: str  # class and function, joined by dots
    operator: str
    line: int
    span: tuple[int, int]  # bytes of the module that are replaced
    before: str
    after: str
    key: str = ""
    part: str = ""  # hash of the statement of the module's highest level that it is in
    in_function: bool = False  # runs when the function is called, not when the module is imported

    def apply(self, source: bytes) -> bytes:
        """Returns the module's text with the fault in it."""
        return source[: self.span[0]] + self.after.encode() + source[self.span[1] :]


def mutants(module: str, source: bytes) -> list[Mutant]:
    """Returns every mutant of a module in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: list[Mutant] = []
    counts: dict[str, int] = {}
    tree = ast.parse(source)
    functions, parts = _functions(tree, ()), _parts(tree, source)
    for scope, node in _nodes(tree, ()):
        begin = starts[node.lineno - 1] + node.col_offset
        span = (begin, starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0))
        before = " ".join(source[span[0] : span[1]].decode().split())
        for operator, after in _changes(node):
            key = f"{module} {'.'.join(scope)}: {before} -> {after}"
            counts[key] = counts.get(key, 0) + 1
            key += f" #{counts[key]}" if counts[key] > 1 else ""
            place = (module, ".".join(scope), operator, node.lineno, span)
            found.append(Mutant(*place, before, after, key, parts[node.lineno], scope in functions))
    return found


def _functions(node: ast.AST, scope: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Returns the names of all functions, methods and functions inside others."""
    found: set[tuple[str, ...]] = set()
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.ClassDef)
        inner = (*scope, child.name) if named else scope
        found |= _functions(child, inner) | ({inner} if isinstance(child, ast.FunctionDef) else set())
    return found


def _parts(tree: ast.Module, source: bytes) -> dict[int, str]:
    """Returns {line: hash of the function, class or other statement of the highest level that it belongs to}."""
    lines = source.splitlines(keepends=True)
    found = {}
    for node in tree.body:
        span = range(node.lineno - 1, node.end_lineno or node.lineno)
        digest = hashlib.sha256(b"".join(lines[span.start : span.stop])).hexdigest()[:16]
        found |= {number + 1: digest for number in span}
    return found


def rank(mutant: Mutant, seed: int) -> str:
    """Returns what a choice is sorted by: chance that stays the same for a mutant whatever happens to the others."""
    return hashlib.sha256(f"{seed} {mutant.key}".encode()).hexdigest()


def chosen(candidates: list[Mutant], number: int, seed: int) -> list[Mutant]:
    """Returns so many of the candidates, by chance, at most one of a line."""
    lines: set[tuple[str, int]] = set()
    picked = []
    for mutant in sorted(candidates, key=lambda mutant: rank(mutant, seed)):
        if len(picked) < number and (mutant.module, mutant.line) not in lines:
            lines.add((mutant.module, mutant.line))
            picked.append(mutant)
    return picked


def _nodes(node: ast.AST, scope: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ast.expr | ast.stmt]]:
    """Yields the expressions and statements that may be changed, each with the functions around it."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        scope = (*scope, node.name)
        children: list[ast.AST] = [*node.body]
        if isinstance(node, ast.FunctionDef):
            children += [default for default in (*node.args.defaults, *node.args.kw_defaults) if default]
    elif isinstance(node, ast.AnnAssign):
        children = [node.value] if node.value else []
    elif isinstance(node, ast.keyword) and node.arg in _DULL_KEYWORDS:
        return
    elif isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return
    else:
        children = [*ast.iter_child_nodes(node)]
    if isinstance(node, ast.expr | ast.stmt):
        yield scope, node
    for child in children:
        yield from _nodes(child, scope)


def _changes(node: ast.expr | ast.stmt) -> Iterator[tuple[str, str]]:
    """Yields (operator, text in the place of the node)."""
    for operator, new in _new_nodes(node):
        text = ast.unparse(new)
        inner = isinstance(
            new, ast.stmt | ast.Name | ast.Constant | ast.Call | ast.Attribute | ast.Subscript | ast.Slice
        )
        if text != ast.unparse(node):
            yield operator, text if inner else f"({text})"


def _new_nodes(node: ast.expr | ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Compare):
        for place, comparison in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[place] = COMPARISONS[type(comparison)]()
            yield "comparison", new
    elif isinstance(node, ast.BinOp):
        yield from _of_sums(node)
    elif isinstance(node, ast.BoolOp):
        yield "and/or", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        yield "dropped term", node.values[0]
        yield "dropped term", node.values[-1]
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        yield "dropped sign", node.operand
    elif isinstance(node, ast.Constant):
        yield from _of_constants(node)
    elif isinstance(node, ast.Call):
        yield from _of_calls(node)
    elif isinstance(node, ast.Slice):
        for end in ("lower", "upper"):
            bound = getattr(node, end)
            if bound is not None and not isinstance(bound, ast.Constant):
                new = copy.deepcopy(node)
                setattr(new, end, ast.BinOp(bound, ast.Add(), ast.Constant(1)))
                yield "off by one", new
    elif isinstance(node, ast.IfExp):
        yield "swapped branches", ast.IfExp(node.test, node.orelse, node.body)
    else:
        yield from _of_statements(node)


def _of_sums(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    sides = (node.left, node.right)
    if any(isinstance(side, _TEXTS) or _is_text(side) for side in sides):
        return  # another operator would raise at once
    if type(node.op) in ARITHMETIC:
        yield "arithmetic", ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    yield "dropped term", node.left


def _of_constants(node: ast.Constant) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield "constant", ast.Constant(node.value + 1)
        if node.value > 0:
            yield "constant", ast.Constant(node.value - 1)
    elif isinstance(node.value, float):
        yield "constant", ast.Constant(2 * node.value if node.value else 1.0)


def _of_calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if len(node.args) > 1 and name not in _UNSWAPPED and not any(isinstance(x, ast.Starred) for x in node.args[:2]):
        yield "swapped arguments", ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    for keyword in node.keywords:
        if keyword.arg is not None and keyword.arg not in _DULL_KEYWORDS:
            rest = [other for other in node.keywords if other is not keyword]
            yield "dropped argument", ast.Call(node.func, node.args, rest)
    if name in NAMES:
        new = copy.deepcopy(node)
        if isinstance(new.func, ast.Attribute):
            new.func.attr = NAMES[name]
        else:
            new.func = ast.Name(NAMES[name])
        yield "another function", new


def _of_statements(node: ast.expr | ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield "dropped statement", ast.Pass()
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) > 1:
        first, second, *rest = node.value.elts
        yield "wrong name returned", ast.Return(ast.Tuple([second, first, *rest]))
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Call) and len(node.value.args) == 1:
        yield "dropped call", ast.Return(node.value.args[0])
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and len(node.value.args) == 1:
        yield "dropped call", ast.Assign(node.targets, node.value.args[0], lineno=0)
    elif isinstance(node, ast.Continue):
        yield "dropped statement", ast.Pass()


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
