"""Each operator on a line of its own, and what is left alone."""

import ast
import pathlib
import textwrap

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def mutants(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import mutants

    return mutants


def afters(mutants, body: str) -> set[tuple[str, str]]:
    source = f"def f(a, b, xs):\n{textwrap.indent(body, '    ')}\n"
    return {(mutant.before, mutant.after) for mutant in mutants.mutants("m.py", source.encode())}


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("return a < b", ("a < b", "(a <= b)")),
        ("return a is None", ("a is None", "(a is not None)")),
        ("return a + b", ("a + b", "(a - b)")),
        ("return a * b", ("a * b", "a")),
        ("return a and b", ("a and b", "(a or b)")),
        ("return not a", ("not a", "a")),
        ("return 7", ("7", "8")),
        ("return 0.5", ("0.5", "1.0")),
        ("return True", ("True", "False")),
        ("return g(a, b)", ("g(a, b)", "g(b, a)")),
        ("return g(a, k=b)", ("g(a, k=b)", "g(a)")),
        ("return max(xs)", ("max(xs)", "min(xs)")),
        ("return re.fullmatch(a, b)", ("re.fullmatch(a, b)", "re.match(a, b)")),
        ("return a if b else xs", ("a if b else xs", "(xs if b else a)")),
        ("return xs[:a]", (":a", ":a + 1")),
        ("return a, b", ("return a, b", "return (b, a)")),
        ("xs.append(a)", ("xs.append(a)", "pass")),
        ("a += b", ("a += b", "pass")),
    ],
)
def test_each_kind_of_fault_is_offered(mutants, body: str, wanted: tuple[str, str]) -> None:
    assert wanted in afters(mutants, body)


@pytest.mark.parametrize(
    "body",
    [
        '"""Words about 7."""',
        'raise ValueError(f"{a} is above {7}")',
        "x: dict[int, str]",
        "import numpy",
        'return "a"',
    ],
)
def test_words_and_types_are_left_alone(mutants, body: str) -> None:
    assert afters(mutants, body) == set()


def test_every_mutant_of_a_module_parses_and_differs(mutants) -> None:
    source = (FOLDER / "mutants.py").read_bytes()
    found = mutants.mutants("benchmarks/mutants.py", source)
    assert len(found) > 100 and len({mutant.key for mutant in found}) == len(found)
    whole = ast.dump(ast.parse(source))
    assert all(ast.dump(ast.parse(mutant.apply(source))) != whole for mutant in found)


def test_a_mutant_keeps_its_place_in_the_choice_whatever_changes_beside_it(mutants) -> None:
    first = "def f(a, b):\n    return a + b\n\n\ndef g(a):\n    return a * 2\n"
    before = mutants.mutants("m.py", first.encode())
    after = mutants.mutants("m.py", ("# a line\n" + first + "\n\ndef h(a):\n    return a - 1\n").encode())
    keys = [mutant.key for mutant in mutants.chosen(before, 9, 1)]
    assert [mutant.key for mutant in mutants.chosen(after, 99, 1) if mutant.key in keys] == keys
    assert len(keys) == 2  # at most one of a line
