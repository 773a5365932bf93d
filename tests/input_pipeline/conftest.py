"""A pipeline over the shared data folder of a few records."""

import pytest

from m3it_jax import config
from m3it_jax.input_pipeline import pipeline


@pytest.fixture
def make_pipeline(folder, words, layout, tiny):
    def make(*, objective="response", seed=7, data_folder=folder, layout=layout, qformer_tokenizer=None, **fields):
        settings = {"path": str(data_folder.path), "global_batch_size": 8, "max_images": 16} | fields
        return pipeline.Pipeline(
            config.DataConfig(**settings),
            objective=objective,
            layout=layout,
            image_size=tiny.SIZE,
            seed=seed,
            data_folder=data_folder,
            tokenizer=words,
            qformer_tokenizer=qformer_tokenizer,
        )

    return make
