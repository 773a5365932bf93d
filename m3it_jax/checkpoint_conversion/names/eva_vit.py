"""The names of the EVA tower of BLIP-2 and InstructBLIP (transformers `Blip2VisionModel`)."""

from m3it_jax.checkpoint_conversion.names import layer_entries
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.models.vit import ViTConfig


def entries(config: ViTConfig, prefix: str = "vision_model.") -> list[Entry]:
    """Returns the map of the tower; `prefix` stands before each Hugging Face name."""
    width, embeddings = config.embed_dim, f"{prefix}embeddings."
    positions = (1, config.num_positions, width)
    made = [
        *layer_entries.tensor(f"{embeddings}class_embedding", "vit/class_token", (1, 1, width)),
        *layer_entries.tensor(f"{embeddings}position_embedding", "vit/position_embedding", positions),
        *layer_entries.patches(
            f"{embeddings}patch_embedding", "vit/patch_embedding", patch_size=config.patch_size, width=width
        ),
        *layer_entries.tensor(f"{embeddings}patch_embedding.bias", "vit/patch_embedding/bias", (width,)),
        *layer_entries.norm(f"{prefix}post_layernorm", "vit/final_norm", width),
    ]
    for layer in range(config.num_layers):
        key, path = f"{prefix}encoder.layers.{layer}.", "vit/blocks/"
        made += _fused(f"{key}self_attn.qkv", f"{path}attn/", width, layer=layer)
        made += layer_entries.linear(f"{key}self_attn.projection", f"{path}attn/out", (width, width), layer=layer)
        made += layer_entries.norm(f"{key}layer_norm1", f"{path}attn_norm", width, layer=layer)
        made += layer_entries.norm(f"{key}layer_norm2", f"{path}mlp_norm", width, layer=layer)
        made += layer_entries.linear(f"{key}mlp.fc1", f"{path}mlp/up", (width, config.mlp_dim), layer=layer)
        made += layer_entries.linear(f"{key}mlp.fc2", f"{path}mlp/down", (config.mlp_dim, width), layer=layer)
    return made


def _fused(key: str, path: str, width: int, *, layer: int) -> list[Entry]:
    """Returns the entries of queries, keys and values, which lie one above the other in one matrix."""
    parts = [f"{path}{name}/" for name in ("query", "key", "value")]
    kernels, biases = (tuple(f"{part}{name}" for part in parts) for name in ("kernel", "bias"))
    return [
        Entry(f"{key}.weight", (3 * width, width), kernels, axes=layer_entries.TRANSPOSED, layer=layer),
        Entry(f"{key}.bias", (3 * width,), biases, layer=layer),
    ]
