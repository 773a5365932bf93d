"""The order of operations of a run, the same for every stage. What is done at a step is in step.py."""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import adapter_weights, checkpointing, errors, parameter_paths, sharding
from m3it_jax.config import Experiment
from m3it_jax.input_pipeline import device_feed
from m3it_jax.input_pipeline.batch_checks import check_first_batch
from m3it_jax.progress import Waiting
from m3it_jax.training import data_changes, flops, peers, processes, step
from m3it_jax.training.preemption import Preemption
from m3it_jax.training.setup import Setup, abstract_state, initial_state
from m3it_jax.training.state import TrainState, split, trained_table
from m3it_jax.training.telemetry import Silence, Telemetry

FirstBatchHook = Callable[[dict[str, np.ndarray], list[str]], None]
NAMES_JOINED = " + "  # between the ids of a row's records
SamplesHook = Callable[[int, Any], None] | None


@dataclasses.dataclass
class Progress:
    """Where a run stands: its state, and the sums of the metrics since the last line of metrics.jsonl."""

    state: TrainState
    sums: dict[str, Any]
    step: int


def restore_or_start(config: Experiment, setup: Setup, manager: Any) -> Progress:
    """Returns the newest checkpoint, or the start at step 0.

    Raises:
      UserError: the checkpoint belongs to other data: going on would repeat or skip records.
    """
    newest = manager.latest_step()
    if newest is None:
        return Progress(initial_state(config, setup), {}, 0)
    state = abstract_state(config, setup)  # the sources of `init_from` are not needed any more
    items, position = checkpointing.restore(manager, newest, {"params": state.params, "opt_state": state.opt_state})
    run_dir = Path(manager.directory).parent
    data_changes.check_position(position, setup.pipeline, manager.directory / str(newest), run_dir=run_dir)
    step = jax.device_put(np.int32(newest), sharding.replicated(setup.mesh))
    trainable, frozen = split(items["params"], trained_table(config))
    is_same = position["fingerprint"] == setup.pipeline.fingerprint  # sums by source are of no use with others
    kept = position["sums"] if is_same else {}
    sums = {name: jax.device_put(np.asarray(values, np.float32), step.sharding) for name, values in kept.items()}
    return Progress(TrainState(step, trainable, frozen, items["opt_state"]), sums, newest)


def save(manager: Any, setup: Setup, progress: Progress) -> None:
    """Saves everything that the same command needs to go on as if it had never stopped.

    Raises:
      UserError: what was learned since the last line is not finite, or the checkpoint cannot be saved.
    """
    if progress.sums:  # else they were looked at for the line of this step
        check_finite(jax.device_get(progress.sums), progress.step)
    sums = {name: np.asarray(values).tolist() for name, values in progress.sums.items()}
    position = {"step": progress.step, "fingerprint": setup.pipeline.fingerprint, "sums": sums}
    position["parts"] = setup.pipeline.parts
    items = {"params": progress.state.params, "opt_state": progress.state.opt_state}
    checkpointing.save(manager, progress.step, items, position=position)


def check_finite(sums: Mapping[str, np.ndarray], step_number: int) -> None:
    """Checks the sums since the last line; the norm tells of gradients that have spoilt the newest parameters.

    Raises:
      UserError: the loss or the gradient is not finite.
    """
    for name in ("train/loss", "train/grad_norm"):
        total, count = sums[name]
        if not math.isfinite(total / max(count, 1.0)):
            raise errors.UserError(
                f"{name} is {total / max(count, 1.0)} at step {step_number}; checkpoints from before are whole. "
                "Lower optimizer.learning_rate or raise optimizer.warmup_steps"
            )


class Stopwatch:
    """Wall-clock figures of the steps since the last line: step time, useful work, and how long it waited for data."""

    def __init__(self, step_flops: Callable[[dict[str, jax.Array]], float], peak_flops: float) -> None:
        """Starts now.

        Args:
          step_flops: Useful operations of an update by its batch, see `flops.StepFlops`.
          peak_flops: What all devices could do at best, operations a second.
        """
        self._step_flops, self._peak_flops = step_flops, peak_flops
        self._reset()

    def _reset(self) -> None:
        self._begin, self._waited, self._steps, self._tokens, self._rows = time.perf_counter(), 0.0, 0, 0, 0
        self._flops = 0.0

    def timed(self, batches: Iterable[dict[str, jax.Array]]) -> Iterator[dict[str, jax.Array]]:
        """Yields the batches, counting the time spent on waiting for each."""
        iterator = iter(batches)
        while True:
            before = time.perf_counter()
            batch = next(iterator, None)
            self._waited += time.perf_counter() - before
            if batch is None:
                return
            self._steps += 1
            self._tokens += batch.get("token_ids", batch["source_index"]).size
            self._rows += batch["source_index"].shape[0]
            self._flops += self._step_flops(batch)
            yield batch

    def lap(self) -> dict[str, float]:
        """Returns the figures since the last lap, and begins the next."""
        seconds = max(time.perf_counter() - self._begin, 1e-9)
        figures = {
            "perf/step_s": seconds / max(self._steps, 1),
            "perf/tokens_per_s": self._tokens / seconds,
            "perf/rows_per_s": self._rows / seconds,
            "perf/data_wait": self._waited / seconds,
            "perf/flops_per_s": self._flops / seconds,
            "perf/mfu": self._flops / seconds / self._peak_flops,
        }
        self._reset()
        return figures


def _sound_checkpoints(run_dir: Path, keep: int) -> Any:
    """Returns the manager of a run's checkpoints, the newest of which is sound; those that are not are told."""
    for line in checkpointing.set_aside_broken(run_dir) if processes.is_first() else ():
        sys.stderr.write(f"m3it: {line}\n")
    processes.meet("sound checkpoints")
    return checkpointing.open_manager(run_dir, keep)


def run(
    config: Experiment, setup: Setup, run_dir: Path, *, on_first_batch: FirstBatchHook, on_samples: SamplesHook = None
) -> int:
    """Trains until `num_steps`, or until a signal asks to stop; saves in either case.

    Args:
      config: The resolved configuration.
      setup: Made from it by `setup.prepare`.
      run_dir: Where checkpoints and metrics go.
      on_first_batch: Called with the first batch and its record ids before anything is compiled.
      on_samples: Called with the step and the parameters every `samples.every` steps and at the end.

    Returns:
      The number of finished updates.

    Raises:
      UserError: a record cannot be read, the loss is no longer finite, or a checkpoint cannot be saved.
    """
    with jax.set_mesh(setup.mesh), Preemption(jax.process_count()) as preemption, contextlib.ExitStack() as stack:
        watch = stack.enter_context(peers.Watch(run_dir, jax.process_index(), jax.process_count()))
        stack.enter_context(watch.blaming(jax.errors.JaxRuntimeError))
        manager = _sound_checkpoints(run_dir, config.checkpoint.keep)
        first = _first_step(manager, run_dir, config.num_steps)
        if first >= config.num_steps:
            return first  # a finished run: nothing is compiled or opened
        batches = _host_batches(setup, first, num_steps=config.num_steps - first, on_first_batch=on_first_batch)
        stack.callback(batches.close)
        with Waiting(f"restoring step {first}" if first else "making the parameters"):
            progress = restore_or_start(config, setup, manager)
        telemetry = _telemetry(config, setup, run_dir, first=first)
        stack.callback(telemetry.close)
        step_fn = _Telling(jax.jit(make_train_step(setup, config.seed), donate_argnums=0), telemetry, watch)
        accumulate = jax.jit(lambda total, new: jax.tree.map(jnp.add, total, new))
        pauses = _Pauses(config, setup, manager, telemetry, watch, make_validation(config, setup), on_samples)
        stopwatch = make_stopwatch(setup, progress.state)
        telemetry.begin()
        due: Callable[[], None] | None = None  # writing the line of the step before, once this one is dispatched
        for batch in stopwatch.timed(device_feed.feed(batches, sharding.batch_sharding(setup.mesh, setup.rules))):
            progress.state, sums = step_fn(progress.state, batch)
            progress.sums = accumulate(progress.sums, sums) if progress.sums else sums
            progress.step += 1
            telemetry.count(progress.step)
            watch.count(progress.step)
            if due:
                due = due()
            last = progress.step == config.num_steps
            if last or progress.step % config.log.every == 0:
                due = _line(telemetry, setup, progress=progress, stopwatch=stopwatch)
                progress.sums = {}
            stop = processes.should_stop(progress.step, is_asked=preemption.signal is not None)
            now = pauses.due(progress.step, last=last, stop=stop)
            if due and now:
                due = due()
            for pause in now:
                pause(progress)
            if stop:
                break
        manager.close()
        _say(f"compiled     the step for {step_fn.told} of a batch")
        return progress.step


@dataclasses.dataclass(frozen=True)
class _Pauses:
    """What is done between two steps: a look at the validation records, a save, answers to show."""

    config: Experiment
    setup: Setup
    manager: Any
    telemetry: Telemetry
    watch: peers.Watch
    validate: Callable[[TrainState], dict[str, np.ndarray]] | None
    on_samples: SamplesHook

    def due(self, step_number: int, *, last: bool, stop: bool) -> list[Callable[[Progress], None]]:
        """Returns what is to be done after a step, in order; `stop` is whether a signal asks to stop here."""
        config = self.config
        found: list[Callable[[Progress], None]] = []
        if self.validate and _is_due(config.validation.every, step_number, last=last):
            found.append(self._look)
        if stop or _is_due(config.checkpoint.every, step_number, last=last):
            found.append(self._save)
        if self.on_samples and not stop and _is_due(config.samples.every, step_number, last=last):
            found.append(self._ask)
        return found

    def _look(self, progress: Progress) -> None:
        assert self.validate is not None and self.setup.validation is not None
        with self.watch.doing("validating"), self.telemetry.waiting("validating"):
            found = self.validate(progress.state)
        self.telemetry.write_validation(progress.step, found, self.setup.validation.source_names)

    def _save(self, progress: Progress) -> None:
        with self.watch.doing("saving"), self.telemetry.waiting("saving"):
            save(self.manager, self.setup, progress)

    def _ask(self, progress: Progress) -> None:
        assert self.on_samples is not None
        with self.watch.doing("answering"), self.telemetry.waiting("answering validation records"):
            leaves = adapter_weights.merged(parameter_paths.flatten(progress.state.params))
            self.on_samples(progress.step, parameter_paths.unflatten(leaves))


def _telemetry(config: Experiment, setup: Setup, run_dir: Path, *, first: int) -> Telemetry:
    if not processes.is_first():
        return Silence()
    names = setup.pipeline.source_names
    return Telemetry(run_dir, start_step=first, num_steps=config.num_steps, source_names=names)


def _first_step(manager: Any, run_dir: Path, num_steps: int) -> int:
    """Returns the step that a run goes on from, and says it."""
    first = manager.latest_step() or 0
    begins = f"resumes at step {first}" if first else "starts at step 0"
    _say(f"run folder   {run_dir}: {begins} of {num_steps}")
    return first


def _say(line: str) -> None:
    if processes.is_first():
        sys.stderr.write(f"{line}\n")


def _is_due(every: int, step_number: int, *, last: bool) -> bool:
    return bool(every) and (last or step_number % every == 0)


class _Telling:
    """The update, which says so when it is compiled: once for each shape of a batch."""

    def __init__(self, step_fn: Callable[[TrainState, Any], Any], telemetry: Telemetry, watch: peers.Watch) -> None:
        self._step_fn, self._telemetry, self._watch = step_fn, telemetry, watch
        self.shapes: set[tuple[tuple[int, ...], ...]] = set()

    @property
    def told(self) -> str:
        """For how many shapes the update was compiled."""
        return "1 shape" if len(self.shapes) == 1 else f"{len(self.shapes)} shapes"

    def __call__(self, state: TrainState, batch: dict[str, jax.Array]) -> Any:
        shapes = tuple(array.shape for _, array in sorted(batch.items()))
        if shapes in self.shapes:
            return self._step_fn(state, batch)
        self.shapes.add(shapes)
        rows = batch["source_index"].shape[0]
        label = f"compiling the step ({rows} rows, {len(batch.get('images', ()))} pictures)"
        with self._watch.doing("compiling"), self._telemetry.waiting(label):
            return self._step_fn(state, batch)


def make_stopwatch(setup: Setup, state: TrainState) -> Stopwatch:
    """Returns the clock of a run, with the machine's peak looked up or measured now."""
    step_flops = flops.StepFlops(
        setup.task.variant, trainable=state.trainable, frozen=state.frozen, max_targets=setup.task.max_targets
    )
    return Stopwatch(step_flops, flops.peak_flops(setup.mesh.devices.flatten().tolist()))


def make_train_step(setup: Setup, seed: int) -> step.StepFn:
    """Returns the pure update function of a run."""
    return step.make_train_step(
        setup.objective,
        setup.task,
        optimizer=setup.optimizer,
        rules=setup.rules,
        seed=seed,
        accumulation=setup.accumulation,
    )


def make_validation(config: Experiment, setup: Setup) -> Callable[[TrainState], dict[str, np.ndarray]] | None:
    """Returns a function from the state to sums over validation batches, or None if there is no validation."""
    if setup.validation is None or not config.validation.every:
        return None
    held_out = setup.validation
    eval_step = jax.jit(step.make_eval_step(setup.objective, setup.task, rules=setup.rules))
    place = sharding.batch_sharding(setup.mesh, setup.rules)

    def validate(state: TrainState) -> dict[str, np.ndarray]:
        totals: dict[str, np.ndarray] = {}
        mine = {"process_index": jax.process_index(), "process_count": jax.process_count()}
        for batch in device_feed.feed(held_out.batches(0, config.validation.num_steps, **mine), place):
            for name, pair in jax.device_get(eval_step(state.params, batch)).items():
                totals[name] = totals.get(name, 0.0) + pair.astype(np.float64)
        return totals

    return validate


def _line(telemetry: Telemetry, setup: Setup, *, progress: Progress, stopwatch: Stopwatch) -> Callable[[], None]:
    """Returns the writing of the line of this step, to be called once the next step is under way."""
    step_number, sums = progress.step, progress.sums

    def write() -> None:
        values = jax.device_get(sums)
        check_finite(values, step_number)
        telemetry.write(step_number, values, float(setup.learning_rate(step_number - 1)))
        telemetry.write_perf(step_number, stopwatch.lap())

    return write


def _host_batches(
    setup: Setup, first: int, *, num_steps: int, on_first_batch: FirstBatchHook
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields this host's batches; the first one is checked and shown before it is handed out."""
    index, count = jax.process_index(), jax.process_count()
    batches = setup.pipeline.batches(first, num_steps, process_index=index, process_count=count)
    for step_number, batch in enumerate(batches, first):
        if step_number == first:
            on_first_batch(batch, check_first(setup, batch, first))
        yield batch


def first_batch(setup: Setup, step_number: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns this host's batch of a step after the checks of a first one, and a name for each row.

    Raises:
      UserError: the rows could teach nothing, or a record cannot be read.
    """
    index, count = jax.process_index(), jax.process_count()
    batch = setup.pipeline.batch(step_number, process_index=index, process_count=count)
    return batch, check_first(setup, batch, step_number)


def check_first(setup: Setup, batch: dict[str, np.ndarray], step_number: int) -> list[str]:
    """Checks this host's batch of a first step, and returns a name for each row: its records' ids.

    Raises:
      UserError: its rows could teach nothing.
    """
    index, count = jax.process_index(), jax.process_count()
    rows = setup.pipeline.row_ids(step_number, process_index=index, process_count=count)
    names = [NAMES_JOINED.join(row) for row in rows]
    if setup.objective.rows == "response":
        check_first_batch(batch, setup.layout, vocab_size=setup.task.variant.decoder.vocab_size, record_ids=names)
    return names
