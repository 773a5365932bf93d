"""What a record may hold beside its texts and pictures."""

import pytest

from m3it_jax import schema


def codes(meta) -> list[str]:
    record = schema.Instance("a-1", "a", "vqa", "en", "Look.", "", "yes", (b"\xff\xd8\xff",), meta)
    return [code for code, _ in schema.problems(record)]


def test_known_entries_of_meta_have_their_types() -> None:
    meta = {"captions": ["x"], "references": ["yes"], "options": [], "attributes": {"shape": "circle", "count": 3}}
    assert codes({**meta, "skill": "digit", "group": "g1", "anything": [1, None]}) == []


@pytest.mark.parametrize(
    "meta",
    [
        {"captions": "x"},
        {"references": [1]},
        {"options": None},
        {"attributes": ["x"]},
        {"attributes": {"shape": ["circle"]}},
        {"skill": None},
        {"group": 3},
        [],
        3,
    ],
)
def test_other_types_are_told(meta) -> None:
    assert codes(meta) == ["bad-meta"]
