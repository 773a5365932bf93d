import collections

from m3it_jax.dataset_building.publishers import adapters
from m3it_jax.dataset_building.specification import Draft, Published, Rejected, RowError, SourceSpec


def spec(count: int) -> SourceSpec:
    published = Published(False, {"train": count}, (), "all", ())
    return SourceSpec("toys", "vqa", "en", "vqa/question", lambda *_: iter(()), {}, published=published)


def convert(row: dict) -> Draft:
    if row["gone"]:
        raise RowError("picture-missing", f"no picture of {row['id']}")
    return Draft("toys", "", row["id"], (), row["id"])


ROWS = [(f"line {number}", {"id": f"r{number}", "gone": number % 3 == 0}) for number in range(60)]


def usable(count: int, rows=ROWS, seed: int = 0) -> list[Draft | Rejected]:
    key = adapters.publisher_id("id")
    return list(adapters.usable(rows, convert, spec(count), split="train", seed=seed, key=key))


def test_a_row_that_is_gone_is_named_and_another_takes_its_place():
    found = usable(30)
    drafts = [row.outputs for row in found if isinstance(row, Draft)]
    lost = [row for row in found if isinstance(row, Rejected)]
    assert len(drafts) == len(set(drafts)) == 30
    assert 0 < len(lost) < 20 and {row.reason for row in lost} == {"picture-missing"}
    assert all(row.place.startswith("line ") for row in lost)


def test_all_rows_are_tried_where_too_few_are_usable():
    found = usable(50)
    assert collections.Counter(type(row).__name__ for row in found) == {"Draft": 40, "Rejected": 20}
    assert usable(0) == []


def test_the_draw_depends_on_seed_and_rows_but_not_on_their_order():
    assert usable(20) == usable(20, ROWS[::-1])
    assert usable(20) != usable(20, seed=1)


def test_among_others_has_the_right_one_once_at_any_place():
    names = [f"n{number}" for number in range(20)]
    places = collections.Counter()
    for number in range(400):
        options = adapters.among_others("n3", [*names, "n3"], 10, seed=0, name="toys", key=str(number))
        assert len(options) == len(set(options)) == 10 and set(options) <= set(names)
        places[options.index("n3")] += 1
    assert set(places) == set(range(10)) and max(places.values()) < 3 * min(places.values())
    assert options == adapters.among_others("n3", reversed(names), 10, seed=0, name="toys", key="399")
