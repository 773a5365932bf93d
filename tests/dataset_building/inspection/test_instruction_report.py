import pytest

from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.inspection import instruction_report
from m3it_jax.dataset_building.steps import instructions

POOL = ["Describe the picture.", "What do you see?", "You are a guide: tell what is here.", "One line, please."]


def test_tokens_are_words_marks_and_chinese_characters():
    assert instruction_report.tokens("Don't look, 看图!") == ["Don't", "look", ",", "看", "图", "!"]


def test_forms_are_told_apart():
    assert [instruction_report.form(text) for text in POOL] == ["order", "question", "role", "statement"]


def test_a_pool_is_counted():
    told = instruction_report.pool_report(POOL)
    assert told["instructions"] == 4 and told["openings"] == 4 and told["nearly_alike"] == []
    assert told["length"]["mean"] == pytest.approx((4 + 5 + 10 + 5) / 4, abs=0.06)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (["Describe the picture in one sentence.", "Describe the picture in one sentence!"], "nearly alike"),
        (["Does [HYPO] hold?", "Is [HYPO] right here?", "Is it?"], "has no slot"),
        (["Tell me. ", "Say what it is."], "one line"),
    ],
)
def test_what_a_reviewer_would_send_back_is_told(pool, words):
    assert words in instruction_report.problems(pool)[0]
    assert instruction_report.problems(POOL) == []


@pytest.mark.parametrize("name", sources.NAMES)
def test_the_bank_of_each_source_is_sound(name):
    pool = instructions.pool(sources.load(name).pool)
    assert instruction_report.problems(pool) == []
    told = instruction_report.pool_report(pool)
    assert 12 <= told["length"]["mean"] <= 42
    assert told["openings"] >= 0.7 * len(pool) and len(told["forms"]) >= 2


def test_the_bank_has_the_papers_numbers():
    """At least as many instructions for each group of tasks as the paper's Table 2, of about its length."""
    at_least = {
        "captioning": 52,
        "classification": 113,
        "vqa": 95,
        "knowledge_vqa": 40,
        "reasoning": 60,
        "generation": 40,
    }
    # Chinese and video sets are folded into the six groups: 400 has no room for more.
    folded = {
        "coco-cn": "captioning", "flickr8k-cn": "captioning", "msrvtt": "captioning", "chinese-food": "classification",
        "ss": "classification", "fm-iqa": "vqa", "ivqa": "vqa", "msvd-qa": "vqa", "activitynet-qa": "vqa",
        "msrvtt-qa": "vqa", "mmchat": "generation",
    }  # fmt: skip
    counts = dict.fromkeys(at_least, 0)
    pools = {}
    for name in sources.NAMES:
        spec = sources.load(name)
        pools[name] = instructions.pool(spec.pool)
        counts[folded.get(name, spec.task)] += len(pools[name])
        assert len(pools[name]) >= 10
    assert {group: number for group, number in counts.items() if number < at_least[group]} == {}
    told = instruction_report.report(pools)
    assert told["different"] >= 400 and told["shared"] == 0
    mean, std = instruction_report.PAPER_LENGTH
    assert abs(told["length"]["mean"] - mean) < std / 2
