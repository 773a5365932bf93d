"""The names of the Q-Former (transformers `Blip2QFormerModel`, `InstructBlipQFormerModel`): BERT's, and `_query`."""

from m3it_jax.checkpoint_conversion.names import layer_entries
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.models.qformer import QFormerConfig


def input_norm(config: QFormerConfig) -> str:
    """Returns where the norm of the input lies: with text input, among the embeddings."""
    return "qformer.embeddings.layernorm" if config.text_vocab_size else "qformer.layernorm"


def entries(config: QFormerConfig, picture_dim: int) -> list[Entry]:
    """Returns the map; `picture_dim` is the width of the vision tower, which cross-attention reads."""
    width = config.embed_dim
    made = [
        *layer_entries.tensor("query_tokens", "qformer/query_tokens", (1, config.num_queries, width)),
        *layer_entries.norm(input_norm(config), "qformer/input_norm", width),
    ]
    if config.text_vocab_size:
        key, words = "qformer.embeddings.", (config.text_vocab_size, width)
        places = (config.text_max_len, width)
        made += layer_entries.tensor(f"{key}word_embeddings.weight", "qformer/text_embedding/embedding", words)
        made += layer_entries.tensor(f"{key}position_embeddings.weight", "qformer/text_position_embedding", places)
    for number in range(config.num_layers):
        group, block = divmod(number, config.cross_attention_every)
        key, path = f"qformer.encoder.layer.{number}.", f"qformer/groups/block_{block}/"
        made += _attention(f"{key}attention.", f"{path}self_attn", (width, width), layer=group)
        if block == 0:
            made += _attention(f"{key}crossattention.", f"{path}cross_attn", (picture_dim, width), layer=group)
        made += _feed_forward(config, (f"{key}intermediate_query", f"{key}output_query"), f"{path}mlp", layer=group)
        if config.text_vocab_size:
            made += _feed_forward(config, (f"{key}intermediate", f"{key}output"), f"{path}text_mlp", layer=group)
    return made


def _attention(key: str, path: str, sizes: tuple[int, int], *, layer: int) -> list[Entry]:
    """Returns the entries of an attention and its norm; `sizes` is (width of the keys' source, width)."""
    source, width = sizes
    return [
        *layer_entries.linear(f"{key}attention.query", f"{path}/query", (width, width), layer=layer),
        *layer_entries.linear(f"{key}attention.key", f"{path}/key", (source, width), layer=layer),
        *layer_entries.linear(f"{key}attention.value", f"{path}/value", (source, width), layer=layer),
        *layer_entries.linear(f"{key}output.dense", f"{path}/out", (width, width), layer=layer),
        *layer_entries.norm(f"{key}output.LayerNorm", f"{path}_norm", width, layer=layer),
    ]


def _feed_forward(config: QFormerConfig, keys: tuple[str, str], path: str, *, layer: int) -> list[Entry]:
    (up, down), width, mlp_dim = keys, config.embed_dim, config.mlp_dim
    return [
        *layer_entries.linear(f"{up}.dense", f"{path}/up", (width, mlp_dim), layer=layer),
        *layer_entries.linear(f"{down}.dense", f"{path}/down", (mlp_dim, width), layer=layer),
        *layer_entries.norm(f"{down}.LayerNorm", f"{path}_norm", width, layer=layer),
    ]
