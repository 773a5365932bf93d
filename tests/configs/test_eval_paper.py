"""The suites: the paper's rows are the paper's, and every source has its place."""

import pathlib

import pytest

from m3it_jax import config as config_lib
from m3it_jax import errors
from m3it_jax.cli import configuration
from m3it_jax.dataset_building import sources
from m3it_jax.evaluation import suites

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
PAPER = str(CONFIGS / "eval_paper.py")


def test_the_papers_suite_has_its_rows_splits_prompts_and_figures():
    suite = configuration.load_suite(PAPER)
    rows = suites.resolved(suite)
    assert len(rows) == 12 and len(suite.means) == 1, "eleven sets, their mean of knowledge, and Winoground"
    scored = [row for row in suite.rows if row.published]
    assert len(scored) == 11 and suite.max_new_tokens == 128
    for row in scored:
        assert rows[row.source].metrics == ("rouge_l",) and rows[row.source].references == "answer"
        assert sources.load(row.source).published.counts[rows[row.source].split] > 0
        assert (rows[row.source].prompt == "chinese") == (rows[row.source].language == "zh")
    ours = {row.source: row.published["Ying-VLM"] for row in scored}
    # arXiv 2306.04387, Tables 4 to 6.
    assert sum(ours.values()) == pytest.approx(
        27.5 + 24.5 + 29.6 + 20.5 + 33.3 + 49.8 + 14.2 + 23.5 + 21.9 + 18.3 + 21.4
    )
    assert sum(len(row.published) for row in scored) == 3 * 4 + 3 * 3 + 5 * 3


def test_the_suite_of_all_has_all():
    suite = configuration.load_suite(str(CONFIGS / "eval_m3it.py"))
    assert set(suites.resolved(suite)) == set(sources.NAMES)
    held_out = {row.source for row in suite.rows if row.table == "held out"}
    assert held_out == set(config_lib.HELD_OUT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config():\n    return 3\n", "get_suite.*configs/eval_paper.py"),
        ("def get_suite():\n    return 3\n", "returned int, must be a config.EvalSuite"),
        ("def get_suite():\n    return 1 / 0\n", "line 2: ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_suite_is_one_line(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(errors.ConfigError, match=message):
        configuration.load_suite(str(tmp_path / "mine.py"))
