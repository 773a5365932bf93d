"""Rows of several records compute what the records compute alone: losses, and gradients of every block.

Three families do so on one device, two of them on a mesh as well; with M3IT_LONG set, four on both.
"""

import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models

from m3it_jax import parameter_paths, prompts, schema, sharding
from m3it_jax.input_pipeline.rows import packing, transforms
from m3it_jax.models import layers, vlm
from m3it_jax.training import objectives

ROW_LEN, ROW_IMAGES, NUM_SOURCES = 260, 6, 4
LONG = "M3IT_LONG" in os.environ
# A family whose pictures are shared by records, and one whose pictures are read with each record's own question.
SHARDED = ("llava", "instructblip")
FAMILIES = {"llava": "llava", "blip2": "blip2_opt", "instructblip": "instructblip"}
if LONG:  # its shared pictures are those of blip2, its decoder is llava's
    FAMILIES["ying_vlm"] = "ying_vlm"

# (pictures by number, turns as (question, answer, new pictures), source): captions and questions about one picture, a
# pair, a video, conversations (one with a later picture), text alone; answers of very unequal lengths. A page is cut:
# its three numbers are two tiles and the overview, the slots of one picture.
CIRCLE, OTHER, PAGE = (0,), (1,), (2, 4, 6)
RECORDS = (
    (CIRCLE, (("What is this?", "a picture with number 1", 1),), 0),
    (CIRCLE, (("Name the picture.", "a", 1),), 1),
    (CIRCLE, (("What is this?", "a picture", 1), ("Say what you see.", "a number with number with number 3", 0)), 2),
    (OTHER, (("What is this?", "number", 1),), 1),
    ((2, 3), (("Name the picture.", "a picture with a picture with number 7", 2),), 3),
    ((2, 3), (("hint", "see", 2),), 0),
    ((4, 5, 6, 7), (("Say what you see.", "hint", 4),), 3),
    ((8, 9), (("Say what.", "a picture", 1), ("What is this?", "number 12 with a hint", 1)), 2),
    ((), (("Say number 11.", "number 11, a picture with number", 0),), 2),
    ((), (("Say a.", "a", 0), ("Say hint.", "hint hint hint", 0)), 1),
    (OTHER, (("hint 3", "picture with", 1),), 0),
    (PAGE, (("Say what you see.", "a picture with number 2", 1),), 3),
    (PAGE, (("What is this?", "number", 1), ("hint", "a number with a", 0)), 1),
)
# Which records stand in which groups of which rows; eight rows, so that eight devices have one each.
ROWS = (
    ((0, 1, 2), (3,)),
    ((4, 5),),
    ((6,), (8,)),
    ((7,),),
    ((9,), (3, 10)),
    ((11, 12),),
    ((8,), (9,), (10, 3)),
    ((5,), (2,)),
)


@functools.cache
def pixels(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, side, side, 3), np.uint8)


class Family:
    """A small model of one format, and its records as single and as packed rows."""

    def __init__(self, name: str, words):
        self.name = name
        variant = small_models.SMALL[FAMILIES[name]]
        decoder = dataclasses.replace(variant.decoder, vocab_size=400, max_len=300)
        qformer = variant.qformer and dataclasses.replace(variant.qformer, dropout_rate=0.0)
        self.variant = dataclasses.replace(variant, decoder=decoder, qformer=qformer)
        self.reads_text = bool(qformer and qformer.text_vocab_size)
        self.layout = transforms.Layout.of(
            words,
            prompts.FORMATS[self.variant.prompt],
            picture_len=self.variant.picture_len,
            max_text_len=100,
            max_response_len=40,
        )
        self.rows = []
        for pictures, turns, _ in RECORDS:
            asked = [schema.Turn(question, "", answer, new) for question, answer, new in turns]
            text = transforms.fit(self.layout, words, asked, system="A.")
            assert not text.num_dropped
            slots = [len(pictures)] if pictures == PAGE else [1] * len(pictures)
            self.rows.append(transforms.make_row(self.layout, text, num_images=len(slots), slots=slots))
        self.task = objectives.Task(
            variant=self.variant,
            dtype="float32",
            remat=False,
            attributes=(),
            num_sources=NUM_SOURCES,
            max_targets=1 << 30,
        )
        self.model = vlm.make_vlm(self.variant)

    def params(self):
        example = self.single([0])
        leaves, tree = jax.tree.flatten(jax.eval_shape(self.model.init, jax.random.key(0), example)["params"])
        rng = np.random.default_rng(1)
        spread = [jnp.asarray(rng.normal(0.0, 0.15, leaf.shape) + (leaf.ndim == 1), leaf.dtype) for leaf in leaves]
        return tree.unflatten(spread)

    def text(self, record: int, times: int) -> dict[str, np.ndarray]:
        ids = np.tile(np.arange(5)[None] + record, (times, 1))
        return {"text_ids": ids.astype(np.int32), "text_mask": np.ones((times, 5), bool)}

    def single(self, records) -> dict[str, np.ndarray]:
        """Returns the unpacked batch of records with one number of pictures."""
        num_images = len(RECORDS[records[0]][0])
        columns = [transforms.pad_row(self.rows[record], ROW_LEN) for record in records]
        batch = {name: np.stack([row[name] for row in columns]) for name in columns[0]}
        for place in range(len(records)):
            shown = batch["image_token_index"][place]
            shown[shown >= 0] += place * num_images * self.layout.picture_len
        batch["source_index"] = np.array([RECORDS[record][2] for record in records], np.int32)
        if num_images:
            shown = [number for record in records for number in RECORDS[record][0]]
            batch["images"] = pixels(self.variant.vit.image_size)[shown]
            if self.reads_text:
                texts = [self.text(record, num_images) for record in records]
                batch |= {name: np.concatenate([text[name] for text in texts]) for name in texts[0]}
        return batch

    def singles(self) -> list[dict[str, np.ndarray]]:
        used = [record for row in ROWS for group in row for record in group]
        counts = sorted({len(RECORDS[record][0]) for record in used})
        return [self.single([record for record in used if len(RECORDS[record][0]) == n]) for n in counts]

    def packed(self) -> dict[str, np.ndarray]:
        columns = []
        for row in ROWS:
            if self.reads_text:  # each record has its own reading of a picture
                row = tuple((record,) for group in row for record in group)
            groups = [
                packing.Group(
                    rows=[self.rows[record] for record in group],
                    sources=[RECORDS[record][2] for record in group],
                    num_images=len(RECORDS[group[0]][0]),
                )
                for group in row
            ]
            made = packing.packed_row(
                groups, row_len=ROW_LEN, row_images=ROW_IMAGES, picture_len=self.layout.picture_len
            )
            side = self.variant.vit.image_size
            made["images"] = np.zeros((ROW_IMAGES, side, side, 3), np.uint8)
            shown = [number for group in row for number in RECORDS[group[0]][0]]
            made["images"][: len(shown)] = pixels(side)[shown]
            if self.reads_text:
                made |= {"text_ids": np.zeros((ROW_IMAGES, 5), np.int32), "text_mask": np.zeros((ROW_IMAGES, 5), bool)}
                texts = [self.text(group[0], len(RECORDS[group[0]][0])) for group in row]
                for name in ("text_ids", "text_mask"):
                    made[name][: len(shown)] = np.concatenate([text[name] for text in texts])[: len(shown)]
            columns.append(made)
        batch = {name: np.stack([made[name] for made in columns]) for name in columns[0]}
        return {
            name: array.reshape(-1, *array.shape[2:]) if name in ("images", "text_ids", "text_mask") else array
            for name, array in batch.items()
        }

    def loss_of(self, batches):
        """Returns a function from parameters to (the mean over the supervised tokens of all batches, sums)."""
        batches = jax.tree.map(jnp.asarray, batches)

        def loss(params):
            totals = [
                objectives.response_loss(self.model, params, batch, task=self.task, rngs=None)[1] for batch in batches
            ]
            sums = {name: sum(total[name] for total in totals) for name in ("train/loss", "train/loss/source")}
            return sums["train/loss"][0] / sums["train/loss"][1], sums

        return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, words) -> Family:
    return Family(request.param, words)


def by_block(tree) -> dict[str, np.ndarray]:
    """Returns the gradient of each block as one vector; stacked blocks are taken apart."""
    parts: dict[str, list[np.ndarray]] = {}
    for path, leaf in parameter_paths.flatten(tree).items():
        leaf = np.asarray(leaf, np.float64)
        part = path.split("/")[0]
        if "blocks" in path or "groups" in path:
            for number, layer in enumerate(leaf):
                parts.setdefault(f"{part} {number} {'block_1' in path}", []).append(layer.ravel())
        else:
            parts.setdefault(f"{part} {path.split('/')[1]}", []).append(leaf.ravel())
    return {name: np.concatenate(vectors) for name, vectors in parts.items()}


def assert_same(found, wanted) -> None:
    (loss, sums), gradients = found
    (wanted_loss, wanted_sums), wanted_gradients = wanted
    assert float(loss) == pytest.approx(float(wanted_loss), rel=1e-6)
    np.testing.assert_allclose(sums["train/loss/source"], wanted_sums["train/loss/source"], rtol=3e-6)
    blocks, wanted_blocks = by_block(gradients), by_block(wanted_gradients)
    assert {name.split()[0] for name in blocks} >= {"vit", "projection", "decoder"}
    for name, vector in blocks.items():
        other = wanted_blocks[name]
        cosine = vector @ other / np.sqrt((vector @ vector) * (other @ other))
        assert cosine >= 0.999999, (name, cosine)
        assert np.linalg.norm(vector) == pytest.approx(np.linalg.norm(other), rel=1e-4), name


@pytest.mark.slow
def test_packed_rows_lose_and_learn_what_single_rows_do(family):
    params = family.params()
    wanted = family.loss_of(family.singles())(params)
    packed = family.packed()
    assert wanted[0][1]["train/loss"][1] == packed["loss_mask"].sum()
    if not family.reads_text:
        assert (packed["parent_ids"] != packed["segment_ids"]).any()
    assert_same(family.loss_of([packed])(params), wanted)
    if family.name not in SHARDED and not LONG:
        return
    mesh = sharding.make_mesh(data=8)
    rules = sharding.PRESETS["fsdp"]
    with jax.set_mesh(mesh), layers.activation_rules(rules):
        placed = jax.device_put(packed, sharding.batch_sharding(mesh, rules))
        held = jax.device_put(params, sharding.parameter_shardings(params, mesh, rules))
        assert_same(family.loss_of([placed])(held), wanted)
