"""Config -> everything a run needs before its first step: data, model, shardings, state. Checked on the way."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from m3it_jax import adapter_weights, checkpointing, errors, parameter_paths, prompts, records, rng, sharding
from m3it_jax import tokenizer as tokenization
from m3it_jax.config import DataConfig, Experiment, check_held_out
from m3it_jax.input_pipeline.order import mixture
from m3it_jax.input_pipeline.order.mixture import Plan
from m3it_jax.input_pipeline.order.packed_plan import PackedPlan
from m3it_jax.input_pipeline.pipeline import Pipeline
from m3it_jax.input_pipeline.pixels.tiling import Tiling
from m3it_jax.input_pipeline.rows import tower_rows, transforms
from m3it_jax.models import variants
from m3it_jax.models.abstract import smallest_batch
from m3it_jax.training import adapters, objectives, optimizer, suitability
from m3it_jax.training.adapters import Adapters
from m3it_jax.training.state import TrainState, split, trained_table

# LAVIS blip2_vicuna_instruct.py: max_txt_len of the Q-Former's text, too.
QFORMER_TEXT_LEN = 128


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
    accumulation: int


@dataclasses.dataclass(frozen=True)
class _Opened:
    """The data of a run and how its rows are laid out."""

    variant: variants.Variant
    folder: records.DataFolder
    layout: transforms.Layout
    tokenizer: tokenization.Tokenizer
    tokenizer_path: Path
    qformer_tokenizer: tokenization.Tokenizer | None

    def pipeline(self, config: Experiment, data: DataConfig) -> Pipeline:
        """Returns the batches of `data`, laid out as those of the run."""
        if self.variant.is_encoder_decoder:  # earlier answers are what the encoder reads
            data = dataclasses.replace(data, supervised_answers="last")
        return Pipeline(
            data,
            objective=objectives.OBJECTIVES[config.objective].rows,
            layout=self.layout,
            image_size=self.variant.vit.image_size,
            image_fit=self.variant.vit.image_fit,
            seed=config.seed,
            data_folder=self.folder,
            tokenizer=self.tokenizer,
            qformer_tokenizer=self.qformer_tokenizer,
        )


def _open(config: Experiment) -> _Opened:
    variant = variants.named(config.model.variant)
    suitability.check_variant(config, variant)
    folder = records.DataFolder.open(config.data.path)
    if config.data.split == "train":
        check_held_out(config, config.data.mixture or folder.sources)
    tokenizer, tokenizer_path = _tokenizer(config, variant, folder)
    layout = _layout(config, variant, tokenizer)
    return _Opened(variant, folder, layout, tokenizer, tokenizer_path, _qformer_tokenizer(layout, tokenizer_path))


def train_pipeline(config: Experiment) -> Pipeline:
    """Returns the training rows of a run alone.

    Raises:
      UserError: the data folder or the tokenizer cannot be used.
      ConfigError: they do not suit the configuration.
    """
    return _open(config).pipeline(config, config.data)


def prepare(config: Experiment) -> Setup:
    """Opens the data and lays the run out; nothing is compiled and no parameter exists yet.

    Raises:
      UserError: the data folder or the tokenizer cannot be used.
      ConfigError: they do not suit the configuration.
    """
    opened = _open(config)
    variant, folder = opened.variant, opened.folder
    objective = objectives.OBJECTIVES[config.objective]
    train = opened.pipeline(config, config.data)
    plain = dataclasses.replace(config.data, split="validation", augment=type(config.data.augment)(), source_cap=0)
    plain.mixture = mixture.available(folder, plain, seed=config.seed)
    looks = config.validation.every or config.samples.every
    validation = opened.pipeline(config, plain) if looks and plain.mixture else None
    task = objectives.Task(
        variant=variant,
        dtype=config.model.compute_dtype,
        remat=config.model.remat,
        attributes=tuple((name, len(folder.attributes[name])) for name in train.attribute_names),
        num_sources=len(train.source_names),
        max_targets=max(made.max_targets for made in (train, validation) if made is not None),
        adapters=_adapters(config),
    )
    mesh = sharding.make_mesh(data=config.mesh.data, fsdp=config.mesh.fsdp, tensor=config.mesh.tensor)
    _check_fit(config, task, mesh=mesh, plan=train.plan)
    return Setup(
        mesh=mesh,
        rules=sharding.PRESETS[config.mesh.rules],
        objective=objective,
        task=task,
        pipeline=train,
        validation=validation,
        layout=opened.layout,
        tokenizer=opened.tokenizer,
        tokenizer_path=opened.tokenizer_path,
        optimizer=optimizer.make_optimizer(config.optimizer, config.num_steps),
        learning_rate=jax.jit(optimizer.schedule(config.optimizer, config.num_steps, config.optimizer.learning_rate)),
        accumulation=config.optimizer.accumulation,
    )


def _adapters(config: Experiment) -> Adapters | None:
    lora = config.lora
    return Adapters(lora.rank, lora.alpha, lora.dropout, lora.targets) if lora.rank else None


def _tokenizer(
    config: Experiment, variant: variants.Variant, folder: records.DataFolder
) -> tuple[tokenization.Tokenizer, Path]:
    if not config.data.tokenizer and folder.tokenizer_path is None:
        raise errors.ConfigError(
            f"data.tokenizer: not set, and {folder.path} has no tokenizer of its own; use "
            "--data.tokenizer=package:mini, or name a SentencePiece model or a tokenizer.json"
        )
    tokenizer_path = checkpointing.tokenizer_path(config.data.tokenizer or str(folder.tokenizer_path))
    tokenizer = tokenization.Tokenizer.load(tokenizer_path)
    if tokenizer.vocab_size > variant.decoder.vocab_size:
        raise errors.ConfigError(
            f"data.tokenizer: has {tokenizer.vocab_size} pieces, but model.variant={config.model.variant} embeds only "
            f"{variant.decoder.vocab_size}; take the tokenizer that belongs to the model"
        )
    return tokenizer, tokenizer_path


def _layout(config: Experiment, variant: variants.Variant, tokenizer: tokenization.Tokenizer) -> transforms.Layout:
    prompt_format = prompts.FORMATS[variant.prompt]
    reads = prompt_format.qformer_reads_prompt and variant.qformer is not None
    return transforms.Layout.of(
        tokenizer,
        prompt_format,
        picture_len=variant.picture_len,
        max_text_len=config.data.max_text_len,
        max_response_len=config.data.max_response_len,
        qformer_text_len=min(QFORMER_TEXT_LEN, variant.qformer.text_max_len) if reads and variant.qformer else 0,
        tiling=Tiling(config.model.tiles, variant.vit.image_size if config.model.tiles > 1 else 0),
    )


def _qformer_tokenizer(layout: transforms.Layout, tokenizer_path: Path) -> tokenization.Tokenizer | None:
    path = tokenization.find_qformer(tokenizer_path)
    if not layout.qformer_text_len:
        return None
    if not path.is_file():
        raise errors.ConfigError(
            f"data.tokenizer={tokenizer_path}: has no {path.name} beside it, in whose pieces the Q-Former reads the "
            "instruction; copy it from the model's folder"
        )
    return tokenization.Tokenizer.load(path)


def _check_fit(config: Experiment, task: objectives.Task, *, mesh: Mesh, plan: Plan | PackedPlan) -> None:
    """Checks the mesh and the table `trainable` against rows and parameters, while nothing is written yet.

    A part that the loss needs is refused if nothing of it is trained and it is not loaded: noise would stay noise.
    """
    objective = objectives.OBJECTIVES[config.objective]
    abstract, _ = abstract_params(objective, task)
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    plan.check_divisible(shards)
    plan.check_divisible(shards * config.optimizer.accumulation, who="parts (devices times optimizer.accumulation)")
    sharding.parameter_shardings(abstract, mesh, sharding.PRESETS[config.mesh.rules])
    for pattern in config.lora.also:
        if not any(re.fullmatch(pattern, path) for path in parameter_paths.flatten(abstract)):
            raise errors.ConfigError(f"lora.also: {pattern!r} decides no parameter; parts are {', '.join(abstract)}")
    trainable, _ = split(abstract, trained_table(config))
    if objective.rows == "response" and config.data.picture_as == "captions":
        needed = ["decoder"]  # no picture is looked at
    else:
        needed = list(abstract)
    trained = {path.split("/")[0] for path in parameter_paths.flatten(trainable) if not adapter_weights.kernel_of(path)}
    for part in needed:
        if part not in trained and not config.init_from.keys() & {part, "all"}:
            raise errors.ConfigError(
                f"trainable: freezes {part}, which starts at random; give --init_from.{part}=... or train it"
            )


def counts(config: Experiment, setup: Setup) -> dict[str, tuple[int, int]]:
    """Returns {part: (parameters trained, parameters frozen)}."""
    abstract, _ = abstract_params(setup.objective, setup.task)
    trained, frozen = (parameter_paths.flatten(tree) for tree in split(abstract, trained_table(config)))

    def size(tree: dict[str, Any], part: str) -> int:
        return sum(int(np.prod(leaf.shape)) for path, leaf in tree.items() if path.split("/")[0] == part)

    return {part: (size(trained, part), size(frozen, part)) for part in abstract}


def describe(config: Experiment, setup: Setup) -> str:
    """Returns a table of what would be trained and what stays frozen, part by part, in parameters.

    Raises:
      UserError: a source of `init_from` is missing or holds other parts or shapes.
      ConfigError: it was trained with another tokenizer.
    """
    abstract, _ = abstract_params(setup.objective, setup.task)
    _check_sources(config, setup, parameter_paths.flatten(abstract))
    lines = [f"{'part':<12}{'trained':>16}{'frozen':>16}"]
    lines += [f"{part:<12}{one:>16,}{other:>16,}" for part, (one, other) in counts(config, setup).items()]
    sources = ", ".join(setup.pipeline.source_names)
    return "\n".join([*lines, f"{config.num_steps} steps over {sources}", *_packing(setup.pipeline.plan)])


def overview(config: Experiment, setup: Setup) -> list[str]:
    """Returns lines that say what a run does: on which devices, with how many parameters, over which data."""
    devices = setup.mesh.devices.flatten().tolist()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    trained, frozen = (sum(pair[place] for pair in counts(config, setup).values()) for place in (0, 1))
    rows = {"training": setup.pipeline, "validation": setup.validation}
    told = [f"{pipeline.num_records:,} {name} records" for name, pipeline in rows.items() if pipeline is not None]
    names = setup.pipeline.source_names
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if setup.validation is None and config.validation.every:
        told.append("no validation: the data folder has no validation record")
    return [
        f"device       {len(devices)} x {devices[0].platform} ({kinds})",
        f"model        {config.model.variant}: {trained:,} parameters trained, {frozen:,} frozen",
        f"data         {config.data.path}: {'; '.join(told)} ({shown})",
        *_packing(setup.pipeline.plan),
    ]


def _packing(plan: Plan | PackedPlan) -> list[str]:
    """Returns a line about packed rows, if there are any: how full they are, and what was left out."""
    if isinstance(plan, Plan):
        return []
    outlook, budgets = plan.outlook(), plan.budgets
    left_out = "".join(f"; {count:,} records of {name} too long" for name, count in plan.num_dropped.items())
    return [
        f"packing      rows of {budgets.tokens} tokens ({outlook['tokens']:.1%} used) and {budgets.images} pictures "
        f"({outlook['slots']:.1%} used), {outlook['records']:.1f} records a row{left_out}"
    ]


@functools.cache  # tracing a model takes a second, and a run asks four times
def abstract_params(objective: objectives.Objective, task: objectives.Task) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns shapes and dtypes of all parameters, and the smallest batch; no array of the model's size is made.

    Both are shared by all who ask, and are not to be changed.
    """
    batch = smallest_batch(task.variant) | {"caption_ids": np.zeros((1, tower_rows.CAPTION_LEN), np.int32)}
    params = jax.eval_shape(objective.make_model(task).init, jax.random.key(0), batch)["params"]
    return (params if task.adapters is None else adapters.added(params, task.adapters)), batch


def abstract_state(config: Experiment, setup: Setup) -> TrainState:
    """Returns the shape, dtype and place of each array of the state.

    Raises:
      ConfigError: the table `trainable` does not cover the parameters, or the mesh does not suit them.
    """
    abstract, _ = abstract_params(setup.objective, setup.task)
    trained = parameter_paths.flatten(split(abstract, trained_table(config))[0])
    shardings = parameter_paths.flatten(sharding.parameter_shardings(abstract, setup.mesh, setup.rules))
    leaves = {
        path: jax.ShapeDtypeStruct(
            leaf.shape,
            "float32" if path in trained or adapter_weights.kernel_of(path) else config.model.frozen_dtype,
            sharding=shardings[path],
        )
        for path, leaf in parameter_paths.flatten(abstract).items()
    }
    trainable, frozen = split(parameter_paths.unflatten(leaves), trained_table(config))
    abstract_opt = jax.eval_shape(setup.optimizer.init, trainable)
    opt_state = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        abstract_opt,
        optimizer_shardings(abstract_opt, shardings, setup.mesh),
    )
    step = jax.ShapeDtypeStruct((), "int32", sharding=sharding.replicated(setup.mesh))
    return TrainState(step, trainable, frozen, opt_state)


def initial_state(config: Experiment, setup: Setup) -> TrainState:
    """Returns the state at step 0: parts named in `init_from` loaded, the rest fresh, each array in its place.

    Raises:
      ConfigError: the table `trainable` does not cover the parameters, or loaded parts have another tokenizer.
      UserError: weights of `init_from` are missing or have other shapes.
    """
    state = abstract_state(config, setup)
    target = parameter_paths.flatten(state.params)
    _check_sources(config, setup, target)
    params = {}
    for part, source in config.init_from.items():
        for path, leaf in checkpointing.load_part(source, part).items():
            if path in target:
                params[path] = checkpointing.placed(leaf, target[path].dtype, target[path].sharding)
    new = {path: leaf for path, leaf in target.items() if adapter_weights.kernel_of(path)}
    fresh = [path for path in target if path not in params and path not in new]
    if fresh:
        model = setup.objective.make_model(setup.task)
        _, example = abstract_params(setup.objective, setup.task)

        def init(key: jax.Array, example: dict[str, Any]) -> dict[str, jax.Array]:
            leaves = parameter_paths.flatten(model.init(key, example)["params"])
            return {path: leaves[path].astype(target[path].dtype) for path in fresh}

        places = {path: target[path].sharding for path in fresh}
        params |= jax.jit(init, out_shardings=places)(jax.random.key(config.seed), example)
    if setup.task.adapters is not None:
        make = functools.partial(adapters.fresh, new, setup.task.adapters)
        places = {path: leaf.sharding for path, leaf in new.items()}
        params |= jax.jit(make, out_shardings=places)(key=jax.random.key(rng.fold(config.seed, "adapters") % 2**32))
    trained, frozen = split(parameter_paths.unflatten({path: params[path] for path in target}), trained_table(config))
    opt_places = jax.tree.map(lambda leaf: leaf.sharding, state.opt_state)
    opt_state = jax.jit(setup.optimizer.init, out_shardings=opt_places)(trained)
    return TrainState(jax.device_put(np.int32(0), state.step.sharding), trained, frozen, opt_state)


def _check_sources(config: Experiment, setup: Setup, shapes: dict[str, Any]) -> None:
    """Refuses a source of `init_from` without the part, of another size, or whose token ids mean other pieces."""
    for part, source in config.init_from.items():
        found = checkpointing.part_shapes(source, part)
        needed = [path for path in shapes if part in ("all", path.split("/")[0])]
        for path in (path for path in needed if not adapter_weights.kernel_of(path)):
            if path not in found:
                raise errors.UserError(
                    f"init_from.{part}={source}: holds no {path}; it belongs to another model.variant"
                )
            if found[path] != shapes[path].shape:
                raise errors.UserError(
                    f"init_from.{part}={source}: {path} has shape {found[path]}, the model needs "
                    f"{shapes[path].shape}; take weights of the same model.variant"
                )
        if part not in ("decoder", "all"):
            continue
        theirs = checkpointing.source_tokenizer(source)
        if tokenization.Tokenizer.load(theirs).fingerprint != setup.tokenizer.fingerprint:
            wanted = source if source.startswith(checkpointing.PACKAGE_PREFIX) else theirs
            raise errors.ConfigError(
                f"init_from.{part}={source}: was trained with the tokenizer {theirs}, the run has "
                f"{setup.tokenizer_path}; give --data.tokenizer={wanted}"
            )


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
