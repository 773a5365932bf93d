"""The radar: what of the evaluated records stands in training, and the scores without it."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors, schema
from m3it_jax.evaluation import contamination, tasks

Settings = contamination.Settings


def picture(seed: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((60, 60), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def record(name: str, seed: int, **changed) -> schema.Instance:
    values = {"inputs": "", "outputs": f"answer {name}", "meta": {"skill": "mine"}, **changed}
    return schema.Instance(
        id=name, source="src", task="vqa", language="en", instruction="What?", images=(picture(seed),), **values
    )


def jpeg(image: bytes) -> bytes:
    with Image.open(io.BytesIO(image)) as opened:
        file = io.BytesIO()
        opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file, "JPEG", quality=50)
    return file.getvalue()


EVALUATED = [record(f"e{number}", number) for number in range(8)]


DEFAULTS = Settings()


def looked(training, evaluated=EVALUATED, settings=DEFAULTS):
    radar = contamination.Radar(evaluated, settings)
    radar.look(training)
    return radar


def whys(radar) -> set[tuple[str, str, str]]:
    return {(pair["id"], pair["train_id"], pair["why"]) for pair in radar.pairs.values()}


def test_equal_pictures_and_changed_copies_are_told_with_their_training_record():
    same = record("t0", 100 + 0, inputs="other")
    copies = [
        dataclasses.replace(same, images=EVALUATED[2].images),
        dataclasses.replace(same, id="t1", images=(jpeg(EVALUATED[5].images[0]),)),
        record("t2", 300),
    ]
    radar = looked(copies)
    assert ("e2", "t0", "bytes") in whys(radar) and ("e5", "t1", "picture") in whys(radar)
    assert radar.dirty() == {("src", "e2"), ("src", "e5")}
    entry = radar.report()["tasks"]["mine"]
    assert entry == {"records": 8, "pictures": 2, "texts": 0, "embeddings": 0, "dirty": 2}


def test_equal_runs_of_words_are_dirty_and_shorter_ones_are_not():
    words = "the tall man in a green coat rides home"
    evaluated = [record("e", 1, inputs=words), record("zh", 2, outputs="一个穿绿衣服的人骑马回家")]
    training = [record("t", 50, outputs=f"Look, {words.upper()}!"), record("u", 51, inputs="看一个穿绿衣服的人骑车")]
    radar = looked(training, evaluated)
    assert whys(radar) == {("e", "t", "text"), ("zh", "u", "text")}
    assert not looked(training, evaluated, Settings(ngram=10)).pairs
    assert not looked([record("t", 50, outputs="man in a green coat rides home alone")], evaluated[:1]).pairs


def test_the_instruction_which_all_share_makes_nothing_dirty():
    long = "Look at the picture and answer the question that follows in one word"
    shared = [dataclasses.replace(record(name, seed), instruction=long) for name, seed in (("e", 1), ("t", 2))]
    assert not looked(shared[1:], shared[:1]).pairs


def test_every_record_with_a_picture_is_dirty_and_batches_do_not_matter():
    evaluated = [*EVALUATED, record("again", 2)]
    early = dataclasses.replace(record("early", 999), images=(jpeg(EVALUATED[4].images[0]),))
    training = [early, *(record(f"t{seed}", seed) for seed in range(200, 335)), record("late", 2)]
    assert looked(training, evaluated).dirty() == {("src", "e2"), ("src", "again"), ("src", "e4")}


def test_embeddings_that_are_near_are_dirty(tmp_path):
    ids = np.array(["e0", "e1", "t0", "t1"])
    np.savez(tmp_path / "v.npz", ids=ids, vectors=np.array([[2.0, 0], [0, 3], [4, 0.1], [1, 1]]))
    radar = contamination.Radar(EVALUATED, Settings())
    radar.look_at_embeddings(contamination.load_embeddings(tmp_path / "v.npz"), {"t0": "a", "t1": "b", "none": "c"})
    assert whys(radar) == {("e0", "t0", "embedding")} and radar.dirty(("embedding",)) == {("src", "e0")}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": np.array(["a"])}, "cannot be read"),
        ({"ids": np.array([1]), "vectors": np.ones((1, 2))}, "must be N texts"),
        ({"ids": np.array(["a", "b"]), "vectors": np.ones((1, 2))}, "must be N texts"),
        ({"ids": np.array(["a"]), "vectors": np.zeros((1, 2))}, "vector of a is zero"),
        ({"ids": np.array(["a"]), "vectors": np.full((1, 2), np.nan)}, "vector of a is zero or holds no finite"),
    ],
)
def test_embeddings_that_cannot_be_used_are_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(errors.UserError, match=message):
        contamination.load_embeddings(tmp_path / "v.npz")


def test_scores_of_all_of_the_clean_and_of_the_dirty_part(fakes, store):
    store.claim({})
    store.append(fakes.prediction(number, "3" if number < 30 else "4") for number in range(45))
    store.append([fakes.prediction(0, "9", variant="blank")])
    evaluated = [dataclasses.replace(EVALUATED[0], id=str(number), source="one") for number in range(40)]
    radar = contamination.Radar(evaluated, Settings())  # 40 of the 45, as with a limit
    protocol = tasks.Protocol(resamples=50)
    assert "dirty" not in contamination.part_scores(store, radar, protocol=protocol)["digit"]
    for number in range(20):
        radar.pairs[number, "bytes"] = {}
    found = contamination.part_scores(store, radar, protocol=protocol)["digit"]
    assert {part: (found[part]["value"], found[part]["n"]) for part in ("all", "clean", "dirty")} == {
        "all": (75.0, 40),
        "clean": (50.0, 20),
        "dirty": (100.0, 20),
    }
