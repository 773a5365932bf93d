import numpy as np
import pytest

from m3it_jax import errors
from m3it_jax.input_pipeline import batch_checks


class TestFirstBatchCheck:
    @pytest.fixture
    def checked(self, make_pipeline, layout, words):
        making = make_pipeline()
        step = next(step for step in range(20) if making.plan.step(step)[0] == 2)

        def check(change=lambda batch: None, host=0, hosts=1):
            batch = {
                name: array.copy()
                for name, array in making.batch(step, process_index=host, process_count=hosts).items()
            }
            change(batch)
            ids = making.record_ids(step, process_index=host, process_count=hosts)
            batch_checks.check_first_batch(batch, layout, vocab_size=words.vocab_size, record_ids=ids)
            return ids

        return check

    @pytest.mark.parametrize("host", [0, 1])
    def test_a_sound_batch_passes_on_any_host(self, checked, host):
        checked()
        checked(host=host, hosts=2)

    def test_a_row_without_supervision_is_named(self, checked):
        name = checked()[2]
        with pytest.raises(errors.UserError, match=f"1 of 8 rows have no token to learn from.*{name}"):
            checked(lambda batch: batch["loss_mask"][2].fill(0))

    def test_supervised_padding_does_not_count(self, checked):
        def change(batch):
            batch["loss_mask"][1] = batch["segment_ids"][1] == 0

        with pytest.raises(errors.UserError, match="no token to learn from"):
            checked(change)

    @pytest.mark.parametrize("row", [0, 7])
    def test_a_lost_image_token_is_named(self, checked, row):
        def change(batch):
            batch["image_token_index"][row, np.argmax(batch["image_token_index"][row])] = -1

        with pytest.raises(errors.UserError, match="1 of 8 rows have lost image tokens"):
            checked(change)

    def test_an_image_token_of_another_row_is_named(self, checked):
        def change(batch):
            batch["image_token_index"][[3, 4]] = batch["image_token_index"][[4, 3]]

        with pytest.raises(errors.UserError, match="2 of 8 rows have lost image tokens"):
            checked(change)

    def test_an_id_outside_the_vocabulary_is_named(self, checked, words):
        def change(batch):
            batch["token_ids"][6, 3] = words.vocab_size

        with pytest.raises(errors.UserError, match="1 of 8 rows hold token ids outside the vocabulary"):
            checked(change)
