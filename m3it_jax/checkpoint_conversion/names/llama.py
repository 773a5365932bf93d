"""The names of LLaMA and what descends from it: Vicuna, Ziya (transformers `LlamaForCausalLM`)."""

from m3it_jax.checkpoint_conversion.names import layer_entries
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.models.decoder import DecoderConfig


def entries(config: DecoderConfig, prefix: str = "language_model.") -> list[Entry]:
    """Returns the map of the language model; `prefix` stands before each Hugging Face name."""
    width, head_dim = config.embed_dim, config.head_dim
    heads, kv_heads = config.num_heads * head_dim, config.num_kv_heads * head_dim
    words = (config.vocab_size, width)
    made = [
        *layer_entries.tensor(f"{prefix}model.embed_tokens.weight", "decoder/token_embedding/embedding", words),
        *layer_entries.norm(f"{prefix}model.norm", "decoder/final_norm", width, bias=False),
    ]
    if not config.has_tied_head:
        made += layer_entries.linear(f"{prefix}lm_head", "decoder/head", words[::-1], bias=False)
    tables = {
        "self_attn.q_proj": ("attn/query", (width, heads)),
        "self_attn.k_proj": ("attn/key", (width, kv_heads)),
        "self_attn.v_proj": ("attn/value", (width, kv_heads)),
        "self_attn.o_proj": ("attn/out", (heads, width)),
        "mlp.gate_proj": ("mlp/gate", (width, config.mlp_dim)),
        "mlp.up_proj": ("mlp/up", (width, config.mlp_dim)),
        "mlp.down_proj": ("mlp/down", (config.mlp_dim, width)),
    }
    for layer in range(config.num_layers):
        key, path = f"{prefix}model.layers.{layer}.", "decoder/blocks/"
        for theirs, (ours, sizes) in tables.items():
            made += layer_entries.linear(f"{key}{theirs}", f"{path}{ours}", sizes, layer=layer, bias=False)
        made += layer_entries.norm(f"{key}input_layernorm", f"{path}attn_norm", width, layer=layer, bias=False)
        made += layer_entries.norm(f"{key}post_attention_layernorm", f"{path}mlp_norm", width, layer=layer, bias=False)
    return made
