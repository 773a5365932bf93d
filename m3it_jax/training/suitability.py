"""What a model cannot be trained on: objectives and forms of rows that its parts have no place for."""

from m3it_jax import errors
from m3it_jax.config import PACKED, Experiment
from m3it_jax.models import variants


def check_variant(config: Experiment, variant: variants.Variant) -> None:
    """Checks a configuration against its model, before data is read.

    Raises:
      ConfigError: the model cannot be trained so; the message names the field.
    """
    if variant.is_encoder_decoder and config.data.packing in PACKED:
        raise errors.ConfigError(
            f"data.packing={config.data.packing}: model.variant={config.model.variant} has an encoder-decoder language "
            "model, whose rows hold one record; take none"
        )
    if variant.is_encoder_decoder and config.data.picture_as == "captions":
        raise errors.ConfigError(
            f"data.picture_as=captions: model.variant={config.model.variant} has an encoder-decoder language model, "
            "which learns answers alone; take embeddings"
        )
    if config.objective == "qformer_tower" and variant.qformer is None:
        raise errors.ConfigError(
            f"objective=qformer_tower: model.variant={config.model.variant} has no Q-Former; take one that has"
        )
