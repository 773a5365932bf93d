"""A saved run of the smallest model with fresh weights, for runs that start from another."""

import pathlib

import pytest

from m3it_jax import checkpointing, file_safety
from m3it_jax.config import DataConfig, Experiment, ModelConfig
from m3it_jax.training import loop, run_folder, setup


@pytest.fixture(scope="session")
def fresh_run(folder, tmp_path_factory) -> pathlib.Path:
    config = Experiment(
        seed=11,
        model=ModelConfig(variant="tiny"),
        data=DataConfig(
            path=str(folder.path), global_batch_size=8, max_images=64, max_text_len=80, max_response_len=40
        ),
    )
    run = tmp_path_factory.mktemp("fresh") / "run"
    prepared = setup.prepare(config)
    with file_safety.held(run, doing="training", instead="--run-dir"):
        run_folder.write_config(config, run)
        run_folder.write_env(run, prepared.tokenizer_path)
        manager = checkpointing.open_manager(run, 1)
        loop.save(manager, prepared, loop.Progress(setup.initial_state(config, prepared), {}, 1))
        manager.close()
    return run
