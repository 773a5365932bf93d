"""What a batch costs, against NumPy over the full scores: which tokens count, in which rows, divided by what."""

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models
import training_batches

from m3it_jax.models import vlm
from m3it_jax.models.variants import VARIANTS
from m3it_jax.training import objectives

B, T, D, V, SOURCES = 4, 9, 5, 11, 3
PADDED_FROM = (9, 7, 8, 6)  # first place of a row that holds padding
SUPERVISED = ((3, 4, 5, 8), (6,), (2, 4), ())  # places whose token is to be learnt: unequal counts, a row without any
SOURCE = (2, 0, 2, 1)


def log_softmax(logits) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@dataclasses.dataclass
class Scorer:
    """A language model that scores hidden states which the parameters hold, and keeps what it was asked."""

    seen: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def apply(self, variables, inputs, *, method=None, **options):
        if method == "hidden":
            self.seen.append(options)
            return variables["params"]["hidden"]
        assert method == "logits" and not options
        return inputs @ variables["params"]["head"]


def make_task(**changes) -> objectives.Task:
    fields = {"variant": VARIANTS["tiny"], "dtype": "float32", "remat": False, "attributes": (), "num_sources": SOURCES}
    return objectives.Task(**fields | {"max_targets": 4} | changes)


def text_batch(supervised=SUPERVISED) -> dict[str, np.ndarray]:
    mask = np.zeros((B, T), np.float32)
    for row, places in enumerate(supervised):
        mask[row, list(places)] = 1.0
    return {
        "token_ids": np.random.default_rng(0).integers(0, V, (B, T), np.int32),
        "loss_mask": mask,
        "segment_ids": (np.arange(T)[None] < np.array(PADDED_FROM)[:, None]).astype(np.int32),
        "source_index": np.array(SOURCE, np.int32),
    }


def text_params() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "hidden": rng.normal(size=(B, T, D)).astype(np.float32),
        "head": rng.normal(size=(D, V)).astype(np.float32),
    }


def losses_of(full_logits, batch, supervised=SUPERVISED) -> list[list[float]]:
    """Of each row, -log p(token | the tokens before it) of each supervised token."""
    log_p = log_softmax(full_logits)
    return [
        [-log_p[row, place - 1, batch["token_ids"][row, place]] for place in places]
        for row, places in enumerate(supervised)
    ]


@pytest.mark.parametrize("max_targets", [4, 1 << 30])
def test_the_response_loss_is_the_mean_over_exactly_the_supervised_tokens(max_targets: int) -> None:
    batch, params = text_batch(), text_params()
    task = make_task(max_targets=max_targets)
    loss, sums = objectives.response_loss(Scorer(), params, batch, task=task, rngs=None)
    logits = params["hidden"] @ params["head"]
    by_row = losses_of(logits, batch)
    every = [value for row in by_row for value in row]
    assert float(loss) == pytest.approx(np.mean(every), rel=1e-5)
    np.testing.assert_allclose(sums["train/loss"], [sum(every), len(every)], rtol=1e-5)
    guessed = logits.argmax(axis=-1)
    right = sum(
        guessed[row, place - 1] == batch["token_ids"][row, place]
        for row, places in enumerate(SUPERVISED)
        for place in places
    )
    np.testing.assert_allclose(sums["train/token_accuracy"], [right, 7])
    by_source = [[sum(by_row[1]), 1], [0.0, 0], [sum(by_row[0] + by_row[2]), 6]]
    np.testing.assert_allclose(sums["train/loss/source"], by_source, rtol=1e-5)
    np.testing.assert_allclose(sums["data/supervised_share"], [7, sum(PADDED_FROM)])
    np.testing.assert_allclose(sums["data/pad_share"], [B * T - sum(PADDED_FROM), B * T])
    assert {array.dtype for array in sums.values()} == {jnp.dtype("float32")}


def test_packed_rows_give_each_source_its_own_tokens() -> None:
    """Each token has a source: those of one row may differ, and the sums are those of the tokens."""
    batch, params = text_batch(), text_params()
    sources = np.arange(B * T).reshape(B, T).astype(np.int32) % SOURCES
    index = np.full((B, T), -1, np.int32)
    index[0, :8], index[2, :4] = np.arange(8), np.arange(4)
    task = make_task()
    more = {
        "source_index": sources,
        "parent_ids": batch["segment_ids"],
        "num_records": np.array([3, 1, 2, 0], np.int32),
        "image_token_index": index,
        "images": np.zeros((B * 2, 1, 1, 3), np.uint8),
    }
    task = dataclasses.replace(task, variant=small_models.SMALL["ying_vlm"])  # six positions a picture
    loss, sums = objectives.response_loss(Scorer(), params, batch | more, task=task, rngs=None)
    plain, plain_sums = objectives.response_loss(Scorer(), params, batch, task=task, rngs=None)
    assert float(loss) == pytest.approx(float(plain), rel=1e-6)
    np.testing.assert_allclose(sums["train/token_accuracy"], plain_sums["train/token_accuracy"])
    wanted = np.zeros((SOURCES, 2))
    for row, (places, values) in enumerate(
        zip(SUPERVISED, losses_of(params["hidden"] @ params["head"], batch), strict=True)
    ):
        for place, value in zip(places, values, strict=True):
            wanted[sources[row, place]] += [value, 1]
    np.testing.assert_allclose(sums["train/loss/source"], wanted, rtol=1e-5)
    np.testing.assert_allclose(sums["data/records_per_row"], [6, B])
    np.testing.assert_allclose(sums["data/picture_share"], [1, B * 2])
    np.testing.assert_allclose(sums["data/image_balance"], [1, B])


def test_right_answers_are_counted_and_padding_is_not() -> None:
    """Every supervised token is made the likeliest: all are right. Then all others are, and none of those count."""
    batch, params = text_batch(), text_params()
    ids = np.eye(V, dtype=np.float32)
    params = {"hidden": 9.0 * ids[np.roll(batch["token_ids"], -1, axis=1)], "head": ids}
    loss, sums = objectives.response_loss(Scorer(), params, batch, task=make_task(), rngs=None)
    np.testing.assert_allclose(sums["train/token_accuracy"], [7, 7])
    assert float(loss) < 0.01
    for row, places in enumerate(SUPERVISED):
        for place in places:
            params["hidden"][row, place - 1] = 9.0 * ids[(batch["token_ids"][row, place] + 1) % V]
    loss, sums = objectives.response_loss(Scorer(), params, batch, task=make_task(), rngs=None)
    np.testing.assert_allclose(sums["train/token_accuracy"], [0, 7])
    assert float(loss) == pytest.approx(9.0, rel=0.01)


def test_only_the_positions_before_supervised_tokens_have_a_gradient() -> None:
    batch, params = text_batch(), text_params()
    gradient = jax.grad(
        lambda params: objectives.response_loss(Scorer(), params, batch, task=make_task(), rngs=None)[0]
    )(params)
    moved = np.asarray(jnp.abs(gradient["hidden"]).sum(axis=-1) > 0)
    wanted = {(row, place - 1) for row, places in enumerate(SUPERVISED) for place in places}
    assert set(zip(*np.nonzero(moved), strict=True)) == wanted


def test_the_scale_does_not_follow_the_number_of_tokens() -> None:
    """Each row twice: twice the sum, twice the count, the same loss to minimise."""
    batch, params = text_batch(), text_params()
    double = {name: np.concatenate([array, array]) for name, array in batch.items()}
    doubled = params | {"hidden": np.concatenate([params["hidden"]] * 2)}
    one, sums = objectives.response_loss(Scorer(), params, batch, task=make_task(), rngs=None)
    two, more = objectives.response_loss(Scorer(), doubled, double, task=make_task(), rngs=None)
    assert float(two) == pytest.approx(float(one), rel=1e-6)
    np.testing.assert_allclose(more["train/loss"], 2 * np.asarray(sums["train/loss"]), rtol=1e-6)


def test_a_batch_with_nothing_to_learn_costs_nothing() -> None:
    loss, sums = objectives.response_loss(Scorer(), text_params(), text_batch(((),) * B), task=make_task(), rngs=None)
    assert float(loss) == 0.0 and sums["train/loss"].tolist() == [0.0, 0.0]


def test_chance_reaches_the_model_only_where_there_is_some() -> None:
    model, rngs = Scorer(), {"dropout": jax.random.key(0)}
    for given in (None, rngs):
        objectives.response_loss(model, text_params(), text_batch(), task=make_task(), rngs=given)
    assert model.seen == [{"deterministic": True, "rngs": None}, {"deterministic": False, "rngs": rngs}]


def test_the_response_loss_of_a_real_model_is_that_of_its_full_scores() -> None:
    variant = small_models.SMALL["ying_vlm"]
    model, params = small_models.make("ying_vlm")
    batch = small_models.make_batch(variant)
    num_rows, length = batch["token_ids"].shape
    supervised = (tuple(range(variant.picture_len + 2, length)), (length - 2,))
    mask = np.zeros((num_rows, length), np.float32)
    for row, places in enumerate(supervised):
        mask[row, list(places)] = 1.0
    batch |= {"loss_mask": mask, "source_index": np.zeros(num_rows, np.int32)}
    task = make_task(variant=variant, num_sources=1, max_targets=6)
    loss, _ = jax.jit(lambda batch: objectives.response_loss(model, params, batch, task=task, rngs=None))(batch)
    every = sum(losses_of(jax.jit(model.apply)({"params": params}, batch), batch, supervised), [])
    assert float(loss) == pytest.approx(np.mean(every), rel=1e-4)


@dataclasses.dataclass
class Tower:
    """A tower whose outputs are given."""

    outputs: dict[str, np.ndarray]
    seen: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def apply(self, variables, batch, **options):
        assert variables == {"params": {}}
        self.seen.append(options)
        return {name: jnp.asarray(array) for name, array in self.outputs.items()}


def test_the_tower_loss_is_captions_for_each_picture_and_labels_for_each_known_one() -> None:
    rng = np.random.default_rng(2)
    similarity = rng.normal(size=(4, 4)).astype(np.float32)
    colour, shape = (rng.normal(size=(4, classes)).astype(np.float32) for classes in (3, 2))
    labels = np.array([[0, -1], [2, -1], [-1, 1], [1, -1]])
    colour[1, 2] = 9.0
    captions = np.array([[5, 6], [7, 0], [5, 6], [8, 8]])
    batch = {"images": np.zeros((4, 2, 2, 3), np.uint8), "caption_ids": captions, "attributes": labels}
    model = Tower({"similarity": similarity, "colour": colour, "shape": shape})
    task = make_task(attributes=(("colour", 3), ("shape", 2)))
    loss, sums = objectives.tower_loss(model, {}, batch, task=task, rngs=None)
    same = (captions[:, None] == captions[None]).all(axis=-1)
    matching = np.log1p(np.exp(-np.where(same, similarity, -similarity).astype(np.float64))).sum()
    of_colour = [-log_softmax(colour)[row, labels[row, 0]] for row in (0, 1, 3)]
    of_shape = [-log_softmax(shape)[2, 1]]
    wanted = matching / 4 + np.mean(of_colour) + np.mean(of_shape)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(sums["train/loss"], [4 * wanted, 4], rtol=1e-5)
    np.testing.assert_allclose(sums["train/loss/captions"], [matching, 4], rtol=1e-5)
    hits = sum(colour[row].argmax() == labels[row, 0] for row in (0, 1, 3))
    np.testing.assert_allclose(sums["train/accuracy/colour"], [hits, 3])
    np.testing.assert_allclose(sums["train/accuracy/shape"], [shape[2].argmax() == 1, 1])
    objectives.tower_loss(model, {}, batch, task=task, rngs={"dropout": 1})
    assert model.seen == [{"deterministic": True, "rngs": None}, {"deterministic": False, "rngs": {"dropout": 1}}]


def test_an_attribute_that_no_picture_has_costs_nothing() -> None:
    similarity, shape = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    batch = {
        "images": np.zeros((2, 2, 2, 3), np.uint8),
        "caption_ids": np.zeros((2, 1), np.int32),
        "attributes": np.full((2, 1), -1),
    }
    task = make_task(attributes=(("shape", 2),))
    loss, sums = objectives.tower_loss(
        Tower({"similarity": similarity, "shape": shape}), {}, batch, task=task, rngs=None
    )
    assert float(loss) == pytest.approx(4 * np.log(2.0) / 2, rel=1e-5)  # the two pairs of each of two pictures
    assert sums["train/accuracy/shape"].tolist() == [0.0, 0.0]


def test_each_objective_builds_the_model_of_its_task() -> None:
    task = make_task(dtype="bfloat16", remat=True, attributes=(("shape", 2),))
    made = {name: objective.make_model(task) for name, objective in objectives.OBJECTIVES.items()}
    assert made["response"] == vlm.make_vlm(VARIANTS["tiny"], dtype="bfloat16", remat=True)
    assert made["response"] != vlm.make_vlm(VARIANTS["tiny"], dtype="bfloat16")
    assert (made["vit_tower"].qformer is None, made["qformer_tower"].qformer is None) == (True, False)
    rows = {name: (objective.rows, objective.loss) for name, objective in objectives.OBJECTIVES.items()}
    assert rows == {
        "response": ("response", objectives.response_loss),
        "vit_tower": ("towers", objectives.tower_loss),
        "qformer_tower": ("towers", objectives.tower_loss),
    }
    for name in ("vit_tower", "qformer_tower"):
        assert made[name].vit.dtype == jnp.dtype("bfloat16")
        assert made[name].heads.attribute_sizes == (("shape", 2),)


@pytest.mark.parametrize("with_images", [True, False])
def test_packed_rows_tell_their_records_and_how_even_their_pictures_are(with_images: bool) -> None:
    """Rows of 1, 3 and 2 pictures of 2 positions in 4 slots each: 6 of 12 slots, and 6 of 3 times the most."""
    index = np.full((3, 9), -1)
    for number, count in enumerate((1, 3, 2)):
        index[number, : 2 * count] = np.arange(2 * count)
    task = types.SimpleNamespace(variant=types.SimpleNamespace(picture_len=2))
    batch = {"parent_ids": index, "num_records": np.array([4, 1, 2]), "image_token_index": jnp.asarray(index)}
    if with_images:
        batch["images"] = np.zeros((12, 1, 1, 3), np.uint8)
    found = objectives._packing_sums(batch, task)
    wanted = {"data/records_per_row": [7, 3]}
    if with_images:
        wanted |= {"data/picture_share": [6, 12], "data/image_balance": [6, 9]}
    assert {name: pair.tolist() for name, pair in found.items()} == wanted
    assert objectives._packing_sums({"num_records": batch["num_records"]}, task) == {}


def response_gradients(params, batch, task):
    def loss(params):
        return objectives.response_loss(vlm.make_vlm(task.variant), params, batch, task=task, rngs=None)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


@pytest.mark.parametrize(
    ("name", "kind"), [("ying_vlm", training_batches.single), ("blip2_opt", training_batches.packed)]
)
def test_a_wide_vocabulary_is_scored_in_pieces_with_the_same_sums_and_gradients(name, kind, monkeypatch) -> None:
    """One head of its own, and one tied to the embedding, which is read as well."""
    variant, params = small_models.SMALL[name], small_models.make(name)[1]
    task = make_task(variant=variant, max_targets=1 << 30)
    batch = jax.tree.map(jnp.asarray, kind(variant, num_rows=4))
    made = []
    for pieces in (1, 4):
        monkeypatch.setattr(objectives.chunked_loss, "num_pieces", lambda *_, pieces=pieces, **__: pieces)
        made.append(response_gradients(params, batch, task))
    (wanted_loss, wanted_sums), wanted = made[0]
    (loss, sums), found = made[1]
    assert float(loss) == pytest.approx(float(wanted_loss), rel=1e-6)
    for metric, pair in wanted_sums.items():
        np.testing.assert_allclose(sums[metric], pair, rtol=1e-5, err_msg=metric)
    training_batches.assert_same_gradients(found, wanted)
