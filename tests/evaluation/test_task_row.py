"""One row of the tables: what is compared with what, and what is refused."""

import pytest

from m3it_jax import errors
from m3it_jax.evaluation import task_row


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("short", "The answer is red.", "red"),
        ("short", "the answer is: 3 dogs", "3 dogs"),
        ("short", "答案是红色。", "红色"),
        ("short", "The answer is not known to me. Ask again.", "not known to me. Ask again"),
        ("short", "A red car.", "A red car."),
        ("short", "The answer is", "The answer is"),
        ("short", "", ""),
        ("first_word", "yes because the dog runs", "yes"),
        ("first_word", "Maybe, it is hidden", "Maybe"),
        ("first_word", "", ""),
        ("line", "The answer is red.", "The answer is red."),
    ],
)
def test_answers_are_tidied_before_they_are_scored(name, text, wanted):
    assert task_row.POSTPROCESSES[name](text) == wanted


def test_both_sides_are_tidied_alike_and_people_stand_in_for_references():
    row = {"references": ["The answer is 3."], "people": ["3", "3", "2"], "prediction": "The answer is 3."}
    task = task_row.EvalTask("clevr", "reasoning", "en", postprocess="short")
    assert task.scored(row) == (["3"], "3")
    people = task_row.EvalTask("vqa-v2", "vqa", "en", references="people")
    assert people.scored(row)[0] == ["3", "3", "2"]
    assert people.scored({**row, "people": []})[0] == ["The answer is 3."]


def test_a_metric_that_the_answers_do_not_allow_is_left_out_and_told():
    task = task_row.EvalTask("vqa-v2", "vqa", "en", ("vqa_accuracy", "rouge_l"), references="people")
    several = {"references": ["3"], "people": ["3", "2"], "prediction": "3"}
    assert task.computable([several]) == (["vqa_accuracy", "rouge_l"], {})
    kept, left_out = task.computable([several, {"references": ["3"], "prediction": "3"}])
    assert kept == ["rouge_l"] and "several people" in left_out["vqa_accuracy"]
    alone = task_row.EvalTask("vqa-v2", "vqa", "en", ("vqa_accuracy",), references="people")
    assert alone.computable([{"references": ["3"], "prediction": "3"}])[0] == list(task_row.METRICS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metrics", ("rouge",)),
        ("metrics", ()),
        ("split", "dev"),
        ("prompt", "english"),
        ("references", "some"),
        ("postprocess", "strip"),
        ("family", "ocr"),
    ],
)
def test_a_value_that_means_nothing_is_refused_with_what_is_allowed(field, value):
    with pytest.raises(errors.ConfigError, match=rf"coco: {field}.*(must be one of|name at least one)"):
        task_row.EvalTask(**{"name": "coco", "family": "captioning", "language": "en", field: value})


def test_what_is_allowed_is_listed_in_order():
    with pytest.raises(errors.ConfigError, match="metrics is empty; name at least one of anls, bleu, chrf, cider, "):
        task_row.EvalTask("x", "vqa", "en", ())
    with pytest.raises(errors.ConfigError, match="postprocess='x': must be one of first_word, line, short$"):
        task_row.EvalTask("x", "vqa", "en", postprocess="x")
