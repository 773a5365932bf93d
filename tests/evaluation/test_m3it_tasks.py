"""The table of M3IT's 40 sources against the ledger of the sources themselves."""

import pathlib

import pytest

from m3it_jax import config, errors
from m3it_jax.dataset_building import sources
from m3it_jax.evaluation import m3it_tasks


def test_every_source_has_a_row_in_the_papers_order():
    assert tuple(task.name for task in m3it_tasks.M3IT) == sources.NAMES


@pytest.mark.parametrize("task", m3it_tasks.M3IT, ids=lambda task: task.name)
def test_a_row_agrees_with_its_source(task):
    spec = sources.load(task.name)
    assert (task.family, task.language) == (spec.task, spec.language)
    assert spec.published.counts[task.split] > 0, "the split has records"
    other = "validation" if task.split == "test" else "test"
    assert task.split == "test" or not spec.published.counts[other], "the test split is taken where there is one"
    assert m3it_tasks.is_held_out(task.name) == spec.published.held_out == (task.name in config.HELD_OUT)


def test_answers_of_ten_people_are_scored_as_such():
    people = {task.name for task in m3it_tasks.M3IT if task.references == "people"}
    assert people == {task.name for task in m3it_tasks.M3IT if "vqa_accuracy" in task.metrics}
    assert people == {"vqa-v2", "text-vqa", "okvqa"}


def test_the_page_shows_the_table():
    page = pathlib.Path(__file__).parents[2] / "docs" / "evaluation.md"
    assert m3it_tasks.markdown() in page.read_text("utf-8"), "write m3it_tasks.markdown() into the page"


def test_a_held_out_source_stays_one_in_every_language():
    held_out = ["msrvtt-qa", "msrvtt-qa-de", "winoground-zh", "winoground-zh-hant", "coco-cn", "flickr8k-cn-en"]
    trained = ["okvqa-de", "vqa-v2-zh", "coco", "ss-films", "shapes-caption-zh", "de", "my-own-es"]
    assert [name for name in held_out + trained if m3it_tasks.is_held_out(name)] == held_out
    experiment = config.Experiment()
    experiment.data.mixture = {"okvqa-de": 1.0, "msrvtt-de": 1.0}
    with pytest.raises(errors.ConfigError, match="msrvtt-de is held out by the paper"):
        config.check_held_out(experiment, experiment.data.mixture)
