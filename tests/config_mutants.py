"""Damaged and unusual configurations, the same for every program that draws them: standard library and NumPy alone.

The reference's interpreter imports this file too, so that both sides see the same files and the same numbers.
"""

import copy
import json
import random
import zlib

import numpy as np

MOST_NUMBERS = 3_000_000  # parameters of a mutant whose scores are computed
MOST_SIZE = 20_000  # a larger number in a configuration is not given to the reference, which would build it
TEXT_IDS, DECODER_IDS, QFORMER_IDS = (5, 17, 9, 30), (0, 11, 6), (2, 8, 4)
PLACEHOLDER = 3  # stands for a picture's positions in the reference's ids; none of the above

ODD = [None, True, False, 0, 1, -1, 2, 3, 5, 0.5, -0.5, 1e-3, 1e30, float("nan"), float("inf"), 10**12, 10**400]
ODD += ["", "1", "gelu", "\x00\n", [], [1], [28, 28], [1, [2]], {}, {"a": 1}, {"type": "linear", "factor": 2.0}]

# What a field may hold in files that exist; fields that the small folders do not have among them.
PLAUSIBLE = {
    "model_type": [
        "blip-2",
        "instructblip",
        "llava",
        "opt",
        "llama",
        "t5",
        "clip_vision_model",
        "mistral",
        "bert",
        "clip",
    ],
    "hidden_act": ["gelu", "relu", "silu", "swish", "gelu_new", "quick_gelu", "gelu_pytorch_tanh", "mish", "gelu_fast"],
    "activation_function": ["relu", "gelu", "gelu_new", "silu", "tanh"],
    "projector_hidden_act": ["gelu", "relu", "quick_gelu", "gelu_fast"],
    "feed_forward_proj": [
        "gated-gelu",
        "gated-silu",
        "gated-relu",
        "relu",
        "gated-gelu_new",
        "gelu",
        "gated-",
        "-gelu",
    ],
    "vision_feature_layer": [-1, -2, -3, -4, -9, 0, 1, 2, 3, 4, [-2], [-2, -1]],
    "vision_feature_select_strategy": ["default", "full", "cls_patch"],
    "image_size": [28, 29, 30, 34, 35, 7, 6, [28, 28]],
    "patch_size": [7, 8, 9, 14, 28, 29, 4],
    "image_seq_length": [16, 17, 576, 1],
    "cross_attention_frequency": [1, 2, 3, 4, 5, 9],
    "encoder_hidden_size": [24, 1_408, 23],
    "num_attention_heads": [1, 2, 3, 4, 6, 12],
    "num_key_value_heads": [1, 2, 3, 4, None],
    "head_dim": [6, 7, 8, 4, 3, None],
    "num_hidden_layers": [1, 2, 3, 4, 5],
    "hidden_size": [20, 24, 28, 32, 36],
    "tie_word_embeddings": [True, False, None],
    "scale_decoder_outputs": [True, False, None],
    "is_gated_act": [True, False, None],
    "dense_act_fn": ["gelu", "gelu_new", "relu", "silu", "mish"],
    "per_layer_config": [None, {}, {"0": {"intermediate_size": 50}}],
    "pruned_heads": [None, {}, {"0": [1]}],
    "tie_encoder_decoder": [True, False, None],
    "rope_scaling": [
        None,
        {},
        {"type": "default"},
        {"rope_type": "default"},
        {"rope_type": "default", "rope_theta": 100.0},
        {"type": "linear", "factor": 2.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"type": "default", "rope_type": "linear", "factor": 2.0},
    ],
    "rope_parameters": [
        None,
        {},
        {"rope_type": "default", "rope_theta": 50.0},
        {"rope_theta": 50.0},
        {"rope_type": "yarn", "factor": 2.0},
        {"full_attention": {"rope_type": "default", "rope_theta": 50.0}},
    ],
    "rope_theta": [10_000.0, 500_000.0, 100, 1.5],
    "partial_rotary_factor": [1.0, 0.5],
    "layer_norm_eps": [1e-12, 1e-6, 0.1],
    "layer_norm_epsilon": [1e-12, 1e-6, 0.1],
    "rms_norm_eps": [1e-12, 1e-6, 0.1],
    "num_decoder_layers": [1, 2, 3, None],
    "relative_attention_num_buckets": [2, 3, 4, 5, 8, 32, 33],
    "relative_attention_max_distance": [1, 2, 4, 9, 16, 17, 128],
    "attention_bias": [True, False],
    "mlp_bias": [True, False],
    "do_layer_norm_before": [True, False],
    "_remove_final_layer_norm": [True, False],
    "enable_bias": [True, False],
    "layer_norm_elementwise_affine": [True, False],
    "word_embed_proj_dim": [28, 14, None],
    "qkv_bias": [True, False],
    "use_qformer_text_input": [True, False],
    "position_embedding_type": ["absolute", "relative_key"],
    "multimodal_projector_bias": [True, False],
    "num_query_tokens": [5, 1, 32],
    "image_token_index": [3, None, 370],
    "quantization_config": [None, {"bits": 4}],
    "pretraining_tp": [1, 2],
    "attention_dropout": [0.0, 0.1],
}
# Fields that a part may have beyond those of the small folders.
EXTRA = {
    "": [
        "tie_word_embeddings",
        "image_seq_length",
        "quantization_config",
        "rope_scaling",
        "hidden_size",
        "image_token_id",
    ],
    "text_config": ["rope_scaling", "rope_parameters", "scale_decoder_outputs", "partial_rotary_factor", "hidden_size"]
    + ["quantization_config", "head_dim", "num_attention_heads", "num_hidden_layers", "is_gated_act", "dense_act_fn"]
    + ["per_layer_config", "pruned_heads", "tie_encoder_decoder"],
    "vision_config": ["qkv_bias", "num_channels", "model_type", "per_layer_config", "pruned_heads"],
    "qformer_config": ["position_embedding_type", "use_qformer_text_input", "encoder_hidden_size"]
    + ["per_layer_config", "pruned_heads"],
}


def mutants(base, *, seed, count):
    """Returns `count` configurations, each the base with one to three fields changed, added or left out."""
    draw = random.Random(seed)
    found = [copy.deepcopy(base)]
    while len(found) < count:
        mutant = copy.deepcopy(base)
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            _change(mutant, draw)
        found.append(mutant)
    return found


def _change(mutant, draw):
    parts = [name for name in ("text_config", "vision_config", "qformer_config") if isinstance(mutant.get(name), dict)]
    part = draw.choice(["", *parts, *parts])
    values = mutant[part] if part else mutant
    if draw.random() < 0.25:
        name = draw.choice(EXTRA[part])
        values[name] = draw.choice(PLAUSIBLE.get(name, ODD))
        return
    name = draw.choice(sorted(values) or ["model_type"])
    kind, value = draw.random(), values.get(name)
    if kind < 0.25:
        values.pop(name, None)
    elif kind < 0.6 and name in PLAUSIBLE:
        values[name] = draw.choice(PLAUSIBLE[name])
    elif kind < 0.75 and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
        values[name] = draw.choice((value + 1, value - 1, value * 2, value // 2, -value, float(value), str(value)))
    else:
        values[name] = copy.deepcopy(draw.choice(ODD))


def largest(values):
    """Returns the largest whole number in a configuration."""
    if isinstance(values, dict | list):
        return max([largest(one) for one in (values.values() if isinstance(values, dict) else values)] or [0])
    return abs(values) if isinstance(values, int) else 0


def same(first, other):
    """Returns whether two configurations are one file."""
    return json.dumps(first, sort_keys=True) == json.dumps(other, sort_keys=True)


def numbers(key, shape):
    """Returns the weights of a tensor of the hub's layout: they follow from its name, and nobody has to store them."""
    name = key.replace("vision_tower.vision_model.", "vision_tower.")  # transformers 4 and the hub, transformers 5
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    drawn = rng.standard_normal(shape).astype(np.float32) * np.float32(0.2)
    return drawn + np.float32("norm" in key and key.endswith("weight"))


def picture(side):
    """Returns normalised pixels [1, 3, side, side]."""
    return np.random.default_rng(side).standard_normal((1, 3, side, side)).astype(np.float32)


def part_of(key):
    """Returns which part of a model a tensor belongs to, for counting; None for what one side alone may hold."""
    if "vision" in key:
        counted = "embeddings" in key or ".layers.0." in key
        return "vit" if counted else None
    if "qformer" in key or "query_tokens" in key:
        return "qformer"
    if "projection" in key or "projector" in key:
        return "projection"
    return "decoder"
