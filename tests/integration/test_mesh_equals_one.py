"""On every mesh preset over eight devices a step has the loss and the gradients of one device, in float32."""

import dataclasses

import jax
import numpy as np
import pytest
import small_models
import training_batches

from m3it_jax import adapter_weights, parameter_paths, sharding
from m3it_jax.training import adapters, objectives, state, step

LORA = adapters.Adapters(2, 4.0, 0.0, (r"decoder/.*blocks/(attn|cross_attn)/(query|value)", r"decoder/.*mlp/down"))
STAGE_1 = ((r"(qformer|projection)/.*", True), (r".*", False))
FULL = ((r".*", True),)
PRESETS = {"single": (8, 1, 1), "fsdp": (2, 4, 1), "fsdp_tp": (2, 2, 2)}
# Model, what is trained, adapters, rows, parts of a batch -> presets; each is a program to compile.
CASES = {
    "stage 1": ("ying_vlm", STAGE_1, None, training_batches.single, 1, ("fsdp_tp",)),
    "full, packed, in parts": ("ying_vlm", FULL, None, training_batches.packed, 2, tuple(PRESETS)),
    "LoRA, packed, in parts": (
        "llava",
        (adapters.TRAINED, (".*", False)),
        LORA,
        training_batches.packed,
        2,
        tuple(PRESETS),
    ),
    "encoder and decoder": ("blip2_t5", STAGE_1, None, training_batches.single, 2, ("fsdp_tp",)),
}


def parameters(name: str, like: adapters.Adapters | None):
    params = small_models.make(name)[1]
    if like is None:
        return params
    leaves, rng = parameter_paths.flatten(params), np.random.default_rng(0)
    for path, leaf in parameter_paths.flatten(adapters.added(params, like)).items():
        if adapter_weights.kernel_of(path):
            leaves[path] = rng.normal(0.0, 0.2, leaf.shape).astype(np.float32)
    return parameter_paths.unflatten(leaves)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_step_on_a_mesh_equals_that_of_one_device(case: str) -> None:
    name, table, like, rows, parts, presets = CASES[case]
    variant = small_models.SMALL[name]
    if variant.qformer is not None:
        variant = dataclasses.replace(variant, qformer=dataclasses.replace(variant.qformer, dropout_rate=0.0))
    task = objectives.Task(variant, "float32", False, (), training_batches.NUM_SOURCES, 1 << 30, adapters=like)
    params, batch = parameters(name, like), rows(variant, num_rows=16)

    def gradients(sizes: tuple[int, int, int], preset: str):
        data, fsdp, tensor = sizes
        rules = sharding.PRESETS[preset]
        mesh = sharding.make_mesh(data=data, fsdp=fsdp, tensor=tensor, devices=jax.devices()[: data * fsdp * tensor])
        make = step.make_train_step(
            objectives.OBJECTIVES["response"],
            task,
            optimizer=training_batches.KEEPING,
            rules=rules,
            seed=0,
            accumulation=parts,
        )
        with jax.set_mesh(mesh):
            held = jax.device_put(params, sharding.parameter_shardings(params, mesh, rules))
            trainable, frozen = state.split(held, table)
            before = state.TrainState(np.int32(0), trainable, frozen, training_batches.KEEPING.init(trainable))
            placed = jax.device_put(batch, sharding.batch_sharding(mesh, rules))
            after, sums = jax.jit(make)(before, placed)
            return jax.device_get(after.opt_state), jax.device_get(sums)

    wanted, sums = gradients((1, 1, 1), "single")
    for preset in presets:
        found, found_sums = gradients(PRESETS[preset], preset)
        for metric in sums:
            np.testing.assert_allclose(found_sums[metric], sums[metric], rtol=1e-5, err_msg=f"{preset} {metric}")
        training_batches.assert_same_gradients(found, wanted)
