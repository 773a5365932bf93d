"""Conversations that this program exported come back as they were, and others' are held to the same rules."""

import json

import pytest

from m3it_jax import schema
from m3it_jax.dataset_building import export

TURNS = [
    {"instruction": "这是什么？", "inputs": "a\u2028b", "outputs": 'a "quoted"\nanswer', "new_pictures": 1},
    {"instruction": "And now?", "outputs": "two"},
]
FORMS = {"parquet": "parquet", "jsonl": "m3it", "webdataset": "image-text"}


@pytest.fixture
def talks(tiny, tmp_path):
    meta = {"turns": TURNS, "new_pictures": 1, "system": "Be short.", "references": ["x"]}
    made = [tiny.instance("pairs", n, task="generation", meta=meta if n else {"references": ["x"]}) for n in range(3)]
    return made, tiny.write_folder(tmp_path / "data", {"pairs": made})


@pytest.mark.parametrize("form", FORMS)
def test_a_conversation_goes_out_and_comes_back(imported, talks, tmp_path, form):
    made, folder = talks
    export.export(export.order(folder, tmp_path / form, form, sources=[]))
    found, rejected = imported(FORMS[form], tmp_path / form)
    assert rejected == []
    for split in ("train", "validation"):
        assert sorted(found[split], key=lambda record: record.id) == made
    assert len(schema.turns_of(found["train"][-1])) == 3


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"instruction": "What?"}], "empty-output"),
        ([{"instruction": "What?", "outputs": "a", "new_pictures": 3}], "bad-meta"),
        ("What?", "bad-meta"),
        ([{"instruction": "What?", "outputs": "ein gro\u00c3\u0178er Ball"}], "mojibake"),
    ],
)
def test_turns_of_another_form_are_left_out_by_name(imported, talks, tmp_path, turns, reason):
    _, folder = talks
    export.export(export.order(folder, tmp_path / "jsonl", "jsonl", sources=[]))
    (path,) = (tmp_path / "jsonl").rglob("*train*")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[0]["meta"] = json.dumps({"turns": turns})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found, rejected = imported("m3it", tmp_path / "jsonl")
    assert [row.reason for row in rejected] == [reason] and len(found["train"]) == 2
