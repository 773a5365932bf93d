"""Named models; each row says where its numbers come from."""

import dataclasses
import json
from pathlib import Path

from m3it_jax import errors
from m3it_jax.models.decoder import DecoderConfig
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig
from m3it_jax.models.projection import ProjectionConfig
from m3it_jax.models.qformer import QFormerConfig
from m3it_jax.models.variant import Variant, from_dict, to_dict
from m3it_jax.models.vit import ViTConfig

MODEL_FILE = "model.json"  # in a run folder or an imported folder, beside its config.json

# OpenAI's CLIP statistics, which EVA-CLIP and BLIP-2 keep (openai/CLIP clip/clip.py).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


LINEAR = ProjectionConfig(mlp_dim=0, activation="gelu")


def _llama(
    embed_dim: int, mlp_dim: int, num_layers: int, *, num_heads: int, head_dim: int, vocab_size: int, max_len: int
) -> DecoderConfig:
    """Returns a language model of LLaMA's kind (arXiv 2302.13971) without grouped heads."""
    return DecoderConfig(
        vocab_size=vocab_size,
        embed_dim=embed_dim,
        mlp_dim=mlp_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=head_dim,
        max_len=max_len,
        norm="rms",
        norm_epsilon=1e-6,
        positions="rotary",
        rope_base=10_000.0,
        position_offset=0,
        has_biases=False,
        mlp="gated",
        activation="silu",
        has_tied_head=False,
    )


def _small(
    width: int, *, patch_size: int, num_layers: int, num_heads: int, num_queries: int, dropout_rate: float
) -> Variant:
    """Returns a model whose parts all have one width: the full-size code with smaller numbers."""
    vit = dataclasses.replace(
        EVA_G,
        image_size=64,
        patch_size=patch_size,
        embed_dim=width,
        mlp_dim=4 * width,
        num_layers=num_layers,
        num_heads=num_heads,
        activation="quick_gelu",
        pixel_mean=HALF,
        pixel_std=HALF,
    )
    qformer = dataclasses.replace(
        QFORMER,
        num_queries=num_queries,
        embed_dim=width,
        mlp_dim=4 * width,
        num_layers=num_layers,
        num_heads=num_heads,
        activation="quick_gelu",
        layer_norm_epsilon=1e-6,
        dropout_rate=dropout_rate,
    )
    sizes = {"num_heads": num_heads, "head_dim": width // num_heads}
    # The vocabulary is that of m3it-mini's tokenizer.
    decoder = _llama(width, width * 11 // 4, num_layers, vocab_size=2_560, max_len=512, **sizes)
    return Variant(vit, qformer, LINEAR, decoder, "ying_vlm")


# Salesforce/blip2-opt-2.7b config.json, vision_config: EVA-CLIP g/14 less its last block.
EVA_G = ViTConfig(
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
    has_patch_bias=True,
    has_input_norm=False,
    has_final_norm=True,
    keeps_class_token=True,
    image_fit="stretch",
)

# openai/clip-vit-large-patch14-336 config.json, vision_config, of whose 24 layers LLaVA uses 23 and of whose tokens the
# patches (arXiv 2310.03744; llava-hf/llava-1.5-7b-hf config.json: vision_feature_layer -2, select_strategy "default").
CLIP_L_336 = ViTConfig(
    image_size=336,
    patch_size=14,
    embed_dim=1_024,
    mlp_dim=4_096,
    num_layers=23,
    num_heads=16,
    activation="quick_gelu",
    layer_norm_epsilon=1e-5,
    pixel_mean=CLIP_MEAN,
    pixel_std=CLIP_STD,
    has_patch_bias=False,
    has_input_norm=True,
    has_final_norm=False,
    keeps_class_token=False,
    image_fit="crop",
)

# Salesforce/blip2-opt-2.7b config.json, qformer_config.
QFORMER = QFormerConfig(
    num_queries=32,
    embed_dim=768,
    mlp_dim=3_072,
    num_layers=12,
    num_heads=12,
    cross_attention_every=2,
    activation="gelu",
    layer_norm_epsilon=1e-12,
    dropout_rate=0.1,
    text_vocab_size=0,
    text_max_len=0,
)

# Salesforce/instructblip-vicuna-7b config.json, qformer_config: BERT's vocabulary and [DEC].
TEXT_QFORMER = dataclasses.replace(QFORMER, text_vocab_size=30_523, text_max_len=512)

# Sizes of LLaMA (arXiv 2302.13971, table 2; feed-forward widths of huggyllama/llama-7b and llama-13b config.json).
_LLAMA_7B = _llama(4_096, 11_008, 32, num_heads=32, head_dim=128, vocab_size=32_000, max_len=2_048)
_LLAMA_13B = _llama(5_120, 13_824, 40, num_heads=40, head_dim=128, vocab_size=32_000, max_len=2_048)

# facebook/opt-2.7b config.json (arXiv 2205.01068), with the vocabulary of Salesforce/blip2-opt-2.7b's text_config.
_OPT_2_7B = DecoderConfig(
    vocab_size=50_304,
    embed_dim=2_560,
    mlp_dim=10_240,
    num_layers=32,
    num_heads=32,
    num_kv_heads=32,
    head_dim=80,
    max_len=2_048,
    norm="layer",
    norm_epsilon=1e-5,
    positions="learned",
    rope_base=10_000.0,
    position_offset=2,
    has_biases=True,
    mlp="plain",
    activation="relu",
    has_tied_head=True,
)

# google/flan-t5-xl config.json (arXiv 2210.11416), but with the exact GELU in place of the tanh form: LAVIS reads it so
# (blip2_t5.py and blip2_t5_instruct.py: `t5_config.dense_act_fn = "gelu"`), and the hub's files of BLIP-2 say so.
_FLAN_T5_XL = EncoderDecoderConfig(
    vocab_size=32_128,
    embed_dim=2_048,
    mlp_dim=5_120,
    num_encoder_layers=24,
    num_layers=24,
    num_heads=32,
    head_dim=64,
    relative_buckets=32,
    relative_max_distance=128,
    activation="gelu",
    has_tied_head=False,
    rms_norm_epsilon=1e-6,
    max_len=512,
    start_id=0,
)

# google/flan-t5-xxl config.json.
_FLAN_T5_XXL = dataclasses.replace(_FLAN_T5_XL, embed_dim=4_096, mlp_dim=10_240, num_heads=64)


def _blip2(decoder: DecoderConfig | EncoderDecoderConfig, prompt: str, qformer: QFormerConfig = QFORMER) -> Variant:
    return Variant(EVA_G, qformer, LINEAR, decoder, prompt)


def _instructblip(decoder: DecoderConfig) -> Variant:
    """Returns InstructBLIP with Vicuna 1.1, whose vocabulary has one padding token more (arXiv 2305.06500)."""
    return _blip2(dataclasses.replace(decoder, vocab_size=32_001), "instructblip", TEXT_QFORMER)


def _minigpt4(decoder: DecoderConfig) -> Variant:
    """Returns MiniGPT-4 with Vicuna 0, whose vocabulary has one padding token more (arXiv 2304.10592)."""
    return _blip2(dataclasses.replace(decoder, vocab_size=32_001), "minigpt4")


def _llava(decoder: DecoderConfig) -> Variant:
    """Returns LLaVA-1.5 with Vicuna 1.5 (arXiv 2310.03744; llava-hf/llava-1.5-7b-hf config.json)."""
    decoder = dataclasses.replace(decoder, vocab_size=32_064, max_len=4_096, norm_epsilon=1e-5)
    return Variant(CLIP_L_336, None, ProjectionConfig(decoder.embed_dim, "gelu"), decoder, "llava")


VARIANTS: dict[str, Variant] = {
    # For tests and tutorials: everything runs, dropout included, and little is learned.
    "tiny": _small(32, patch_size=16, num_layers=2, num_heads=2, num_queries=4, dropout_rate=0.1),
    # For m3it-mini on two cores; sizes chosen for ten minutes (docs/adr/0008).
    "mini": _small(128, patch_size=8, num_layers=4, num_heads=4, num_queries=8, dropout_rate=0.0),
    # Ying-VLM (arXiv 2306.04387, section 4.1): LLaMA-13B with the vocabulary of IDEA-CCNL/Ziya-LLaMA-13B-v1.
    "ying_vlm_13b": _blip2(dataclasses.replace(_LLAMA_13B, vocab_size=39_424), "ying_vlm"),
    # BLIP-2 (arXiv 2301.12597).
    "blip2_opt_2.7b": _blip2(_OPT_2_7B, "blip2"),
    "blip2_flan_t5_xl": _blip2(_FLAN_T5_XL, "blip2_t5"),
    "blip2_flan_t5_xxl": _blip2(_FLAN_T5_XXL, "blip2_t5"),
    "instructblip_vicuna_7b": _instructblip(_LLAMA_7B),
    "instructblip_vicuna_13b": _instructblip(_LLAMA_13B),
    "instructblip_flan_t5_xl": _blip2(_FLAN_T5_XL, "instructblip_t5", TEXT_QFORMER),
    "instructblip_flan_t5_xxl": _blip2(_FLAN_T5_XXL, "instructblip_t5", TEXT_QFORMER),
    "minigpt4_vicuna_7b": _minigpt4(_LLAMA_7B),
    "minigpt4_vicuna_13b": _minigpt4(_LLAMA_13B),
    "llava_1.5_7b": _llava(_LLAMA_7B),
    "llava_1.5_13b": _llava(_LLAMA_13B),
}


def named(name: str) -> Variant:
    """Returns the variant of a row of `VARIANTS`, or of a folder that has a model.json.

    Raises:
      ConfigError: neither is there, or the file describes no model.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if (Path(name) / MODEL_FILE).is_file():
        return read(Path(name))
    raise errors.ConfigError(
        f"model.variant={name!r}: must be one of {', '.join(VARIANTS)}, or a folder with a {MODEL_FILE}"
    )


def read(folder: Path) -> Variant:
    """Returns the variant that the model.json of a folder describes.

    Raises:
      ConfigError: the file describes no model.
    """
    path = folder / MODEL_FILE
    try:
        return from_dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise errors.ConfigError(
            f"{path}: cannot be read ({error}); restore it, or import the weights again"
        ) from error
    except errors.ConfigError as error:
        raise errors.ConfigError(f"{path}: {error}") from error


def write(variant: Variant, folder: Path) -> None:
    """Writes the model.json of a folder."""
    (folder / MODEL_FILE).write_text(json.dumps(to_dict(variant), indent=2) + "\n", "utf-8")
