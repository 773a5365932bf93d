"""Which records a run trains on, in their order, without reading a picture."""

from m3it_jax.config import PACKED, Experiment
from m3it_jax.input_pipeline.order import mixture


def mixture_order(config: Experiment, start: int, stop: int) -> list[str]:
    """Returns the record ids of the training rows [start, stop), in the order in which they are trained on.

    Rows count over all hosts, from the first row of step 0. A packed row has several records: all ids of the first row,
    then those of the second. Index files are read, no picture; only where rows are packed or pictures are cut, and the
    tokens or tiles of records were not counted yet, every record is read once.

    Raises:
      UserError: the data folder is missing or damaged, or the range is none.
      ConfigError: the mixture names a source that is not there, or the data does not suit the rest.
    """
    if config.data.packing not in PACKED and config.model.tiles == 1:
        return mixture.mixture_order(config, start, stop)
    from m3it_jax.training import setup  # with JAX and the model's sizes, on which rows depend

    pipeline = setup.train_pipeline(config)
    return [name for row in pipeline.rows_ids(start, stop) for name in row]
