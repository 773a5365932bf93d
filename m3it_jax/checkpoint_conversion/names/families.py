"""The names of whole models: the parts' maps together, other spellings, and what a checkpoint may hold beyond them.

The canonical names are those of the hub's files (transformers 4). `aliases` brings the others to them: transformers 5,
LAVIS (BLIP-2's and InstructBLIP's authors), LLaVA's and MiniGPT-4's authors, LLaMA's original files, parts alone.
"""

from m3it_jax.checkpoint_conversion.names import clip_vit, eva_vit, llama, opt, projection, qformer, t5
from m3it_jax.checkpoint_conversion.names.mapping import Entry, Unused
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig
from m3it_jax.models.variant import Variant

Aliases = list[tuple[str, str]]  # ordered (regular expression over the whole key, replacement); the first match counts

EVA_NORM = "vision_model.post_layernorm"  # behind the last block of BLIP-2's tower
T5_EMBEDDING, T5_HEAD = "language_model.shared.weight", "language_model.lm_head.weight"
_SPARE_LAYERS = 8  # layers beyond those computed that are known as such: CLIP and EVA-CLIP have one


def is_llava(variant: Variant) -> bool:
    """Returns whether the names are those of LLaVA: a CLIP tower and no Q-Former."""
    return variant.qformer is None


def is_opt(variant: Variant) -> bool:
    """Returns whether the language model's names are those of OPT: a decoder with learned positions."""
    return not isinstance(variant.decoder, EncoderDecoderConfig) and variant.decoder.positions == "learned"


def entries(variant: Variant) -> list[Entry]:
    """Returns the map of a whole model."""
    vit, decoder = variant.vit, variant.decoder
    if variant.qformer is None:
        made, width = clip_vit.entries(vit), vit.embed_dim
    else:
        made = eva_vit.entries(vit) + qformer.entries(variant.qformer, vit.embed_dim)
        width = variant.qformer.embed_dim
    made += projection.entries(variant.projection, inputs=width, outputs=decoder.embed_dim)
    if isinstance(decoder, EncoderDecoderConfig):
        return made + t5.entries(decoder)
    return made + (opt.entries(decoder) if is_opt(variant) else llama.entries(decoder))


# The released LLaVA and what transformers 4.52 and later hold in memory or wrote for a while.
_LLAVA: Aliases = [
    (r"model\.vision_tower\.vision_tower\.vision_model\.(.+)", r"vision_tower.vision_model.\1"),
    (r"model\.vision_tower\.(vision_model\..+)", r"vision_tower.\1"),
    (
        r"(?:model\.)?vision_tower\.((?:embeddings|encoder|pre_layrnorm|post_layernorm)\..+)",
        r"vision_tower.vision_model.\1",
    ),
    (r"model\.mm_projector\.0\.(.+)", r"multi_modal_projector.linear_1.\1"),
    (r"model\.mm_projector\.2\.(.+)", r"multi_modal_projector.linear_2.\1"),
    (r"model\.multi_modal_projector\.(.+)", r"multi_modal_projector.\1"),
    (r"language_model\.model\.model\.(.+)", r"language_model.model.\1"),
    (r"model\.language_model\.(?:model\.)?(.+)", r"language_model.model.\1"),
    (r"language_model\.((?:layers|embed_tokens|norm)\..+)", r"language_model.model.\1"),
]

# LAVIS' names, as transformers' convert_blip_2_original_to_pytorch.py reads them; MiniGPT-4 keeps them. `q_bias` and
# `v_bias` stay apart here: the key has no bias, and the fused one is made from both (`derived.py`).
_LAVIS: Aliases = [
    (r"ln_vision\.(.+)", r"vision_model.post_layernorm.\1"),
    (r"Qformer\.bert\.encoder\.(layer\.\d+\.(?:cross)?attention)\.self\.(.+)", r"qformer.encoder.\1.attention.\2"),
    (r"Qformer\.bert\.encoder\.(.+)", r"qformer.encoder.\1"),
    (r"Qformer\.bert\.embeddings\.((?:word|position)_embeddings\..+)", r"qformer.embeddings.\1"),
    (r"Qformer\.bert\.embeddings\.position_ids", r"qformer.embeddings.position_ids"),
    (r"(?:opt|t5|llm|llama)_proj\.(.+)", r"language_projection.\1"),
    (r"(?:opt|t5|llm|llama)_model\.(.+)", r"language_model.\1"),
]


def _tower(prefix: str) -> Aliases:
    """Returns the names of timm's ViT, which EVA's authors and LAVIS use, behind a prefix (escaped)."""
    return [
        (rf"{prefix}cls_token", r"vision_model.embeddings.class_embedding"),
        (rf"{prefix}pos_embed", r"vision_model.embeddings.position_embedding"),
        (rf"{prefix}patch_embed\.proj\.(.+)", r"vision_model.embeddings.patch_embedding.\1"),
        (rf"{prefix}blocks\.(\d+)\.norm([12])\.(.+)", r"vision_model.encoder.layers.\1.layer_norm\2.\3"),
        (rf"{prefix}blocks\.(\d+)\.attn\.proj\.(.+)", r"vision_model.encoder.layers.\1.self_attn.projection.\2"),
        (rf"{prefix}blocks\.(\d+)\.attn\.(.+)", r"vision_model.encoder.layers.\1.self_attn.\2"),
        (rf"{prefix}blocks\.(\d+)\.(mlp\..+)", r"vision_model.encoder.layers.\1.\2"),
    ]


# A folder of openai/clip-*, with its text tower (CLIPModel) or without (CLIPVisionModel).
_CLIP_ALONE: Aliases = [
    (r"(?:model\.)?vision_model\.(.+)", r"vision_tower.vision_model.\1"),
    (r"((?:embeddings|encoder|pre_layrnorm|post_layernorm)\..+)", r"vision_tower.vision_model.\1"),
]


# Language models alone. LLaVA's authors and transformers 5 use the same names inside whole models.
_LLAMA_ALONE: Aliases = [
    (r"model\.((?:layers|embed_tokens|norm)\..+)", r"language_model.model.\1"),
    (r"lm_head\.(.+)", r"language_model.lm_head.\1"),
]
_OPT_ALONE: Aliases = [
    (
        r"(?:model\.)?(decoder\.(?:layers|embed_tokens|embed_positions|final_layer_norm)\..+)",
        r"language_model.model.\1",
    ),
    (r"lm_head\.(.+)", r"language_model.lm_head.\1"),
]
_T5_ALONE: Aliases = [(r"((?:shared|encoder|decoder|lm_head)\..+)", r"language_model.\1")]

# consolidated.*.pth of LLaMA (meta-llama/llama llama/model.py), joined, q and k rows turned back (`derived.py`).
_LLAMA_ORIGINAL: Aliases = [
    (r"tok_embeddings\.weight", r"language_model.model.embed_tokens.weight"),
    (r"norm\.weight", r"language_model.model.norm.weight"),
    (r"output\.weight", r"language_model.lm_head.weight"),
    (r"layers\.(\d+)\.attention\.w([qkvo])\.weight", r"language_model.model.layers.\1.self_attn.\2_proj.weight"),
    (r"layers\.(\d+)\.feed_forward\.w1\.weight", r"language_model.model.layers.\1.mlp.gate_proj.weight"),
    (r"layers\.(\d+)\.feed_forward\.w2\.weight", r"language_model.model.layers.\1.mlp.down_proj.weight"),
    (r"layers\.(\d+)\.feed_forward\.w3\.weight", r"language_model.model.layers.\1.mlp.up_proj.weight"),
    (r"layers\.(\d+)\.attention_norm\.weight", r"language_model.model.layers.\1.input_layernorm.weight"),
    (r"layers\.(\d+)\.ffn_norm\.weight", r"language_model.model.layers.\1.post_attention_layernorm.weight"),
]


def aliases(variant: Variant, part: str | None = None) -> Aliases:
    """Returns the other spellings of a model's names.

    Args:
      variant: The model.
      part: For files of one part alone ("vit", "qformer", "projection" or "decoder"), whose names carry no prefix.
    """
    rules: Aliases = []
    if part == "vit":
        rules += _CLIP_ALONE if is_llava(variant) else _tower("")
    if part == "decoder":
        rules += _LLAMA_ORIGINAL
    if variant.qformer is not None:
        rules += _tower(r"visual_encoder\.")
        rules += [(r"Qformer\.bert\.embeddings\.LayerNorm\.(.+)", rf"{qformer.input_norm(variant.qformer)}.\1")]
        # BLIP-2's and InstructBLIP's files name the norm differently; either may start the other.
        rules += [(r"qformer\.(?:embeddings\.)?layernorm\.(.+)", rf"{qformer.input_norm(variant.qformer)}.\1")]
        rules += _LAVIS
    if is_llava(variant):
        rules += _LLAVA
    if isinstance(variant.decoder, EncoderDecoderConfig):
        return rules + _T5_ALONE
    return rules + (_OPT_ALONE if is_opt(variant) else _LLAMA_ALONE)


_BUFFER = "a table that is computed, not learned"
_TEXT_BRANCH = "the text branch of the Q-Former, which this model does not read"


def unused(variant: Variant) -> list[Unused]:
    """Returns what a checkpoint may hold beyond the map, and why."""
    rows = [
        Unused(r".*\.position_ids", _BUFFER),
        Unused(r"(?:language_model\.model\.layers\.\d+\.self_attn\.)?(?:.*\.)?rotary_emb\.inv_freq", _BUFFER),
        Unused(r"rope\.freqs", _BUFFER),
    ]
    beyond = "|".join(str(layer) for layer in range(variant.vit.num_layers, variant.vit.num_layers + _SPARE_LAYERS))
    if is_llava(variant):
        rows += [
            Unused(
                rf"vision_tower\.vision_model\.encoder\.layers\.(?:{beyond})\..+",
                "a block after the layer that is read",
            ),
            Unused(r"vision_tower\.vision_model\.post_layernorm\..+", "the norm after a block that is not computed"),
        ]
    else:
        rows += [
            Unused(
                rf"vision_model\.encoder\.layers\.(?:{beyond})\..+", "EVA-CLIP's last block, which BLIP-2 leaves out"
            ),
            Unused(r"(?:visual_encoder\.)?(?:fc_norm|head|mask_token|lm_head)(?:\..+)?", "EVA-CLIP's own head"),
            Unused(r"(?:visual_encoder\.)?norm\..+", "EVA-CLIP's own norm, in whose place BLIP-2 puts another"),
            Unused(r"Qformer\.cls\..+", "BERT's head for words, taught in BLIP-2's first stage"),
            Unused(
                r"(?:vision_proj|text_proj|itm_head|vision_projection|text_projection)\..+",
                "a head of BLIP-2's first stage",
            ),
            Unused(r"temp", "the temperature of BLIP-2's first stage"),
        ]
    if variant.qformer is not None and not variant.qformer.text_vocab_size:
        rows += [
            Unused(r"qformer\.embeddings\.(?:word|position)_embeddings\.weight", _TEXT_BRANCH),
            Unused(r"qformer\.encoder\.layer\.\d+\.(?:intermediate|output)\..+", _TEXT_BRANCH),
        ]
    return rows + _unused_language(variant)


def _unused_language(variant: Variant) -> list[Unused]:
    root = r"language_model\."
    tied = "tied to the token embedding"
    if isinstance(variant.decoder, EncoderDecoderConfig):
        shared = T5_EMBEDDING
        rows = [
            Unused(rf"{root}(?:encoder|decoder)\.embed_tokens\.weight", tied, copy_of=shared),
            Unused(
                rf"{root}decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
                "a table of distances that T5 1.0 stored and never read",
            ),
        ]
        return rows + (
            [Unused(rf"{root}lm_head\.weight", tied, copy_of=shared)] if variant.decoder.has_tied_head else []
        )
    if not variant.decoder.has_tied_head:
        return []
    embedding = "decoder.embed_tokens" if is_opt(variant) else "embed_tokens"
    return [Unused(rf"{root}lm_head\.weight", tied, copy_of=f"language_model.model.{embedding}.weight")]
