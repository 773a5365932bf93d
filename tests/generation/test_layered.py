import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models
import tiny_assistant

from m3it_jax import parameter_paths
from m3it_jax.generation import layered
from m3it_jax.models import quantization


@pytest.mark.parametrize("name", sorted(small_models.SMALL))
@pytest.mark.parametrize("on_host", [True, False])
def test_every_stacked_array_goes_to_its_layers(name, on_host):
    model, params = small_models.make(name)
    stacked = jax.tree.map(np.asarray, params) if on_host else params
    _, made = layered.of(model, stacked)
    found, wanted = parameter_paths.flatten(made["decoder"]), parameter_paths.flatten(params["decoder"])
    assert sum(leaf.size for leaf in found.values()) == sum(leaf.size for leaf in wanted.values())
    assert not any(path.startswith("blocks/") for path in found)
    for layer in range(model.decoder.config.num_layers):
        turned = found[f"blocks_{layer}/attn/qkv/transposed_kernel"]
        merged = turned.T.reshape(turned.shape[1], sum(heads(model)), -1)
        for number, part in enumerate(np.split(merged, np.cumsum(heads(model))[:-1], axis=1)):
            source = wanted[f"blocks/attn/{('query', 'key', 'value')[number]}/kernel"]
            np.testing.assert_array_equal(part, source[layer])
        down = found[f"blocks_{layer}/mlp/down/transposed_kernel"]
        np.testing.assert_array_equal(down.T, wanted["blocks/mlp/down/kernel"][layer])


def heads(model):
    config = model.decoder.config
    return [config.num_heads, config.num_kv_heads, config.num_kv_heads]


def test_parameters_that_are_layered_stay_as_they_are():
    model, params = layered.of(*tiny_assistant.tiny())
    _, again = layered.of(model, params)
    assert jax.tree.leaves(jax.tree.map(lambda one, other: one is other, params, again)) == [True] * len(
        jax.tree.leaves(params)
    )


def test_stacked_arrays_that_are_used_up_are_gone():
    model, params = tiny_assistant.tiny()
    own = jax.tree.map(np.array, params)
    array = weakref.ref(own["decoder"]["blocks"]["mlp"]["up"]["kernel"])
    _, made = layered.of(model, own, used_up=True, place=jnp.array)
    gc.collect()
    assert array() is None
    assert made["decoder"]["blocks_0"]["mlp"]["gate_up"]["transposed_kernel"].shape == (176, 32)


def test_what_modules_cast_at_every_use_is_kept_in_the_type_of_the_activations():
    model, params = tiny_assistant.tiny()
    narrow = model.clone(decoder=model.decoder.clone(dtype=jnp.dtype("bfloat16")))
    found = parameter_paths.flatten(layered.of(narrow, params)[1]["decoder"])
    assert (
        found["blocks_0/attn/qkv/transposed_kernel"].dtype == found["token_embedding/embedding"].dtype == jnp.bfloat16
    )
    assert found["blocks_0/attn_norm/scale"].dtype == found["final_norm/scale"].dtype == jnp.float32


@pytest.mark.parametrize("name", ["ying_vlm", "blip2_opt", "blip2_t5"])
def test_int8_kernels_are_merged_with_their_scales(name):
    model, params = small_models.make(name)
    batch = {key: jnp.asarray(value) for key, value in small_models.make_batch(small_models.SMALL[name]).items()}
    quantized = quantization.quantize(params)
    split_model, split = layered.of(model, quantized)
    assert split["decoder"]["blocks_0"]["attn"]["qkv"]["kernel"].dtype == jnp.int8
    expected = model.apply({"params": quantized}, batch)
    np.testing.assert_allclose(split_model.apply({"params": split}, batch), expected, atol=1e-4)
