import dataclasses

from m3it_jax import schema
from m3it_jax.analysis import data_report
from m3it_jax.dataset_building import mini
from m3it_jax.dataset_building.inspection import statistics
from m3it_jax.dataset_building.writing import card


def record(number, skill="colour"):
    images = (b"\x89PNG\r\n\x1a\n",) * (1 + number % 2)
    answer = "red" if number < 3 else "blue"
    return schema.Instance(f"a-{number}", "a", "vqa", "en", "Look.", "what?", answer, images, {"skill": skill})


def summary():
    collector = statistics.Collector()
    for number in range(4):
        collector.add(record(number))
    return collector.summary()


MANIFEST = {
    "name": "toys",
    "edition": "base",
    "sources": {"a": {"version": "1.0.0", "task": "vqa", "language": "en", "licence": "MIT", "url": "",
                      "splits": {"train": 4, "validation": 0, "test": 4}}},
}  # fmt: skip


def test_a_summary_counts_records_pictures_and_answers():
    found = summary()
    assert (found["records"], found["images"], found["image_bytes"]) == (4, 6, 48)
    assert found["languages"] == {"en": 4}
    assert found["skills"] == {"colour": {"records": 4, "answers": 2, "majority": 0.75}}
    assert found["characters"]["outputs"] == {"mean": 3.25, "max": 4}


def test_an_empty_split_has_a_summary_too():
    assert statistics.Collector().summary()["records"] == 0


def test_totals_are_over_all_splits():
    told = statistics.report(MANIFEST, {"a": {"train": summary(), "test": summary()}})
    assert told["totals"] == {"task": {"vqa": 8}, "language": {"en": 8}}
    assert "records by task: vqa 8" in statistics.table(told)


def test_a_table_has_a_line_for_each_split():
    lines = statistics.table(statistics.report(MANIFEST, {"a": {"train": summary(), "test": summary()}})).splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["a", "train", "vqa"], ["a", "test", "vqa"]]


def test_the_card_begins_with_what_it_is_not():
    about = dict.fromkeys(("licence", "citation", "url", "known_problems"), "x")
    made = {"a": about | {"statistics": {"test": summary()}}}
    text = card.text(MANIFEST, made, introduction=mini.CARD)
    assert "NOT the 2.4-million-instance M3IT" in text.splitlines()[0]
    assert "| a | 1.0.0 | vqa | en | 4 | 0 | 4 |" in text
    assert "| colour | a | 4 | 2 | 75.0 % |" in text


def test_the_turns_of_conversations_are_counted_and_measured():
    collector = statistics.Collector()
    collector.add(record(0))
    turns = [{"instruction": "Look!", "outputs": "a red one"}, {"instruction": "Why?", "outputs": "so"}]
    collector.add(dataclasses.replace(record(3), meta={"turns": turns}))
    found = collector.summary()
    assert found["conversations"] == {"records": 1, "turns": 3, "most": 3} and "conversations" not in summary()
    assert found["characters"]["outputs"] == {"mean": (3 + 9 + 2 + 4) / 4, "max": 9}
    told = statistics.report(MANIFEST, {"a": {"train": found, "test": summary()}})
    assert "conversations in a, train: 1 of 2 records, 3 turns, at most 3 in one" in statistics.table(told)
    assert "a, train: 1 conversations with 3 turns, at most 3 in one." in data_report.render(told)
