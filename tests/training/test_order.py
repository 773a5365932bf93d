import itertools

import m3it_jax
from m3it_jax.config import DataConfig, Experiment, ModelConfig
from m3it_jax.input_pipeline.order import mixture
from m3it_jax.training import order, setup

SIZES = {"max_text_len": 80, "max_response_len": 40, "global_batch_size": 4, "max_images": 40, "row_len": 300}


def experiment(folder, **fields) -> Experiment:
    return Experiment(model=ModelConfig(variant="tiny"), data=DataConfig(path=str(folder.path), **SIZES | fields))


def test_rows_of_one_record_are_those_of_the_mixture(folder):
    config = experiment(folder)
    assert m3it_jax.mixture_order is order.mixture_order
    assert order.mixture_order(config, 3, 40) == mixture.mixture_order(config, 3, 40)


def test_packed_rows_give_the_ids_of_all_their_records(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = experiment(folder, packing="rows")
    pipeline = setup.train_pipeline(config)
    steps = [pipeline.record_ids(step) for step in range(3)]
    assert order.mixture_order(config, 0, 12) == list(itertools.chain(*steps))
    assert order.mixture_order(config, 4, 8) == steps[1]
    assert len(steps[1]) > 8
    assert pipeline.rows_ids(4, 8) == pipeline.row_ids(1)
