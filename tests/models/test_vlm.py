"""The whole model of every family: padding, what reaches what, and the same numbers on any mesh."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models
from small_models import SMALL

from m3it_jax import parameter_paths, sharding
from m3it_jax.models import layers, vit, vlm

# One family for each kind of part: EVA and CLIP, Q-Former with and without text, both bridges, the three decoders.
FAMILIES = ("blip2_opt", "blip2_t5", "instructblip", "llava")
MESHES = {"single": (8, 1, 1), "fsdp": (4, 2, 1), "fsdp_tp": (2, 2, 2)}  # devices along data, fsdp, tensor
SHARDS = {
    "blip2_opt": {
        "decoder/token_embedding/embedding": ((78, 24), (78, 12), (39, 12)),
        "decoder/position_embedding": ((66, 24), (66, 12), (66, 12)),
        "decoder/blocks/attn/key/bias": ((3, 4, 6), (3, 4, 6), (3, 2, 6)),
        "decoder/blocks/mlp/up/bias": ((3, 28), (3, 28), (3, 14)),
    },
    "blip2_t5": {
        "decoder/relative_bias/embedding": ((10, 4), (10, 4), (10, 2)),
        "decoder/encoder/blocks/mlp/gate/kernel": ((3, 20, 28), (3, 10, 28), (3, 10, 14)),
        "decoder/blocks/cross_attn/out/kernel": ((2, 4, 6, 20), (2, 4, 6, 10), (2, 2, 6, 10)),
        "decoder/encoder/final_norm/scale": ((20,), (10,), (10,)),
    },
    "instructblip": {
        "qformer/text_embedding/embedding": ((51, 16), (51, 8), (51, 8)),
        "qformer/groups/block_1/text_mlp/up/kernel": ((2, 16, 24), (2, 8, 24), (2, 8, 12)),
        "decoder/blocks/attn/key/kernel": ((3, 20, 2, 6), (3, 10, 2, 6), (3, 10, 1, 6)),
        "projection/kernel": ((16, 20), (16, 10), (16, 10)),
    },
    "llava": {
        "projection/up/kernel": ((24, 28), (24, 28), (24, 14)),
        "projection/down/kernel": ((28, 20), (28, 10), (14, 10)),
        "vit/input_norm/scale": ((24,), (12,), (12,)),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_sharded_equals_unsharded_with_every_preset(family: str) -> None:
    model, params = small_models.make(family)
    batch = small_models.make_batch(SMALL[family], num_rows=8)
    wanted = np.asarray(jax.jit(model.apply)({"params": params}, batch))
    for number, (preset, sizes) in enumerate(MESHES.items()):
        rules = sharding.PRESETS[preset]
        mesh = sharding.make_mesh(**dict(zip(sharding.MESH_AXES, sizes, strict=True)))
        placed = jax.device_put(params, sharding.parameter_shardings(params, mesh, rules))
        leaves = parameter_paths.flatten(placed)
        for path, shapes in SHARDS[family].items():
            assert leaves[path].addressable_shards[0].data.shape == shapes[number], (preset, path)
        rows = jax.device_put(batch, sharding.batch_sharding(mesh, rules))
        with jax.set_mesh(mesh), layers.activation_rules(rules):
            found = jax.jit(model.apply)({"params": placed}, rows)
        np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max(), err_msg=preset)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_stands_in_padding_changes_nothing(family: str) -> None:
    """Garbage in a row's padding reaches neither that row's tokens nor another row."""
    model, params = small_models.make(family)
    batch = small_models.make_batch(SMALL[family], num_rows=3)
    padding = batch["segment_ids"] == 0
    other = {**batch, "token_ids": np.where(padding, 3, batch["token_ids"])}
    if "text_ids" in batch:
        other["text_ids"] = np.where(batch["text_mask"], batch["text_ids"], 3)
    apply = jax.jit(model.apply)
    first, second = (np.asarray(apply({"params": params}, one)) for one in (batch, other))
    real = np.ones(first.shape[:2], bool) if "decoder_ids" in batch else ~padding
    assert padding.any() and not np.array_equal(batch["token_ids"], other["token_ids"])
    np.testing.assert_array_equal(first[real], second[real])
    alone = {name: array[1:2] for name, array in batch.items() if name != "image_token_index"}
    alone["image_token_index"] = np.maximum(batch["image_token_index"][1:2] - model.picture_len, -1)
    np.testing.assert_allclose(apply({"params": params}, alone)[0][real[1]], first[1][real[1]], atol=1e-5)


def encode(family: str, images: np.ndarray | None = None, **text: np.ndarray) -> np.ndarray:
    """Returns what the language model sees of the pictures of a small model's batch."""
    model, params = small_models.make(family)
    images = small_models.make_batch(SMALL[family])["images"] if images is None else images
    encoded = jax.jit(
        lambda params, images, text: model.apply({"params": params}, images, **text, method="encode_images")
    )
    return np.asarray(encoded(params, images, text))


def test_the_instruction_reaches_the_queries_and_its_padding_does_not() -> None:
    batch = small_models.make_batch(SMALL["instructblip"])
    ids, mask = batch["text_ids"], batch["text_mask"]
    plain = encode("instructblip", text_ids=ids, text_mask=mask)
    assert plain.shape == (2, 6, 20)  # the queries alone
    assert np.abs(encode("instructblip", text_ids=(ids + 1) % 51, text_mask=mask) - plain).max() > 1e-3
    longer, longer_mask = (np.pad(array, ((0, 0), (0, 4))) for array in (ids, mask))
    np.testing.assert_allclose(encode("instructblip", text_ids=longer, text_mask=longer_mask), plain, atol=1e-5)
    without = encode("instructblip", text_ids=ids, text_mask=np.zeros_like(mask))
    np.testing.assert_allclose(encode("instructblip"), without, atol=1e-5)  # no text: the queries are alone
    assert np.abs(without - plain).max() > 1e-3


@pytest.mark.parametrize(
    ("family", "message"),
    [("blip2_opt", "no text input"), ("llava", "no Q-Former"), ("instructblip", "text_max_len=20")],
)
def test_text_where_nothing_reads_it_or_too_much_of_it_is_refused(family: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(family, text_ids=np.ones((2, 21), np.int32))


@pytest.mark.parametrize(("family", "wanted"), [("ying_vlm", 6), ("llava", 9)])
def test_a_picture_has_as_many_positions_as_the_variant_says(family: str, wanted: int) -> None:
    assert encode(family).shape == (2, wanted, 20)
    assert wanted == small_models.make(family)[0].picture_len == SMALL[family].picture_len


def test_clip_drops_the_class_token_that_it_computed() -> None:
    config, params = SMALL["llava"].vit, small_models.make("llava")[1]["vit"]
    images = jax.random.normal(jax.random.key(0), (1, 42, 42, 3))

    def tokens(config: vit.ViTConfig) -> np.ndarray:
        tower = vit.ViT(config, jnp.dtype("float32"))
        return np.asarray(jax.jit(tower.apply)({"params": params}, images))

    kept = tokens(dataclasses.replace(config, keeps_class_token=True))
    assert kept.shape == (1, 10, 24) and config.num_tokens == 9
    np.testing.assert_array_equal(kept[:, 1:], tokens(config))


def test_an_encoder_decoder_without_an_answer_begins_with_the_start_token_alone() -> None:
    model, params = small_models.make("blip2_t5")
    batch = small_models.make_batch(small_models.SMALL["blip2_t5"])
    ids = batch.pop("decoder_ids")
    run = jax.jit(model.apply)
    alone = run({"params": params}, {name: jnp.asarray(array) for name, array in batch.items()})
    answered = run({"params": params}, {"decoder_ids": jnp.asarray(ids), **batch})
    assert alone.shape[1] == 1
    np.testing.assert_allclose(alone[:, 0], answered[:, 0], atol=1e-4)


def test_an_index_counts_over_the_pictures_of_its_own_row() -> None:
    """Two rows of three pictures with two vectors each: -1 keeps the word, 0 and more name vectors of that row."""
    rng = np.random.default_rng(0)
    words, pictures = rng.normal(size=(2, 7, 4)), rng.normal(size=(6, 2, 4))
    index = np.array([[-1, 0, 1, 5, -1, 2, -1], [4, 5, -1, 0, 3, 3, -1]])
    given = (jnp.asarray(words, jnp.float32), jnp.asarray(index), jnp.asarray(pictures, jnp.float32))
    shown = vlm.own_pictures(*given)
    for row in range(2):
        for place, number in enumerate(index[row]):
            wanted = words[row, place] if number < 0 else pictures[3 * row + number // 2, number % 2]
            np.testing.assert_allclose(shown[row, place], wanted, rtol=1e-6)
