"""Adapters in a run: the base stays and has no moments, a stopped run goes on to the last bit, others see it merged."""

import dataclasses
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models

from m3it_jax import adapter_weights, checkpointing, errors, file_safety, parameter_paths, sharding
from m3it_jax import config as config_lib
from m3it_jax.checkpoint_conversion.folders import adapter_export
from m3it_jax.config import (
    CheckpointConfig,
    DataConfig,
    Experiment,
    LogConfig,
    LoraConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
)
from m3it_jax.models import layers, vlm
from m3it_jax.training import adapters, loop, run_folder, setup

QUERY_VALUE = (r"decoder/(encoder/)?blocks/(attn|cross_attn)/(query|value)",)


@pytest.fixture
def config(folder, fresh_run) -> Experiment:
    return Experiment(
        num_steps=4,
        model=ModelConfig(variant="tiny"),
        data=DataConfig(
            path=str(folder.path),
            mixture={"ones": 1.0},
            global_batch_size=8,
            max_images=64,
            max_text_len=80,
            max_response_len=40,
        ),
        optimizer=OptimizerConfig(learning_rate=0.1, warmup_steps=1),
        lora=LoraConfig(rank=2, alpha=8.0, dropout=0.25),
        init_from={"all": str(fresh_run)},
        mesh=MeshConfig(data=1, fsdp=1, tensor=1),
        checkpoint=CheckpointConfig(every=2),
        log=LogConfig(every=1),
    )


@pytest.fixture(autouse=True)
def one_device(monkeypatch) -> None:
    make = sharding.make_mesh
    monkeypatch.setattr(sharding, "make_mesh", lambda **sizes: make(**{"devices": jax.devices()[:1]} | sizes))


def train(config: Experiment, run_dir, on_first_batch=lambda batch, ids: None) -> int:
    prepared = setup.prepare(config)
    with file_safety.held(run_dir, doing="training", instead="--run-dir"):
        run_folder.write_config(config, run_dir)
        run_folder.write_env(run_dir, prepared.tokenizer_path)
        return loop.run(config, prepared, run_dir, on_first_batch=on_first_batch)


def stored(run_dir) -> dict[str, np.ndarray]:
    return checkpointing.stored_leaves(checkpointing.locate(run_dir))


def test_a_run_with_adapters(config, fresh_run, tmp_path) -> None:
    assert train(config, tmp_path / "whole") == 4
    before, after = stored(fresh_run), stored(tmp_path / "whole")
    added = {path for path in after if adapter_weights.kernel_of(path)}
    assert after.keys() - added == before.keys()
    assert {path.rpartition("/")[0] for path in added} == {f"decoder/blocks/attn/{name}" for name in ("query", "value")}
    for path, leaf in before.items():
        np.testing.assert_array_equal(after[path], leaf, err_msg=path)
    assert all(np.abs(after[path]).max() > 0 for path in added)
    np.testing.assert_array_equal(after["decoder/blocks/attn/query/lora_scale"], [4.0, 4.0])
    losses = [json.loads(line)["train/loss"] for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[1]

    # Stopped after the first step, which no schedule saves, and started again.
    assert train(config, tmp_path / "run", lambda *_: os.kill(os.getpid(), signal.SIGTERM)) == 1
    assert train(config, tmp_path / "run") == 4
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    for path, leaf in stored(tmp_path / "run").items():
        np.testing.assert_array_equal(leaf, after[path], err_msg=path)

    # Its adapters alone go into PEFT's layout; of a run without any there is nothing to write.
    written = adapter_export.convert(tmp_path / "run", tmp_path / "adapter", base="mine")
    assert (written["r"], written["lora_alpha"], written["lora_dropout"]) == (2, 8.0, 0.25)
    assert len(written["target_modules"]) == 4 and written["base_model_name_or_path"] == "mine"
    with pytest.raises(errors.UserError, match=r"without adapters \(lora\.rank\)"):
        adapter_export.convert(fresh_run, tmp_path / "none")

    # Whoever else reads the checkpoint finds a plain model, and so does a run that starts from it.
    merged = parameter_paths.flatten(checkpointing.restore_params(tmp_path / "run")[0])
    assert merged.keys() == before.keys() == checkpointing.described(checkpointing.locate(tmp_path / "run")).keys()
    moved = {path for path, leaf in merged.items() if not np.array_equal(leaf, before[path])}
    assert moved == {f"decoder/blocks/attn/{name}/kernel" for name in ("query", "value")}
    next_run = dataclasses.replace(config, init_from={"all": str(tmp_path / "run")}, lora=LoraConfig())
    started = parameter_paths.flatten(setup.initial_state(next_run, setup.prepare(next_run)).params)
    for path, leaf in started.items():
        np.testing.assert_array_equal(leaf, merged[path], err_msg=path)


def test_the_base_has_no_moments_and_what_else_is_named_is_trained(config) -> None:
    config.lora.also = (r"projection/.*",)
    prepared = setup.prepare(config)
    state = setup.abstract_state(config, prepared)
    trained = parameter_paths.flatten(state.trainable)
    assert {path.rpartition("/")[2] for path in trained} == {"lora_a", "lora_b", "kernel", "bias"}
    assert all(path.startswith(("projection/", "decoder/blocks/attn/")) for path in trained)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert len(moments) == 2 * len(trained)
    counts = setup.counts(config, prepared)
    assert counts["vit"][0] == counts["qformer"][0] == 0 and 0 < counts["decoder"][0] < counts["decoder"][1] / 20
    assert loop.make_stopwatch(prepared, state) is not None  # each kernel's cost is known


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ((r"decoder/blocks/attn/queries",), r"'decoder/blocks/attn/queries' matches no kernel; .*attn/query/kernel"),
        ((r"decoder/token_embedding/.*",), r"matches decoder/token_embedding/embedding, which is no kernel"),
        ((*QUERY_VALUE, r"vit/patch_embedding/kernel"), r"matches vit/patch_embedding/kernel, which is no kernel"),
    ],
)
def test_a_target_that_is_no_kernel_is_refused_before_anything_is_compiled(config, lowered, targets, message) -> None:
    config.lora.targets = targets
    with pytest.raises(errors.ConfigError, match=rf"lora\.targets: .*{message}"):
        setup.prepare(config)
    assert not lowered


def test_a_wrong_pattern_beside_the_adapters_is_refused_by_its_field(config) -> None:
    config.lora.also = (r"projector/.*",)
    with pytest.raises(errors.ConfigError, match=r"lora\.also: 'projector/\.\*' decides no parameter"):
        setup.prepare(config)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (LoraConfig(alpha=3.0), r"lora\.alpha=3\.0: is of adapters; give --lora\.rank=8"),
        (LoraConfig(rank=2, targets=()), r"lora\.targets: names no kernel"),
        (LoraConfig(rank=2, targets=("(",)), r"lora\.targets: '\(' is no regular expression"),
        (LoraConfig(rank=-1), r"lora\.rank=-1: must be 0 or more"),
        (LoraConfig(rank=2, dropout=1.0), r"lora\.dropout=1\.0: must be from 0 up to but not 1"),
    ],
)
def test_wrong_fields_are_refused(lora, message) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        config_lib.validate(Experiment(lora=lora))


def test_adapters_begin_as_nothing_and_drop_what_they_read_in_training_alone() -> None:
    variant = small_models.SMALL["llava"]
    params = small_models.make("llava")[1]
    like = adapters.Adapters(2, 4.0, 0.5, QUERY_VALUE)
    shapes = parameter_paths.flatten(adapters.added(params, like))
    new = {path: leaf for path, leaf in shapes.items() if adapter_weights.kernel_of(path)}
    made = adapters.fresh(new, like, key=jax.random.key(0))
    drawn = np.asarray(made["decoder/blocks/attn/query/lora_a"])
    bound = 1 / np.sqrt(variant.decoder.embed_dim)
    assert 0.8 * bound < np.abs(drawn).max() <= bound and not made["decoder/blocks/attn/value/lora_b"].any()
    model, batch = vlm.make_vlm(variant), jax.tree.map(jnp.asarray, small_models.make_batch(variant))

    @jax.jit
    def scores(high, key):
        held = {path: high if path.endswith("lora_b") else leaf for path, leaf in made.items()}
        held = {path: jnp.broadcast_to(leaf, new[path].shape) for path, leaf in held.items()}
        whole = {"params": parameter_paths.unflatten(parameter_paths.flatten(params) | held)}
        with layers.adapter_dropout(like.dropout):
            return [model.apply(whole, batch, rngs=rngs) for rngs in (None, {"dropout": key})]

    plain = np.asarray(jax.jit(model.apply)({"params": params}, batch))
    np.testing.assert_allclose(scores(0.0, jax.random.key(0))[0], plain, atol=1e-5)
    (quiet, one), (again, other) = (scores(1.0, jax.random.key(number)) for number in (0, 1))
    np.testing.assert_array_equal(quiet, again)
    assert np.abs(one - other).max() > 1e-3 and np.abs(quiet - one).max() > 1e-3
