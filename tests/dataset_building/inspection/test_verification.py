import json
import random

import pytest

from m3it_jax import records
from m3it_jax.dataset_building.inspection import verification
from m3it_jax.records import framing

SOURCE = "pairs-caption"


def check(folder, **options):
    return verification.check_folder(folder, on_record=lambda: None, **options)


def shard_of(folder, split="train", source=SOURCE):
    return folder / source / "1.0.0" / f"m3it-{split}.tfrecord-00000-of-00001"


def edit(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))


def only(folder):
    """Returns the one problem of a folder."""
    problems = check(folder)
    assert len(problems) == 1, problems
    return problems[0]


def test_a_fresh_folder_is_sound(built):
    assert check(built) == []


@pytest.mark.parametrize("seed", range(60))
def test_one_flipped_bit_of_a_shard_is_found_where_it_is(folder, seed):
    chance = random.Random(seed)
    shard = shard_of(folder, chance.choice(["train", "validation", "test"]))
    offsets = records.load_index(shard).offsets.tolist()
    place = chance.randrange(shard.stat().st_size)
    edit(shard, lambda data: data.__setitem__(place, data[place] ^ 1 << chance.randrange(8)))
    right = max(number for number, offset in enumerate(offsets) if offset <= place)
    found = only(folder)
    assert found["file"] == str(shard.relative_to(folder))
    assert (found["record"], found["offset"]) == (right, offsets[right])


@pytest.mark.parametrize("seed", range(20))
def test_one_flipped_bit_of_any_small_file_is_found(folder, seed):
    chance = random.Random(seed)
    files = [path for path in (folder / SOURCE / "1.0.0").iterdir() if "tfrecord" not in path.name]
    files += [records.index_path(shard_of(folder)), folder / "tokenizer.model"]
    files = [path for path in files if path.name != "provenance.json" and path.stat().st_size]
    path = sorted(files)[seed % len(files)]
    place = chance.randrange(path.stat().st_size)
    edit(path, lambda data: data.__setitem__(place, data[place] ^ 1 << chance.randrange(8)))
    assert str(path.relative_to(folder)) in {problem["file"] for problem in check(folder)}


def test_a_torn_shard_names_each_lost_record(folder):
    shard = shard_of(folder)
    index = records.load_index(shard)
    edit(shard, lambda data: data.__delitem__(slice(int(index.offsets[2]) + 5, None)))
    assert [(problem["record"], problem["offset"]) for problem in check(folder)] == [
        (2, index.offsets[2]),
        (3, index.offsets[3]),
    ]


def test_a_zeroed_page_costs_only_its_records(folder):
    shard = shard_of(folder)
    index = records.load_index(shard)
    first = int(index.offsets[1])
    edit(shard, lambda data: data.__setitem__(slice(first, first + 100), bytes(100)))
    assert [problem["record"] for problem in check(folder)] == [1]


def test_junk_after_the_last_record_is_found(folder):
    shard = shard_of(folder)
    size = shard.stat().st_size
    edit(shard, lambda data: data.extend(b"junk"))
    found = only(folder)
    assert found["offset"] == size and "4 bytes follow" in found["reason"]


def test_without_an_index_records_are_still_checked(folder):
    shard = shard_of(folder)
    offset = int(records.load_index(shard).offsets[1])
    records.index_path(shard).unlink()
    edit(shard, lambda data: data.__setitem__(offset + 40, data[offset + 40] ^ 1))
    found = {(problem["record"], problem["offset"]) for problem in check(folder)}
    assert (1, offset) in found


def rewrite(folder, change):
    """Writes every record of a shard again after `change`, with right checksums and a right index."""
    shard = shard_of(folder)
    contents = [change(number, data) for number, (_, data) in enumerate(framing.scan(shard))]
    shard.write_bytes(b"".join(framing.frame(data) for data in contents if data is not None))
    records.write_index(shard)


def reasons(folder):
    return " | ".join(problem["reason"] for problem in check(folder))


def test_a_record_of_another_source_is_found(folder):
    name = SOURCE.encode()
    rewrite(folder, lambda number, data: data.replace(name, b"pairs-captiom") if number == 2 else data)
    assert "wrong-source" in reasons(folder)


def test_a_damaged_picture_under_right_checksums_is_found(folder):
    rewrite(folder, lambda number, data: data.replace(b"IDAT", b"IDAX") if number == 1 else data)
    problems = [problem for problem in check(folder) if problem["record"] == 1]
    assert "picture-unreadable" in problems[0]["reason"]


def test_a_lost_record_is_found_by_its_count(folder):
    rewrite(folder, lambda number, data: None if number == 3 else data)
    assert "has 3 records, m3it.json says 4" in reasons(folder)


def test_a_record_that_stands_twice_is_found(folder):
    first = next(data for _, data in framing.scan(shard_of(folder)))
    rewrite(folder, lambda number, data: first if number == 3 else data)
    assert "duplicate-id" in reasons(folder)


def test_a_changed_record_under_right_checksums_is_found_by_its_hash(folder):
    rewrite(folder, lambda number, data: data.replace(b" left of ", b" Left of ") if number == 0 else data)
    assert "hash" in reasons(folder)


@pytest.mark.parametrize("name", ["provenance.json", "dataset_info.json", "features.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / SOURCE / "1.0.0" / name).unlink()
    assert f"{SOURCE}/1.0.0/{name}" in {problem["file"] for problem in check(folder)}


def test_a_missing_source_a_stray_file_and_a_wrong_tokenizer_are_all_told(folder):
    (folder / SOURCE).rename(folder / "elsewhere")
    (folder / "shapes-vqa" / "1.0.0" / "stray.txt").write_text("x")
    (folder / "tokenizer.model").write_bytes(b"x")
    files = {problem["file"] for problem in check(folder)}
    assert files == {f"{SOURCE}/1.0.0", "shapes-vqa/1.0.0/stray.txt", "tokenizer.model"}


def test_a_folder_that_cannot_be_opened_is_one_problem(tmp_path):
    assert check(tmp_path)[0]["file"] == records.MANIFEST


def test_limit_looks_into_fewer_records(folder):
    seen = []
    verification.check_folder(folder, limit=1, on_record=lambda: seen.append(1))
    counts = json.loads((folder / records.MANIFEST).read_text())["sources"].values()
    assert len(seen) == sum(len(source["splits"]) for source in counts)
