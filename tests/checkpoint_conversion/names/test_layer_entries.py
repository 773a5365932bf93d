import numpy as np

from m3it_jax.checkpoint_conversion.names import eva_vit, layer_entries, llama, mapping, opt, t5
from m3it_jax.models.variants import VARIANTS


def _ours(entries, tensors, shapes):
    return mapping.to_ours(entries, tensors, shapes)


def test_a_linear_layer_is_transposed_and_its_outputs_become_heads():
    weight = np.arange(6 * 4, dtype=np.float32).reshape(6, 4)  # [out, in]
    ours = _ours(
        layer_entries.linear("key", "path", (4, 6), bias=False), {"key.weight": weight}, {"path/kernel": (4, 3, 2)}
    )
    x = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    np.testing.assert_array_equal(np.einsum("d,dnh->nh", x, ours["path/kernel"]), (weight @ x).reshape(3, 2))


def test_the_patch_kernel_sees_the_colours_of_each_pixel():
    weight = np.arange(5 * 3 * 2 * 2, dtype=np.float32).reshape(5, 3, 2, 2)  # [out, colour, h, w]
    ours = _ours(
        layer_entries.patches("key", "path", patch_size=2, width=5),
        {"key.weight": weight},
        {"path/kernel": (2, 2, 3, 5)},
    )
    assert ours["path/kernel"][1, 0, 2, 4] == weight[4, 2, 1, 0]


def test_eva_cuts_its_fused_matrix_into_queries_keys_and_values():
    config = VARIANTS["tiny"].vit
    entries = {entry.key: entry for entry in eva_vit.entries(config)}
    fused = entries["vision_model.encoder.layers.1.self_attn.qkv.bias"]
    assert fused.paths == tuple(f"vit/blocks/attn/{name}/bias" for name in ("query", "key", "value"))
    assert fused.layer == 1 and fused.shape == (3 * config.embed_dim,)


def test_opt_keeps_the_two_rows_before_position_0():
    entries = {entry.key: entry for entry in opt.entries(VARIANTS["blip2_opt_2.7b"].decoder, "")}
    assert entries["model.decoder.embed_positions.weight"].shape == (2_050, 2_560)
    assert "lm_head.weight" not in entries


def test_llama_with_a_tied_head_has_no_head():
    config = VARIANTS["ying_vlm_13b"].decoder
    assert {entry.key for entry in llama.entries(config, "")} >= {"lm_head.weight", "model.embed_tokens.weight"}


def test_t5_keeps_its_table_of_distances_in_the_first_block():
    keys = [entry.key for entry in t5.entries(VARIANTS["blip2_flan_t5_xl"].decoder, "")]
    tables = [key for key in keys if "relative_attention_bias" in key]
    assert tables == [
        f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight" for side in ("encoder", "decoder")
    ]
