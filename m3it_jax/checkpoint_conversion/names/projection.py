"""The names of what lies between a picture and the language model: `language_projection`, `multi_modal_projector`."""

from m3it_jax.checkpoint_conversion.names import layer_entries
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.models.projection import ProjectionConfig


def entries(config: ProjectionConfig, *, inputs: int, outputs: int) -> list[Entry]:
    """Returns the map of one linear layer (BLIP-2) or of two (LLaVA)."""
    if not config.mlp_dim:
        return layer_entries.linear("language_projection", "projection", (inputs, outputs))
    return [
        *layer_entries.linear("multi_modal_projector.linear_1", "projection/up", (inputs, config.mlp_dim)),
        *layer_entries.linear("multi_modal_projector.linear_2", "projection/down", (config.mlp_dim, outputs)),
    ]
