import collections
import re

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building import mini
from m3it_jax.dataset_building.steps import instructions

SPECS = mini.EDITIONS["full"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_source_has_ten_instructions_of_its_language(spec):
    pool = instructions.pool(spec.pool)
    assert len(pool) >= 10
    for text in pool:
        assert bool(re.search("[\u4e00-\u9fff]", text)) == (spec.language == "zh"), text


def test_the_choice_depends_on_seed_and_id_alone():
    pool = instructions.pool("vqa/question")
    ids = [f"a-{number}" for number in range(400)]
    first = [instructions.choose(pool, 0, record) for record in ids]
    assert first[::-1] == [instructions.choose(pool, 0, record) for record in ids[::-1]]
    assert first != [instructions.choose(pool, 1, record) for record in ids]


def test_every_instruction_is_chosen_about_equally_often():
    pool = instructions.pool("vqa/question")
    counts = collections.Counter(instructions.choose(pool, 0, f"r{number}") for number in range(2000))
    assert set(counts) == set(pool)
    assert max(counts.values()) < 2 * min(counts.values())


@pytest.mark.parametrize("name", ["vqa/nothing", "nothing/question"])
def test_an_unknown_pool_is_named(name):
    with pytest.raises(errors.UserError, match="nothing"):
        instructions.pool(name)
