import dataclasses

import numpy as np

from m3it_jax.checkpoint_conversion.files import sources
from m3it_jax.checkpoint_conversion.files.sources import Made
from m3it_jax.checkpoint_conversion.folders import placeholder
from m3it_jax.models.variants import VARIANTS

EMBEDDING, HEAD = placeholder.VOCABULARY


def test_a_vocabulary_grows_only_where_no_row_is_free():
    tiny = VARIANTS["tiny"]
    size = tiny.decoder.vocab_size
    assert [placeholder.num_added(tiny, index) for index in (0, size - 1, size, size + 2)] == [0, 0, 1, 3]
    assert placeholder.grown_variant(tiny, 0) is tiny
    assert placeholder.grown_variant(tiny, 1) == dataclasses.replace(
        tiny, decoder=dataclasses.replace(tiny.decoder, vocab_size=size + 1)
    )


def test_both_tables_grow_and_nothing_else_changes():
    draw = np.random.default_rng(0)
    params = {EMBEDDING: draw.normal(size=(5, 3)), HEAD: draw.normal(size=(3, 5)), "vit/x": np.ones(2)}
    params = {path: array.astype(np.float32) for path, array in params.items()}
    made = placeholder.grown(params, 2, pad_id=4)
    np.testing.assert_array_equal(made[EMBEDDING][:5], params[EMBEDDING])
    np.testing.assert_array_equal(made[HEAD][:, :5], params[HEAD])
    assert made[EMBEDDING].shape == (7, 3) and made[HEAD].shape == (3, 7) and made["vit/x"] is params["vit/x"]
    for path in (EMBEDDING, HEAD):
        source = Made(params[path].dtype, params[path].shape, None, lambda path=path: params[path])
        rows = sources.whole(placeholder.added_rows(source, path, count=2, pad_id=4))
        np.testing.assert_array_equal(rows, made[path][5:] if path == EMBEDDING else made[path][:, 5:].T)


def test_the_new_token_never_scores_best():
    hidden = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    head = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
    scores = hidden @ placeholder.grown({HEAD: head}, 1, pad_id=2)[HEAD]
    assert (scores.argmax(axis=1) < 5).all()


def test_padding_and_placeholder_have_different_vectors_in_16_bits():
    row = np.random.default_rng(3).normal(size=(1, 64)).astype(np.float16)
    made = placeholder.grown({EMBEDDING: row}, 1, pad_id=0)[EMBEDDING]
    assert made.dtype == np.float16 and (made[0] != made[1]).mean() > 0.9
