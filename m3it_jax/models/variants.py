"""Named sizes of the model; each row says where its numbers come from."""

import dataclasses

from m3it_jax.models.decoder import DecoderConfig
from m3it_jax.models.qformer import QFormerConfig
from m3it_jax.models.vit import ViTConfig

# OpenAI's CLIP statistics, which EVA-CLIP and BLIP-2 keep (openai/CLIP clip/clip.py).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Variant:
    """Sizes of the four parts; the projection goes from the Q-Former's width to the decoder's."""

    vit: ViTConfig
    qformer: QFormerConfig
    decoder: DecoderConfig


def _small(
    width: int, *, patch_size: int, num_layers: int, num_heads: int, num_queries: int, dropout_rate: float
) -> Variant:
    """Returns a model whose parts all have one width: the full-size code with smaller numbers."""
    vit = ViTConfig(
        image_size=64,
        patch_size=patch_size,
        embed_dim=width,
        mlp_dim=4 * width,
        num_layers=num_layers,
        num_heads=num_heads,
        activation="quick_gelu",
        layer_norm_epsilon=1e-6,
        pixel_mean=HALF,
        pixel_std=HALF,
    )
    qformer = QFormerConfig(
        num_queries=num_queries,
        embed_dim=width,
        mlp_dim=4 * width,
        num_layers=num_layers,
        num_heads=num_heads,
        cross_attention_every=2,
        activation="quick_gelu",
        layer_norm_epsilon=1e-6,
        dropout_rate=dropout_rate,
    )
    decoder = DecoderConfig(
        vocab_size=2_560,  # of m3it-mini's tokenizer
        embed_dim=width,
        mlp_dim=width * 11 // 4,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=width // num_heads,
        max_len=512,
        rope_base=10_000.0,
        rms_norm_epsilon=1e-6,
    )
    return Variant(vit, qformer, decoder)


VARIANTS: dict[str, Variant] = {
    # For tests and tutorials: everything runs, dropout included, and little is learned.
    "tiny": _small(32, patch_size=16, num_layers=2, num_heads=2, num_queries=4, dropout_rate=0.1),
    # For m3it-mini on two cores; sizes chosen for ten minutes (docs/adr/0008).
    "mini": _small(128, patch_size=8, num_layers=4, num_heads=4, num_queries=8, dropout_rate=0.0),
    # Ying-VLM (arXiv 2306.04387, section 4.1): EVA ViT-g/14 less its last block and the Q-Former of
    # Salesforce/blip2-opt-2.7b (config.json), LLaMA-13B sizes with the vocabulary of IDEA-CCNL/Ziya-LLaMA-13B-v1.
    "ying_vlm_13b": Variant(
        vit=ViTConfig(
            image_size=224,
            patch_size=14,
            embed_dim=1_408,
            mlp_dim=6_144,
            num_layers=39,
            num_heads=16,
            activation="gelu",
            layer_norm_epsilon=1e-6,
            pixel_mean=CLIP_MEAN,
            pixel_std=CLIP_STD,
        ),
        qformer=QFormerConfig(
            num_queries=32,
            embed_dim=768,
            mlp_dim=3_072,
            num_layers=12,
            num_heads=12,
            cross_attention_every=2,
            activation="gelu",
            layer_norm_epsilon=1e-12,
            dropout_rate=0.1,
        ),
        decoder=DecoderConfig(
            vocab_size=39_424,
            embed_dim=5_120,
            mlp_dim=13_824,
            num_layers=40,
            num_heads=40,
            num_kv_heads=40,
            head_dim=128,
            max_len=2_048,
            rope_base=10_000.0,
            rms_norm_epsilon=1e-6,
        ),
    ),
}
