"""The names of T5 1.1 and Flan-T5 (transformers `T5ForConditionalGeneration`): gated, encoder and decoder."""

from m3it_jax.checkpoint_conversion.names import layer_entries
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig


def entries(config: EncoderDecoderConfig, prefix: str = "language_model.") -> list[Entry]:
    """Returns the map of the language model; `prefix` stands before each Hugging Face name."""
    words = (config.vocab_size, config.embed_dim)
    made = layer_entries.tensor(f"{prefix}shared.weight", "decoder/token_embedding/embedding", words)
    if not config.has_tied_head:
        made += layer_entries.linear(f"{prefix}lm_head", "decoder/head", words[::-1], bias=False)
    made += _stack(config, f"{prefix}encoder.", "decoder/encoder/", num_layers=config.num_encoder_layers)
    made += _stack(config, f"{prefix}decoder.", "decoder/", num_layers=config.num_layers)
    return made


def _stack(config: EncoderDecoderConfig, prefix: str, path: str, *, num_layers: int) -> list[Entry]:
    """Returns the entries of the encoder or the decoder; the table of distances lies in the first block."""
    width, is_decoder = config.embed_dim, prefix.endswith("decoder.")
    distances = (config.relative_buckets, config.num_heads)
    table = f"{prefix}block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    made = [
        *layer_entries.tensor(table, f"{path}relative_bias/embedding", distances),
        *layer_entries.norm(f"{prefix}final_layer_norm", f"{path}final_norm", width, bias=False),
    ]
    for layer in range(num_layers):
        sub, ours = f"{prefix}block.{layer}.layer.", f"{path}blocks/"
        made += _attention(config, f"{sub}0.SelfAttention.", f"{ours}attn/", layer=layer)
        made += layer_entries.norm(f"{sub}0.layer_norm", f"{ours}attn_norm", width, layer=layer, bias=False)
        if is_decoder:
            made += _attention(config, f"{sub}1.EncDecAttention.", f"{ours}cross_attn/", layer=layer)
            made += layer_entries.norm(f"{sub}1.layer_norm", f"{ours}cross_attn_norm", width, layer=layer, bias=False)
        last = f"{sub}{2 if is_decoder else 1}."
        for theirs, name, sizes in (
            ("wi_0", "gate", (width, config.mlp_dim)),
            ("wi_1", "up", (width, config.mlp_dim)),
            ("wo", "down", (config.mlp_dim, width)),
        ):
            key = f"{last}DenseReluDense.{theirs}"
            made += layer_entries.linear(key, f"{ours}mlp/{name}", sizes, layer=layer, bias=False)
        made += layer_entries.norm(f"{last}layer_norm", f"{ours}mlp_norm", width, layer=layer, bias=False)
    return made


def _attention(config: EncoderDecoderConfig, key: str, path: str, *, layer: int) -> list[Entry]:
    width, heads = config.embed_dim, config.num_heads * config.head_dim
    made = []
    for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value")):
        made += layer_entries.linear(f"{key}{theirs}", f"{path}{ours}", (width, heads), layer=layer, bias=False)
    return made + layer_entries.linear(f"{key}o", f"{path}out", (heads, width), layer=layer, bias=False)
