"""The table of tasks."""

import pytest

from m3it_jax import metrics, schema
from m3it_jax.evaluation import tasks


def test_names_are_unique_and_families_are_those_of_the_paper() -> None:
    names = [task.name for task in (*tasks.SKILLS, *tasks.FAMILIES)]
    assert len(set(names)) == len(names)
    assert tuple(task.name for task in tasks.FAMILIES) == schema.TASKS
    assert {task.family for task in tasks.SKILLS} == set(schema.TASKS)


@pytest.mark.parametrize("task", [*tasks.SKILLS, *tasks.FAMILIES], ids=lambda task: task.name)
def test_each_metric_is_a_mean_over_rows(task: tasks.EvalTask) -> None:
    targets, predictions = [["(B) blue"], ["red"], ["a cat"]], ["(B) blue", "red cat", "cat"]
    for metric in map(metrics.METRICS.__getitem__, task.metrics):
        ((name, whole),) = metric(targets, predictions).items()
        single = [metric([target], [text])[name] for target, text in zip(targets, predictions, strict=True)]
        assert whole == pytest.approx(sum(single) / 3)


def test_a_record_without_a_skill_is_named_after_its_source(folder) -> None:
    record = folder.table("one", "test").read(0)
    assert tasks.skill_of(record) == "digit"
    assert tasks.skill_of(type(record)(**{**vars(record), "meta": {}})) == "one"


def test_a_skill_without_a_row_is_scored_as_its_records_say() -> None:
    assert tasks.skill_task("digit", family="video", language="zh") == tasks.EvalTask("digit", "vqa", "en")
    assert tasks.skill_task("new", family="video", language="zh") == tasks.EvalTask("new", "video", "zh")


def test_a_suite_asks_its_own_sources_alone_each_in_the_split_and_as_the_task_of_its_row() -> None:
    plain = tasks.Protocol(split="validation")
    assert [plain.split_of(source) for source in ("vqa-v2", "okvqa")] == ["validation"] * 2
    row = tasks.EvalTask("okvqa", "vqa", "en", split="train")
    suite = tasks.Protocol(split="validation", suite={"okvqa": row})
    assert suite.split_of("okvqa") == "train" and suite.split_of("vqa-v2") == ""
    assert suite.task("okvqa", family="video", language="zh") is row
    assert suite.task("new", family="video", language="zh") == tasks.EvalTask("new", "video", "zh")
