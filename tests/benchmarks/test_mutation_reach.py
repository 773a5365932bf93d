"""A function says that it is called, but for those that numba compiles, which know no such call."""

import builtins
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"

SOURCE = '''
class Thing:
    def name(self):
        """Returns the name."""
        def inner():
            return "thing"
        return inner()

def left():
    return 1

@numba.njit(nogil=True)
def compiled(x):
    return x
'''


@pytest.fixture
def reach(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import mutation_reach

    return mutation_reach


def test_what_is_called_is_noted_under_its_place(reach, monkeypatch) -> None:
    text = reach.instrumented("m.py", SOURCE)
    noted: set[str] = set()
    monkeypatch.setattr(builtins, "_reached", noted, raising=False)
    place = {"numba": type("numba", (), {"njit": staticmethod(lambda **_: lambda function: function)})}
    exec(text, place)
    assert place["Thing"]().name() == "thing" and place["Thing"].name.__doc__ == "Returns the name."
    assert noted == {"m.py Thing.name", "m.py Thing.name.inner"}
    assert place["compiled"](3) == 3 and noted == {"m.py Thing.name", "m.py Thing.name.inner"}
    assert place["left"]() == 1 and "m.py left" in noted


def test_a_mutant_meets_the_tests_that_reach_its_function_and_all_where_importing_does(reach) -> None:
    recorded = {"": [0.5, ["m.py start"], ""], "t::a": [1.0, ["m.py f"], "x"], "t::b": [2.0, ["m.py g"], "y"]}
    assert reach.reaching(recorded, "m.py f") == {"t::a": 1.0}
    assert reach.reaching(recorded, "m.py start") == reach.every(recorded) == {"t::a": 1.0, "t::b": 2.0}
    assert reach.reaching(recorded, "m.py other") == {}
