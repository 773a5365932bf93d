import numpy as np

from m3it_jax import schema
from m3it_jax.analysis import token_view
from m3it_jax.input_pipeline.rows import transforms

TURN = schema.Turn("What is this?", "hint 3", "a picture with number 3", new_pictures=2)


def test_what_the_loss_counts_is_learned_and_padding_is_not_shown(words, layout):
    row = transforms.training_row(layout, words, [TURN])
    shown = token_view.tokens(row, words)
    text = transforms.fit(layout, words, [TURN])
    learned = [spelling for kind, spelling in shown if kind == token_view.LEARNED]
    assert len(learned) == len(text.response_ids) == int(np.sum(row["loss_mask"]))
    assert "".join(learned).replace("\u2581", " ") == "a picture with number 3⏎</s>"
    assert [kind for kind, _ in shown].count(token_view.PICTURE) == 2 * layout.picture_len
    assert len(shown) == int(np.sum(row["segment_ids"])) < len(row["segment_ids"])
