"""Config -> everything a run needs before its first step: data, model, shardings, state. Checked on the way."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from m3it_jax import checkpointing, errors, parameter_paths, records, sharding
from m3it_jax import tokenizer as tokenization
from m3it_jax.config import Experiment
from m3it_jax.input_pipeline import transforms
from m3it_jax.input_pipeline.pipeline import Pipeline
from m3it_jax.models.variants import VARIANTS
from m3it_jax.training import objectives, optimizer
from m3it_jax.training.state import TrainState, split


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run is made of, below which no configuration object is passed."""

    mesh: Mesh
    rules: sharding.ShardingRules
    objective: objectives.Objective
    task: objectives.Task
    pipeline: Pipeline
    validation: Pipeline | None
    layout: transforms.Layout
    tokenizer: tokenization.Tokenizer
    tokenizer_path: Path
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule


def prepare(config: Experiment) -> Setup:
    """Opens the data and lays the run out; nothing is compiled and no parameter exists yet.

    Raises:
      UserError: the data folder or the tokenizer cannot be used.
      ConfigError: they do not suit the configuration.
    """
    variant = VARIANTS[config.model.variant]
    folder = records.DataFolder.open(config.data.path)
    tokenizer_path = checkpointing.tokenizer_path(config.data.tokenizer or str(folder.tokenizer_path))
    tokenizer = tokenization.Tokenizer.load(tokenizer_path)
    if tokenizer.vocab_size > variant.decoder.vocab_size:
        raise errors.ConfigError(
            f"data.tokenizer: has {tokenizer.vocab_size} pieces, but model.variant={config.model.variant} embeds only "
            f"{variant.decoder.vocab_size}; take the tokenizer that belongs to the model"
        )
    layout = transforms.Layout.of(
        tokenizer,
        num_queries=variant.qformer.num_queries,
        max_text_len=config.data.max_text_len,
        max_response_len=config.data.max_response_len,
    )
    objective = objectives.OBJECTIVES[config.objective]

    def make_pipeline(data: Any) -> Pipeline:
        return Pipeline(
            data,
            objective=objective.rows,
            layout=layout,
            image_size=variant.vit.image_size,
            seed=config.seed,
            data_folder=folder,
            tokenizer=tokenizer,
        )

    train = make_pipeline(config.data)
    plain = dataclasses.replace(config.data, split="validation", augment=type(config.data.augment)())
    task = objectives.Task(
        variant=variant,
        dtype=config.model.compute_dtype,
        remat=config.model.remat,
        attributes=tuple((name, len(folder.attributes[name])) for name in train.attribute_names),
        num_sources=len(train.source_names),
        max_targets=1 << 30 if config.data.picture_as == "captions" else config.data.max_response_len,
    )
    mesh = sharding.make_mesh(data=config.mesh.data, fsdp=config.mesh.fsdp, tensor=config.mesh.tensor)
    train.plan.check_divisible(mesh.shape["data"] * mesh.shape["fsdp"])
    return Setup(
        mesh=mesh,
        rules=sharding.PRESETS[config.mesh.rules],
        objective=objective,
        task=task,
        pipeline=train,
        validation=make_pipeline(plain) if config.validation.every else None,
        layout=layout,
        tokenizer=tokenizer,
        tokenizer_path=tokenizer_path,
        optimizer=optimizer.make_optimizer(config.optimizer, config.num_steps),
        learning_rate=optimizer.schedule(config.optimizer, config.num_steps, config.optimizer.learning_rate),
    )


def describe(config: Experiment, setup: Setup) -> str:
    """Returns a table of what would be trained and what stays frozen, part by part, in parameters."""
    abstract, _ = abstract_params(setup.objective, setup.task)
    trainable, frozen = (parameter_paths.flatten(tree) for tree in split(abstract, config.trainable))
    lines = [f"{'part':<12}{'trained':>16}{'frozen':>16}"]
    for part in abstract:
        counts = [
            sum(int(np.prod(leaf.shape)) for path, leaf in leaves.items() if path.split("/")[0] == part)
            for leaves in (trainable, frozen)
        ]
        lines.append(f"{part:<12}{counts[0]:>16,}{counts[1]:>16,}")
    sources = ", ".join(setup.pipeline.source_names)
    return "\n".join([*lines, f"{config.num_steps} steps over {sources}"])


def abstract_params(objective: objectives.Objective, task: objectives.Task) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns shapes and dtypes of all parameters, and the smallest batch; no array of the model's size is made."""
    side = task.variant.vit.image_size
    batch = {
        "images": jnp.zeros((1, side, side, 3), jnp.uint8),
        "caption_ids": jnp.zeros((1, transforms.CAPTION_LEN), jnp.int32),
        **{
            name: jnp.zeros((1, 2), jnp.int32)
            for name in ("token_ids", "image_token_index", "positions", "segment_ids")
        },
    }
    return jax.eval_shape(objective.make_model(task).init, jax.random.key(0), batch)["params"], batch


def initial_state(config: Experiment, setup: Setup) -> TrainState:
    """Returns the state at step 0: parts named in `init_from` loaded, the rest fresh, each array in its place.

    Raises:
      ConfigError: the table `trainable` does not cover the parameters.
      UserError: weights of `init_from` are missing or have other shapes.
    """
    abstract, example = abstract_params(setup.objective, setup.task)
    trainable, _ = split(abstract, config.trainable)
    shapes = parameter_paths.flatten(abstract)
    dtypes = {
        path: "float32" if path in parameter_paths.flatten(trainable) else config.model.frozen_dtype for path in shapes
    }
    shardings = parameter_paths.flatten(sharding.parameter_shardings(abstract, setup.mesh, setup.rules))
    params = {}
    for path, leaf in _loaded(config.init_from, shapes).items():
        params[path] = jax.device_put(leaf.astype(dtypes[path]), shardings[path])
    fresh = [path for path in shapes if path not in params]
    if fresh:
        model = setup.objective.make_model(setup.task)

        def init(key: jax.Array) -> dict[str, jax.Array]:
            leaves = parameter_paths.flatten(model.init(key, example)["params"])
            return {path: leaves[path].astype(dtypes[path]) for path in fresh}

        params |= jax.jit(init, out_shardings={path: shardings[path] for path in fresh})(jax.random.key(config.seed))
    trained, frozen = split(parameter_paths.unflatten({path: params[path] for path in shapes}), config.trainable)
    abstract_opt = jax.eval_shape(setup.optimizer.init, trained)
    places = optimizer_shardings(abstract_opt, shardings, setup.mesh)
    opt_state = jax.jit(setup.optimizer.init, out_shardings=places)(trained)
    step = jax.device_put(np.int32(0), sharding.replicated(setup.mesh))
    return TrainState(step, trained, frozen, opt_state)


def _loaded(init_from: dict[str, str], shapes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns {path: array} for every parameter of the named parts; every one must be there, in the right shape."""
    loaded: dict[str, np.ndarray] = {}
    for part, source in init_from.items():
        found = checkpointing.load_part(source, part)
        wanted = [path for path in shapes if part in ("all", path.split("/")[0])]
        for path in wanted:
            if path not in found:
                raise errors.UserError(
                    f"init_from.{part}={source}: holds no {path}; it belongs to another model.variant"
                )
            if found[path].shape != shapes[path].shape:
                raise errors.UserError(
                    f"init_from.{part}={source}: {path} has shape {found[path].shape}, the model needs "
                    f"{shapes[path].shape}; take weights of the same model.variant"
                )
            loaded[path] = found[path]
    return loaded


def optimizer_shardings(opt_state: Any, param_shardings: dict[str, Any], mesh: Mesh) -> Any:
    """Returns the sharding of each leaf of an optimiser's state: that of its parameter, else replicated."""

    def place(path: tuple[Any, ...], leaf: Any) -> Any:
        names = [str(key.key) if isinstance(key, jax.tree_util.DictKey) else "" for key in path]
        for start in range(len(names)):
            sharded = param_shardings.get("/".join(names[start:]))
            if sharded is not None and leaf.ndim:
                return sharded
        return sharding.replicated(mesh)

    return jax.tree_util.tree_map_with_path(place, opt_state)
