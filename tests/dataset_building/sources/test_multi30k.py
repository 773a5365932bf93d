import collections
import shutil

from m3it_jax.dataset_building import sources

DIRECTIONS = {"en-de", "de-en", "en-fr", "fr-en", "en-cs", "cs-en"}


def test_a_caption_is_translated_in_six_directions(instances) -> None:
    records = instances("multi30k", "validation")
    by_direction = {record.meta["origin"].rsplit("/", 1)[-1]: record for record in records}
    assert set(by_direction) == DIRECTIONS and len(records) == 6
    there, back = by_direction["en-de"], by_direction["de-en"]
    assert there.inputs == "An orange ball lies next to a yellow book."
    assert there.outputs == "Ein orangefarbener Ball liegt neben einem gelben Buch."
    assert (back.inputs, back.outputs) == (there.outputs, there.inputs)
    assert (there.language, back.language, by_direction["en-cs"].language) == ("de", "en", "cs")
    assert "German" in there.instruction and "[" not in there.instruction
    assert there.meta["slots"] == {"SOURCE": "English", "TARGET": "German"}


def test_lines_pictures_and_languages_stay_together(instances, raw) -> None:
    records = instances("multi30k", "train")
    assert {record.meta["origin"].split("/")[0] for record in records} == {"train:1", "train:2"} and len(records) == 12
    for record in records:
        line, direction = record.meta["origin"].removeprefix("train:").split("/")
        source, target = direction.split("-")
        for code, text in ((source, record.inputs), (target, record.outputs)):
            path = raw / f"multi30k/data/task1/raw/train.{code}"
            assert path.read_text(encoding="utf-8").splitlines()[int(line) - 1] == text
        name = (raw / "multi30k/data/task1/image_splits/train.txt").read_text().splitlines()[int(line) - 1]
        assert record.images[0] == (raw / "multi30k/flickr30k-images" / name).read_bytes()


def test_the_test_sets_are_those_of_all_languages(instances) -> None:
    found = collections.Counter(record.meta["origin_split"] for record in instances("multi30k", "test"))
    assert found == {"test_2016_flickr": 6, "test_2018_flickr": 6}


def test_each_direction_gives_its_sixth_of_the_papers_rows(instances, monkeypatch) -> None:
    monkeypatch.setitem(sources.load("multi30k").published.counts, "train", 6)
    directions = [record.meta["origin"].rsplit("/", 1)[-1] for record in instances("multi30k", "train")]
    assert len(directions) == 6 and set(directions) == DIRECTIONS


def test_a_line_without_a_translation_is_named(drafts, raw, tmp_path) -> None:
    shutil.copytree(raw / "multi30k", tmp_path / "multi30k")
    file = tmp_path / "multi30k/data/task1/raw/train.de"
    file.write_text("\n" + file.read_text(encoding="utf-8").splitlines()[1] + "\n", encoding="utf-8")
    found = drafts("multi30k", "train", raw=tmp_path)
    assert [row.place for row in found if hasattr(row, "reason")] == ["train:1/en-de", "train:1/de-en"]
    assert found[1].inputs == "A purple ball lies next to a green book." and "lilafarbener" in found[1].outputs
