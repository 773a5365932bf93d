import pathlib

import numpy as np
import pytest

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.files import derived, sources
from m3it_jax.checkpoint_conversion.files.sources import Made

RNG = np.random.default_rng(0)
# As many heads as no half of a head has dimensions, so that axes in the wrong order show.
WIDTH, HEADS, HEAD_DIM, MLP, WORDS = 24, 4, 6, 12, 10


def source(array):
    return Made(array.dtype, array.shape, pathlib.Path("file"), lambda: array)


def of(*shape):
    return RNG.normal(size=shape).astype(np.float16)


def values(tensors):
    return {key: sources.whole(tensor) for key, tensor in tensors.items()}


@pytest.fixture
def delta():
    return {"model.embed_tokens.weight": of(7, 3), "lm_head.weight": of(7, 3), "model.norm.weight": of(3)}


def test_the_embeddings_of_a_delta_are_replaced_or_added(delta):
    base = {key: of(*array.shape) for key, array in delta.items()}
    base |= {"lm_head.weight": of(5, 3), "model.embed_tokens.weight": of(5, 3), "unasked": of(1)}
    delta |= {"model.layers.0.self_attn.rotary_emb.inv_freq": of(2)}
    ours, theirs = ({key: source(array) for key, array in one.items()} for one in (delta, base))
    replaced = values(derived.summed(ours, theirs, embeddings="replaced"))
    np.testing.assert_array_equal(replaced["lm_head.weight"], delta["lm_head.weight"])
    np.testing.assert_array_equal(replaced["model.norm.weight"], delta["model.norm.weight"] + base["model.norm.weight"])
    added = values(derived.summed(ours, theirs, embeddings="added"))
    np.testing.assert_array_equal(added["lm_head.weight"][:5], delta["lm_head.weight"][:5] + base["lm_head.weight"])
    np.testing.assert_array_equal(added["lm_head.weight"][5:], delta["lm_head.weight"][5:])
    assert replaced.keys() == added.keys() == delta.keys()


def test_a_delta_needs_the_base_it_was_made_from(delta):
    ours = {key: source(array) for key, array in delta.items()}
    with pytest.raises(errors.UserError, match=r"file: model\.norm\.weight has no counterpart in the base"):
        derived.summed(ours, {}, embeddings="replaced")
    theirs = {**ours, "model.norm.weight": source(of(4))}
    with pytest.raises(errors.UserError, match=r"model\.norm\.weight has shape \(4,\), the delta has \(3,\)"):
        derived.summed(ours, theirs, embeddings="replaced")
    theirs = {**ours, "lm_head.weight": source(of(9, 3))}
    with pytest.raises(errors.UserError, match=r"lm_head\.weight has shape \(9, 3\)"):
        derived.summed(ours, theirs, embeddings="added")


def original(shapes):
    return {
        "tok_embeddings.weight": of(WORDS, WIDTH),
        "output.weight": of(WORDS, WIDTH),
        "norm.weight": of(WIDTH),
        "rope.freqs": of(HEAD_DIM // 2),
        **{f"layers.0.{name}.weight": of(*shape) for name, shape in shapes.items()},
    }


def test_shards_of_llama_are_joined_and_their_heads_reordered():
    square = (WIDTH, WIDTH)
    whole = original(
        {
            **{f"attention.w{name}": square for name in "qkvo"},
            "feed_forward.w1": (MLP, WIDTH),
            "feed_forward.w2": (WIDTH, MLP),
            "feed_forward.w3": (MLP, WIDTH),
            "attention_norm": (WIDTH,),
            "ffn_norm": (WIDTH,),
        }
    )
    along_columns = ("tok_embeddings", "wo", "w2")
    shards = []
    for number in range(2):
        shard = {}
        for key, array in whole.items():
            axis = 1 if any(name in key for name in along_columns) else 0
            shard[key] = source(np.split(array, 2, axis)[number] if array.ndim == 2 else array)
        shards.append(shard)
    found = values(derived.from_llama_shards(shards))
    assert len(found) == len(whole) - 1
    for theirs, ours in (
        ("tok_embeddings.weight", "model.embed_tokens.weight"),
        ("output.weight", "lm_head.weight"),
        ("layers.0.attention.wv.weight", "model.layers.0.self_attn.v_proj.weight"),
        ("layers.0.attention.wo.weight", "model.layers.0.self_attn.o_proj.weight"),
        ("layers.0.feed_forward.w2.weight", "model.layers.0.mlp.down_proj.weight"),
        ("layers.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight"),
    ):
        np.testing.assert_array_equal(found[ours], whole[theirs])
    # Original: dimensions 2i and 2i+1 of a head turn together. Hugging Face: i and i + half.
    query = found["model.layers.0.self_attn.q_proj.weight"].reshape(HEADS, 2, HEAD_DIM // 2, WIDTH)
    before = whole["layers.0.attention.wq.weight"].reshape(HEADS, HEAD_DIM // 2, 2, WIDTH)
    np.testing.assert_array_equal(query[:, 0], before[:, :, 0])
    np.testing.assert_array_equal(query[:, 1], before[:, :, 1])
    del shards[1]["norm.weight"], shards[1]["output.weight"]
    with pytest.raises(errors.UserError, match=r"file: has no output\.weight like that of file; fetch all shards"):
        derived.from_llama_shards(shards)
    with pytest.raises(errors.UserError, match="holds lora, which is no tensor of LLaMA"):
        derived.from_llama_shards([{"lora": source(of(1))}])


def test_biases_that_are_kept_apart_are_joined_with_zeros_for_the_keys():
    query, value, other = of(4), of(4), of(2)
    found = values(
        derived.with_fused_biases({"a.q_bias": source(query), "a.v_bias": source(value), "q_bias_of": source(other)})
    )
    assert set(found) == {"a.qkv.bias", "q_bias_of"}
    np.testing.assert_array_equal(found["a.qkv.bias"], np.concatenate([query, np.zeros(4, np.float16), value]))
