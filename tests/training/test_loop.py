"""The loop: what is frozen stays, what was stopped goes on to the last bit, and the mesh changes nothing."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest

from m3it_jax import checkpointing, errors, file_safety, parameter_paths, sharding
from m3it_jax.config import (
    CheckpointConfig,
    DataConfig,
    Experiment,
    LogConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    ValidationConfig,
)
from m3it_jax.training import data_changes, flops, loop, peers, run_folder, setup, step
from m3it_jax.training.objectives import OBJECTIVES

STAGE_2 = (
    (r"(qformer|projection)/.*", True),
    (r"decoder/blocks/attn/(query|value)/kernel", True),
    (r"(vit|decoder)/.*", False),
)

ONE_AND_EIGHT = {"ones": 1.0, "films": 1.0}  # pictures of a row
MESHES = [((2, 4, 1), "fsdp"), ((2, 2, 2), "fsdp_tp")]  # each is a program to compile, and both have data in parts
MESHES += [((8, 1, 1), "single")] if "M3IT_LONG" in os.environ else []
SHARDED = MeshConfig(data=1, fsdp=2, tensor=2)  # what is split takes twice as long to compile


@pytest.fixture
def config(folder, fresh_run) -> Experiment:
    return Experiment(
        num_steps=6,
        model=ModelConfig(variant="tiny"),
        data=DataConfig(
            path=str(folder.path),
            mixture={"ones": 1.0},  # a step of each number of pictures is a program of its own to compile
            global_batch_size=8,
            max_images=64,
            max_text_len=80,
            max_response_len=40,
        ),
        optimizer=OptimizerConfig(warmup_steps=2),
        trainable=STAGE_2,
        init_from={"vit": str(fresh_run)},
        mesh=MeshConfig(data=1, fsdp=1, tensor=1),
        checkpoint=CheckpointConfig(every=3),
        log=LogConfig(every=2),
    )


def train(config: Experiment, run_dir: pathlib.Path, on_first_batch=lambda batch, ids: None) -> int:
    """Runs on as many of the fake devices as the mesh names."""
    prepared = setup.prepare(config)
    sizes = config.mesh
    devices = jax.devices()[: sizes.data * sizes.fsdp * sizes.tensor]
    mesh = sharding.make_mesh(data=sizes.data, fsdp=sizes.fsdp, tensor=sizes.tensor, devices=devices)
    prepared = dataclasses.replace(prepared, mesh=mesh)
    with file_safety.held(run_dir, doing="training", instead="--run-dir"):
        run_folder.write_config(config, run_dir)
        run_folder.write_env(run_dir, prepared.tokenizer_path)
        return loop.run(config, prepared, run_dir, on_first_batch=on_first_batch)


@pytest.fixture(autouse=True)
def whole_mesh(monkeypatch) -> None:
    """`prepare` asks for a mesh over all eight devices; these tests choose their own afterwards."""
    make = sharding.make_mesh
    monkeypatch.setattr(
        sharding, "make_mesh", lambda **sizes: make(**sizes) if "devices" in sizes else make(data=-1, fsdp=1, tensor=1)
    )


def params_of(run_dir: pathlib.Path) -> dict[str, np.ndarray]:
    return parameter_paths.flatten(checkpointing.restore_params(run_dir)[0])


def lines(run_dir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def assert_trained_ones_alone_moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    assert after.keys() == before.keys()
    for path, leaf in before.items():
        moved = not np.array_equal(np.asarray(leaf), after[path])
        # The keys' biases of attention have no gradient: softmax takes a shift of all scores away.
        trained = path.startswith(("qformer", "projection")) or path.endswith(("query/kernel", "value/kernel"))
        trained &= not path.startswith("vit")
        if not path.endswith("key/bias"):
            assert moved == trained, path


def test_optimiser_has_no_moments_for_frozen_parameters(config) -> None:
    prepared = setup.prepare(config)
    state = setup.initial_state(config, prepared)
    trained = len(jax.tree.leaves(state.trainable))
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert len(moments) == 2 * trained < 2 * len(jax.tree.leaves(state.params))


def test_frozen_parameters_stay_and_a_stopped_run_goes_on_to_the_last_bit(config, tmp_path) -> None:
    """Stopped by SIGTERM in step 1 (off any schedule), then resumed: same lines, same parameters, same rows."""
    config.data.mixture, config.mesh = ONE_AND_EIGHT, SHARDED
    before = parameter_paths.flatten(setup.initial_state(config, setup.prepare(config)).params)
    assert train(config, tmp_path / "whole") == 6
    assert_trained_ones_alone_moved(before, params_of(tmp_path / "whole"))
    seen: list[str] = []
    stopped = train(config, tmp_path / "run", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert stopped == 1
    assert train(config, tmp_path / "run", lambda batch, ids: seen.extend(ids)) == 6
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    whole, resumed = params_of(tmp_path / "whole"), params_of(tmp_path / "run")
    for path, leaf in whole.items():
        np.testing.assert_array_equal(leaf, resumed[path], err_msg=path)
    assert seen == setup.prepare(config).pipeline.record_ids(1, process_index=0, process_count=1)


def test_a_finished_run_does_nothing_more(config, tmp_path) -> None:
    config.num_steps = 2
    assert train(config, tmp_path / "run") == 2
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    assert train(config, tmp_path / "run", lambda *_: pytest.fail("a batch was made")) == 2
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before


def test_sharded_equals_unsharded(config, tmp_path) -> None:
    config.data.mixture, config.num_steps = {"films": 1.0}, 2
    # Adam turns the rounding noise of a gradient that is zero into a whole step; a large epsilon keeps it noise.
    config.optimizer.epsilon = 1e-2
    config.mesh = MeshConfig(data=1, fsdp=1, tensor=1, rules="single")
    train(config, tmp_path / "one")
    single = params_of(tmp_path / "one")
    for sizes, preset in MESHES:
        config.mesh = MeshConfig(*sizes, rules=preset)
        train(config, tmp_path / preset)
        for one, many in zip(lines(tmp_path / "one"), lines(tmp_path / preset), strict=True):
            assert many["train/loss"] == pytest.approx(one["train/loss"], rel=1e-5), preset
        sharded = params_of(tmp_path / preset)
        for path, leaf in single.items():
            np.testing.assert_allclose(sharded[path], leaf, atol=2e-4, err_msg=f"{preset}: {path}")


def test_activations_are_constrained_on_the_mesh(config) -> None:
    """Without the constraint in the lowered program the compiler may do as it likes, and no value would tell."""
    prepared = setup.prepare(config)
    batch = prepared.pipeline.batch(0, process_index=0, process_count=1)
    task, rules = prepared.task, prepared.rules
    eval_step = step.make_eval_step(OBJECTIVES["response"], task, rules=rules)
    abstract, _ = setup.abstract_params(OBJECTIVES["response"], task)
    with jax.set_mesh(prepared.mesh):
        text = jax.jit(eval_step).lower(abstract, batch).as_text()
    assert text.count("sharding_constraint") >= 5


def test_other_data_is_refused_on_resume(config, tmp_path) -> None:
    config.num_steps = 3
    train(config, tmp_path / "run")
    config.num_steps, config.data.global_batch_size = 6, 16
    with pytest.raises(errors.ConfigError, match=r"num_steps|global_batch_size"):
        train(config, tmp_path / "run")
    (tmp_path / "run/config.json").unlink()
    with pytest.raises(errors.UserError, match="other data"):
        train(config, tmp_path / "run")


def test_weights_of_another_size_are_refused_by_name(config, tmp_path) -> None:
    config.num_steps = 2
    train(config, tmp_path / "tiny")
    config.model.variant, config.init_from = "mini", {"all": str(tmp_path / "tiny")}
    with pytest.raises(errors.UserError, match=r"has shape .* needs"):
        setup.initial_state(config, setup.prepare(config))


def test_a_part_starts_from_another_run(config, tmp_path) -> None:
    config.num_steps = 2
    train(config, tmp_path / "first")
    config.seed, config.init_from = 5, {**config.init_from, "decoder": str(tmp_path / "first")}
    started = parameter_paths.flatten(setup.initial_state(config, setup.prepare(config)).params)
    first = params_of(tmp_path / "first")
    for path, leaf in started.items():
        same = np.array_equal(np.asarray(leaf), first[path])
        if path.startswith("decoder/"):
            assert same, path
    assert not np.array_equal(started["projection/kernel"], first["projection/kernel"])


def test_a_loss_that_is_not_finite_stops_the_run(config, tmp_path) -> None:
    config.optimizer.learning_rate, config.optimizer.warmup_steps, config.num_steps = 1e30, 0, 20
    config.optimizer.clip_norm = 1e30
    with pytest.raises(errors.UserError, match="train/loss is"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize("name", ["train/loss", "train/grad_norm"])
def test_nothing_is_saved_once_a_sum_is_not_finite(config, tmp_path, monkeypatch, name: str) -> None:
    """The save of step 2 falls between two lines, and only the gradient may tell."""
    make_train_step = loop.make_train_step

    def spoilt(*args):
        train_step = make_train_step(*args)

        def step_fn(state, batch):
            after, sums = train_step(state, batch)
            sums[name] = jax.numpy.where(state.step >= 1, jax.numpy.nan, sums[name])
            return after, sums

        return step_fn

    monkeypatch.setattr(loop, "make_train_step", spoilt)
    config.checkpoint, config.log.every = CheckpointConfig(every=1), 3
    with pytest.raises(errors.UserError, match=f"{name} is nan at step 2; checkpoints from before are whole"):
        train(config, tmp_path / "run")
    assert checkpointing.newest_step(tmp_path / "run") == 1


def test_a_gradient_that_is_not_finite_stops_the_run_at_its_line() -> None:
    sums = {"train/loss": np.ones(2), "train/grad_norm": np.array([np.inf, 2.0])}
    with pytest.raises(errors.UserError, match="train/grad_norm is inf at step 7"):
        loop.check_finite(sums, 7)


def test_a_run_goes_on_without_what_it_started_from(config, fresh_run, tmp_path) -> None:
    source = tmp_path / "source"
    shutil.copytree(fresh_run, source)
    config.init_from = {"vit": str(source)}
    assert train(config, tmp_path / "run", lambda *_: os.kill(os.getpid(), signal.SIGTERM)) == 1
    shutil.rmtree(source)
    assert train(config, tmp_path / "run") == 6


def test_data_that_moved_is_the_same_data_and_other_data_is_told_first(config, folder, tmp_path) -> None:
    config.num_steps = 2
    train(config, tmp_path / "run")
    config.data.path = str(shutil.copytree(folder.path, tmp_path / "moved"))
    run_folder.write_config(config, tmp_path / "run")
    data_changes.check(tmp_path / "run", setup.prepare(config).pipeline)
    manifest = json.loads((tmp_path / "moved/m3it.json").read_text())
    manifest["sources"]["ones"]["instructions"] = ["Another way to ask."]
    (tmp_path / "moved/m3it.json").write_text(json.dumps(manifest))
    with pytest.raises(errors.UserError, match="checkpoints/2: was trained on other data"):
        data_changes.check(tmp_path / "run", setup.prepare(config).pipeline)
    data_changes.check(tmp_path / "none", setup.prepare(config).pipeline)


@pytest.mark.parametrize("objective", ["vit_tower", "qformer_tower"])
def test_towers_train_and_are_validated(config, tmp_path, objective: str) -> None:
    config.objective, config.trainable, config.num_steps = objective, ((".*", True),), 4
    config.validation = ValidationConfig(every=2, num_steps=2)
    config.optimizer = OptimizerConfig(name="muon", warmup_steps=1)
    train(config, tmp_path / "run")
    names = {name for line in lines(tmp_path / "run") for name in line}
    assert {"train/accuracy/parity", "train/loss/captions", "validation/accuracy/parity"} <= names


def test_a_decoder_learns_from_descriptions_alone(config, tmp_path) -> None:
    config.data.picture_as, config.trainable = "captions", ((r"decoder/.*", True), (r".*", False))
    config.num_steps = 30
    config.optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=2)
    train(config, tmp_path / "run")
    losses = [line["train/loss"] for line in lines(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]


def test_perf_lines_tell_the_useful_work_and_its_share_of_the_peak(config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(flops, "peak_flops", lambda devices: 1e9)
    config.num_steps = 2
    train(config, tmp_path / "run")
    (line,) = [json.loads(text) for text in (tmp_path / "run/perf.jsonl").read_text().splitlines()]
    prepared = setup.prepare(config)
    trained = setup.initial_state(config, prepared)
    count = flops.StepFlops(
        prepared.task.variant,
        trainable=trained.trainable,
        frozen=trained.frozen,
        max_targets=prepared.task.max_targets,
    )
    done = sum(count(prepared.pipeline.batch(number)) for number in (0, 1))
    assert line["perf/flops_per_s"] * 2 * line["perf/step_s"] == pytest.approx(done)
    assert line["perf/mfu"] == pytest.approx(line["perf/flops_per_s"] / 1e9)


def test_text_rows_are_trained_beside_pictures(config, tiny, tmp_path):
    text = {"source": "texts", "images": (), "meta": {"text_only": True}}
    texts = [dataclasses.replace(tiny.instance("ones", n), id=f"texts-{n}", **text) for n in range(16)]
    folder = tiny.write_folder(
        tmp_path / "data", {"ones": [tiny.instance("ones", n) for n in range(16)], "texts": texts}
    )
    config.data.path, config.data.mixture, config.data.max_images = str(folder.path), {}, 8
    config.log.every = 1
    assert train(config, tmp_path / "run") == 6
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"train/loss/ones", "train/loss/texts"} <= {name for line in lines for name in line}
    assert all(np.isfinite(line["train/loss"]) for line in lines)
    assert {setup.prepare(config).pipeline.plan.step(step)[0] for step in range(6)} == {0, 1}


def test_the_clock_tells_steps_tokens_waiting_and_useful_work(monkeypatch) -> None:
    now = [50.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])

    def batches():
        for rows in (2, 4, 2):
            now[0] += 0.5  # until it is there
            yield {"token_ids": np.zeros((rows, 6)), "source_index": np.zeros(rows)}
        now[0] += 4.0
        yield {"source_index": np.zeros(3)}  # a tower's

    watch = loop.Stopwatch(lambda batch: 100.0 * batch["source_index"].size, 1e3)
    timed = watch.timed(batches())
    for _ in range(3):
        next(timed)
        now[0] += 1.5  # the step
    wanted = {"step_s": 2.0, "tokens_per_s": 8.0, "rows_per_s": 8 / 6, "data_wait": 1.5 / 6, "flops_per_s": 800 / 6}
    assert watch.lap() == pytest.approx({f"perf/{k}": v for k, v in (wanted | {"mfu": 0.8 / 6}).items()})
    assert [batch["source_index"].size for batch in timed] == [3]
    wanted = {"step_s": 4.0, "tokens_per_s": 0.75, "rows_per_s": 0.75, "data_wait": 1.0, "flops_per_s": 75.0}
    assert watch.lap() == pytest.approx({f"perf/{k}": v for k, v in (wanted | {"mfu": 0.075}).items()})
    now[0] += 3.0
    assert watch.lap()["perf/step_s"] == 3.0  # of no step: no division by none


def test_validation_adds_the_sums_of_its_batches_in_float64(config, monkeypatch) -> None:
    config.validation, config.data.mixture = ValidationConfig(every=1, num_steps=3), {"ones": 1.0}
    prepared = setup.prepare(config)

    def make_eval_step(objective, task, *, rules):
        del objective, task, rules
        return lambda params, batch: {"train/loss": jax.numpy.stack([batch["token_ids"].sum() * params, params])}

    monkeypatch.setattr(step, "make_eval_step", make_eval_step)
    state = setup.TrainState(np.int32(0), {"scale": np.float32(0.5)}, {}, ())
    monkeypatch.setattr(setup.TrainState, "params", property(lambda self: self.trainable["scale"]))
    with jax.set_mesh(prepared.mesh):
        found = loop.make_validation(config, prepared)(state)
    total = sum(int(prepared.validation.batch(number)["token_ids"].sum()) for number in range(3))
    assert {name: values.tolist() for name, values in found.items()} == {"train/loss": [0.5 * total, 1.5]}
    assert found["train/loss"].dtype == np.float64
    config.validation.every = 0
    assert loop.make_validation(config, prepared) is None


@pytest.mark.parametrize(
    ("step_number", "last", "stop", "wanted"),
    [
        (1, False, False, ""),
        (2, False, False, "_look"),
        (3, False, False, "_save"),
        (4, False, False, "_look _ask"),
        (12, False, False, "_look _save _ask"),
        (5, True, False, "_look _save _ask"),
        (5, False, True, "_save"),
        (4, False, True, "_look _save"),  # nobody waits for answers then
    ],
)
def test_what_is_due_after_a_step(config, step_number: int, last: bool, stop: bool, wanted: str) -> None:
    config.validation, config.checkpoint, config.samples.every = ValidationConfig(every=2), CheckpointConfig(every=3), 4
    pauses = loop._Pauses(config, None, None, None, None, lambda state: {}, lambda number, params: None)
    found = [pause.__name__ for pause in pauses.due(step_number, last=last, stop=stop)]
    assert found == wanted.split()
    config.validation.every, config.samples.every = 0, 0
    kept = [pause.__name__ for pause in pauses.due(step_number, last=last, stop=stop)]
    assert kept == [name for name in found if name == "_save"]


def test_compiling_is_told_once_for_each_kind_of_batch(tmp_path) -> None:
    labels: list[str] = []

    class Told:
        @staticmethod
        def waiting(label: str):
            labels.append(label)
            return contextlib.nullcontext()

    watch = peers.Watch(tmp_path, 0, 1)
    update = loop._Telling(lambda state, batch: (state, len(batch["source_index"])), Told(), watch)
    batches = [{"source_index": np.zeros(rows), "images": np.zeros(pictures)} for rows, pictures in ((2, 3), (2, 5))]
    for batch in (*batches, {"source_index": np.zeros(4)}, *batches):
        assert update("state", batch) == ("state", len(batch["source_index"]))
    told = ["2 rows, 3 pictures", "2 rows, 5 pictures", "4 rows, 0 pictures"]
    assert labels == [f"compiling the step ({about})" for about in told]
