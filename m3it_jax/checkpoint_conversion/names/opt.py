"""The names of OPT (transformers `OPTForCausalLM`). Its table of positions has two rows before that of position 0."""

from m3it_jax.checkpoint_conversion.names import layer_entries
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.models.decoder import DecoderConfig

_ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}


def entries(config: DecoderConfig, prefix: str = "language_model.") -> list[Entry]:
    """Returns the map of the language model; `prefix` stands before each Hugging Face name."""
    width, root = config.embed_dim, f"{prefix}model.decoder."
    words, places = (config.vocab_size, width), (config.max_len + config.position_offset, width)
    made = [
        *layer_entries.tensor(f"{root}embed_tokens.weight", "decoder/token_embedding/embedding", words),
        *layer_entries.tensor(f"{root}embed_positions.weight", "decoder/position_embedding", places),
        *layer_entries.norm(f"{root}final_layer_norm", "decoder/final_norm", width),
    ]
    for layer in range(config.num_layers):
        key, path = f"{root}layers.{layer}.", "decoder/blocks/"
        for theirs, ours in _ATTENTION.items():
            made += layer_entries.linear(f"{key}self_attn.{theirs}", f"{path}attn/{ours}", (width, width), layer=layer)
        made += layer_entries.norm(f"{key}self_attn_layer_norm", f"{path}attn_norm", width, layer=layer)
        made += layer_entries.norm(f"{key}final_layer_norm", f"{path}mlp_norm", width, layer=layer)
        made += layer_entries.linear(f"{key}fc1", f"{path}mlp/up", (width, config.mlp_dim), layer=layer)
        made += layer_entries.linear(f"{key}fc2", f"{path}mlp/down", (config.mlp_dim, width), layer=layer)
    return made
