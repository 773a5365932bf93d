"""The names of the CLIP tower of LLaVA (transformers `CLIPVisionModel`)."""

from m3it_jax.checkpoint_conversion.names import layer_entries
from m3it_jax.checkpoint_conversion.names.mapping import Entry
from m3it_jax.models.vit import ViTConfig

_ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}


def entries(config: ViTConfig, prefix: str = "vision_tower.vision_model.") -> list[Entry]:
    """Returns the map of the blocks that are computed; `prefix` stands before each Hugging Face name."""
    width, embeddings = config.embed_dim, f"{prefix}embeddings."
    positions = (config.num_positions, width)
    made = [
        *layer_entries.tensor(f"{embeddings}class_embedding", "vit/class_token", (width,)),
        *layer_entries.tensor(f"{embeddings}position_embedding.weight", "vit/position_embedding", positions),
        *layer_entries.patches(
            f"{embeddings}patch_embedding", "vit/patch_embedding", patch_size=config.patch_size, width=width
        ),
        *layer_entries.norm(f"{prefix}pre_layrnorm", "vit/input_norm", width),  # their spelling
    ]
    for layer in range(config.num_layers):
        key, path = f"{prefix}encoder.layers.{layer}.", "vit/blocks/"
        for theirs, ours in _ATTENTION.items():
            made += layer_entries.linear(f"{key}self_attn.{theirs}", f"{path}attn/{ours}", (width, width), layer=layer)
        made += layer_entries.norm(f"{key}layer_norm1", f"{path}attn_norm", width, layer=layer)
        made += layer_entries.norm(f"{key}layer_norm2", f"{path}mlp_norm", width, layer=layer)
        made += layer_entries.linear(f"{key}mlp.fc1", f"{path}mlp/up", (width, config.mlp_dim), layer=layer)
        made += layer_entries.linear(f"{key}mlp.fc2", f"{path}mlp/down", (config.mlp_dim, width), layer=layer)
    return made
