"""The house itself: walls, budgets, habits. A rule that is not checked here is only a wish."""

import ast
import collections
import functools
import importlib.metadata
import io
import pathlib
import re
import subprocess
import sys
import tokenize
import tomllib

import pytest

from m3it_jax import config as config_lib
from m3it_jax.cli import configuration

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE_LINES, TEST_FILE_LINES, FUNCTION_LINES, POSITIONAL, MODULE_CLASS_LINES = 400, 600, 60, 3, 120
DUPLICATE_RUN = 12
PROMISED = {"log_likelihood"}  # users call it with four positional arguments
BANNED_NAMES = {"utils.py", "util.py", "common.py", "misc.py", "helpers.py"}


def _files(*folders: str) -> list[pathlib.Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


CHILDREN = ROOT / "m3it_jax/checkpoint_conversion/files/children"  # programs run by others, never imported (ADR 0014)
SOURCES = _files("m3it_jax", "configs", "benchmarks", "launch")
EVERYTHING = [*SOURCES, *_files("tests")]
CONFIGS = [path for path in _files("configs") if "def get_config" in path.read_text(encoding="utf-8")]


def _library() -> list[pathlib.Path]:
    """Returns the modules that can be imported."""
    return [path for path in _files("m3it_jax") if not path.is_relative_to(CHILDREN)]


def _name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def _tree(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _functions(path: pathlib.Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_import_contracts_hold():
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_addresses_are_opened_by_the_client_alone():
    for path in _files("m3it_jax"):
        for node in ast.walk(_tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
            opens = any(name.startswith("urllib.request") for name in names)
            assert not opens or "llm_client" in path.parts, f"{_name(path)}: only llm_client opens addresses"


def _imported() -> dict[str, set[str]]:
    """Returns each outside package that the library imports, with the files that do."""
    imported: dict[str, set[str]] = collections.defaultdict(set)
    for path in _library():
        for node in ast.walk(_tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            for name in names:
                imported[name.split(".")[0]].add(_name(path))
    return {name: at for name, at in imported.items() if name not in {*sys.stdlib_module_names, "m3it_jax"}}


IMPORT_ALL = """
import importlib, os, sys
outside, ours = (text.split(",") for text in sys.argv[1:])
for name in outside:  # what they do to the environment is theirs
    importlib.import_module(name)
for name in ours:
    before = dict(os.environ)
    importlib.import_module(name)
    if dict(os.environ) != before:
        sys.exit(f"{name} changes the environment when it is imported")
"""


@pytest.mark.slow
def test_every_module_imports_and_leaves_the_environment_alone():
    # Parts of packages that our modules import and that the package itself does not load.
    outside = [*_imported(), "flax.linen", "orbax.checkpoint", "clu.metric_writers", "sklearn.datasets"]
    ours = [_module_name(path) for path in _library() if path.name != "__main__.py"]
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(outside), ",".join(ours)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def test_every_file_parses():
    assert len(EVERYTHING) > 50
    for path in EVERYTHING:
        _tree(path)


def test_no_torch_and_no_transformers():
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            refused = {"transformers"} if path.is_relative_to(CHILDREN) else {"torch", "transformers"}
            assert not {name.split(".")[0] for name in names} & refused, _name(path)


def test_child_programs_are_never_imported():
    assert not list(CHILDREN.rglob("__init__.py")), "without it they are no package"
    for path in EVERYTHING:
        for node in ast.walk(_tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any("checkpoint_conversion.files.children" in name for name in names), _name(path)


def test_files_are_short():
    for path in EVERYTHING:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        limit = TEST_FILE_LINES if path.is_relative_to(ROOT / "tests") else FILE_LINES
        assert lines <= limit, f"{_name(path)} has {lines} lines, at most {limit}; split it by what its parts are about"


def test_functions_are_short_and_take_few_positional_arguments():
    for path in SOURCES:
        for function in _functions(path):
            where = f"{_name(path)}:{function.lineno} {function.name}"
            assert _length(function) <= FUNCTION_LINES, f"{where} has {_length(function)} lines"
            names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            fine = count <= POSITIONAL or function.name in PROMISED
            assert fine, f"{where} takes {count} positional arguments; put a * before the rest"


def test_module_classes_are_short():
    for path in _files("m3it_jax/models"):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                assert _length(node) <= MODULE_CLASS_LINES, f"{_name(path)} {node.name} has {_length(node)} lines"


def _code_lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """Returns (line number, code) without comments, docstrings, imports and empty lines."""
    tree, skipped = _tree(path), set()
    for node in ast.walk(tree):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if text or isinstance(node, ast.Import | ast.ImportFrom):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        (number, line)
        for number, line in enumerate(lines, start=1)
        if line and number not in skipped and not line.startswith("#") and line not in ("(", ")", "{", "}", "]", "),")
    ]


def test_nothing_stands_twice():
    seen: dict[tuple[str, ...], str] = {}
    for path in SOURCES:
        lines = _code_lines(path)
        for start in range(len(lines) - DUPLICATE_RUN + 1):
            run = tuple(line for _, line in lines[start : start + DUPLICATE_RUN])
            where = f"{_name(path)}:{lines[start][0]}"
            assert run not in seen, f"{DUPLICATE_RUN} lines stand at {seen.get(run)} and again at {where}"
            seen[run] = where


def test_type_suppressions_are_few_and_have_a_reason():
    lines, found = 0, []
    for path in EVERYTHING:
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and re.search(r"type:\s*ignore", token.string):
                found.append((f"{_name(path)}:{token.start[0]}", token.string))
    assert len(found) < max(1, lines / 1000), f"{len(found)} suppressions in {lines} lines: {found}"
    for where, comment in found:
        assert re.search(r"ignore\[[\w-]+\]\s+#\s*\w+", comment), f"{where}: give the code and the reason"


def test_no_file_has_a_name_that_says_nothing():
    assert not [path for path in SOURCES if path.name in BANNED_NAMES]


def test_tests_mirror_the_package():
    free = {"conftest.py", "__init__.py", "test_architecture.py"}
    across = {"integration", "launch", "reliability"}  # about no single file
    for path in _files("tests"):
        relative = path.relative_to(ROOT / "tests")
        if path.name in free or not path.name.startswith("test_") or relative.parts[0] in across:
            continue
        source = relative.parent / relative.name.removeprefix("test_")
        homes = [ROOT / "m3it_jax" / source, ROOT / source, (ROOT / "m3it_jax" / source).with_suffix("")]
        data = ROOT / "m3it_jax" / relative.parent  # a folder of the package that holds data alone
        homes += [data] if data != ROOT / "m3it_jax" and not list(data.rglob("*.py")) else []
        assert any(home.exists() for home in homes), f"tests/{relative} mirrors no file of the package"


def test_no_test_file_is_skipped():
    for path in _files("tests"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^(collect_ignore|pytestmark\s*=.*skip)", text, re.MULTILINE), _name(path)


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_every_config_builds_and_begins_with_its_command(path):
    text = ast.get_docstring(_tree(path)) or ""
    assert f"m3it train {_name(path)}" in text, "a config begins with its command, hardware, run time and score"
    presets = next(
        (
            list(ast.literal_eval(node.value))
            for node in _tree(path).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PRESETS" and _is_literal(node.value)
        ),
        [],
    )
    for spec in [str(path), *(f"{path}:{preset}" for preset in presets)]:
        assert isinstance(configuration.load(spec), config_lib.Experiment)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def test_configs_import_the_configuration_alone():
    for path in _files("configs"):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for name in names:
                    root = name.split(".")[0]
                    assert root in sys.stdlib_module_names or name in ("m3it_jax", "m3it_jax.config", "configs"), (
                        f"{_name(path)} imports {name}"
                    )


def _distribution(module: str) -> set[str]:
    names = importlib.metadata.packages_distributions().get(module, [])
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def _listed() -> set[str]:
    """Returns what is declared: requirements.txt, and the extras that a user chooses for a part of the program."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    lines = (
        (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        + extras["build"]
        + extras["beam"]
        + extras["eval"]
        + extras["fast"]
        + extras["translate"]
        + extras["serve"]
    )
    own = ("#", "m3it_jax[")  # an extra may take in another
    names = [re.split(r"[<>=;\s\[#]", line)[0] for line in lines if line and not line.startswith(own)]
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


# Needed by what we import, not imported by us; and tensorflow's name on other systems.
INDIRECT = {"tensorboard", "importlib-resources", "tensorflow", "tensorflow-cpu", "orbax-checkpoint", "clu"}


def test_requirements_list_what_is_imported():
    outside = _imported()
    listed = _listed()
    for name in outside:
        assert _distribution(name) & listed, f"{name} is imported by {outside[name]} and not in requirements.txt"
    used = set().union(*(_distribution(name) for name in outside))
    assert not listed - used - INDIRECT, "listed and never imported"


def test_requirements_have_lower_bounds_and_the_project_reads_them():
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or ">=" in line, line
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    assert "dependencies" not in project["project"]
    assert all(project["project"]["optional-dependencies"].values()), "an extra without content"


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 6


def test_links_in_the_documents_lead_somewhere():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("launch/*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{_name(path)} links to {target}"


def _floors(layers: list[str]) -> list[set[str]]:
    return [set(re.split(r"\s*[|:]\s*", layer.strip("()"))) for layer in layers]


def _drawn(text: str) -> list[list[set[str]]]:
    """Returns the floors of each drawing in a document: names joined by `|` or `:`, then what they are."""
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    return [[_floors([re.match(r"\w+(?: [|:] \w+)*", line)[0]])[0] for line in block.splitlines()] for block in blocks]


def test_the_page_shows_the_floors_of_the_contracts():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    wanted = [_floors(contract["layers"]) for contract in contracts if contract["type"] == "layers"]
    assert len(wanted) == 6
    assert _drawn((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")) == wanted


def test_every_room_says_what_belongs_there():
    for path in _files("m3it_jax"):
        if path.name == "__init__.py":
            assert (ast.get_docstring(_tree(path)) or "").endswith("."), f"{_name(path)} says not what belongs there"
