import json
import pathlib
import subprocess
import sys
import time

import pytest

from m3it_jax import schema
from m3it_jax.cli import main
from m3it_jax.dataset_building import sources

PAGES = pathlib.Path(__file__).parents[2] / "docs" / "sources"

# arXiv 2306.04387, Table 3, as Table 7 adds up: Table 3 leaves out Winoground's 800, its Chinese val is 900 short.
TOTALS = {
    "captioning": (3, 679_087, 41_462, 27_499),
    "classification": (7, 238_303, 100_069, 21_206),
    "vqa": (7, 177_633, 46_314, 10_828),
    "knowledge_vqa": (4, 39_981, 11_682, 5_477),
    "reasoning": (5, 99_372, 11_500, 10_800),
    "generation": (3, 145_000, 11_315, 17_350),
    "chinese": (5, 192_076, 78_206, 4_100),
    "video": (6, 20_868, 7_542, 9_294),
}


def test_counts_add_up_to_the_papers_table():
    found = dict.fromkeys(TOTALS, (0, 0, 0, 0))
    for name in sources.NAMES:
        spec = sources.load(name)
        counts = (1, *(spec.published.counts.get(split, 0) for split in schema.SPLITS))
        found[spec.task] = tuple(a + b for a, b in zip(found[spec.task], counts, strict=True))
    assert found == TOTALS


def test_thirteen_are_held_out():
    held_out = {name for name in sources.NAMES if sources.load(name).published.held_out}
    assert len(held_out) == 13 and {"viquae", "winoground"} <= held_out
    assert held_out >= {name for name in sources.NAMES if sources.load(name).task in ("chinese", "video")}


def test_json_has_the_promised_shape(tmp_path, capsys):
    assert main.main(["sources", "--json", str(tmp_path / "s.json")]) == 0
    told = json.loads((tmp_path / "s.json").read_text())
    assert [entry["name"] for entry in told] == list(sources.NAMES)
    wanted = {"name", "task", "language", "licence", "citation", "url", "held_out", "counts", "num_instructions"}
    assert all(wanted <= entry.keys() and set(entry["counts"]) == set(schema.SPLITS) for entry in told)
    assert len(capsys.readouterr().out.splitlines()) == 41


@pytest.mark.parametrize("name", [*sources.NAMES, "index"])
def test_the_page_of_each_source_is_up_to_date(name):
    from m3it_jax.dataset_building.sources import pages

    wanted = pages.index() if name == "index" else pages.page(sources.load(name))
    assert (PAGES / f"{name}.md").read_text() == wanted, "run `m3it sources --pages docs/sources`"


def test_it_answers_at_once():
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "m3it_jax", "sources"], check=True, capture_output=True)
    assert time.perf_counter() - begin < 5  # no TensorFlow, no JAX: those take longer alone


def test_a_folder_without_any_of_them_is_refused(small_folder, capsys):
    assert main.main(["sources", "--check", str(small_folder)]) == 1
    assert "holds none of the 40 sources" in capsys.readouterr().err
