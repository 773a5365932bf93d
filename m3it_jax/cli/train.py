"""`m3it train`: one run as a configuration file says. The same command resumes where it left off."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3it_jax import progress
from m3it_jax.cli import configuration

if TYPE_CHECKING:
    from m3it_jax.config import Experiment
    from m3it_jax.training.setup import Setup

EXAMPLE = """m3it train configs/tiny.py --run-dir runs/tiny --optimizer.learning_rate=0.002
  m3it train configs/finetune.py --run-dir runs/mine --data.path=data/mine --init_from.all=runs/quickstart"""
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("config", metavar="CONFIG", help="a file under configs/, with :PRESET if it has presets")
    parser.add_argument(
        "--run-dir", type=Path, required=True, metavar="DIR", help="run folder; a run that is in it resumes"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what would be trained, and write the first rows to samples/0.html of the run folder; train nothing",
    )
    parser.add_argument(
        "--accept-data-change",
        action="store_true",
        help="resume although records, tokenizer, mixture, packing or seed changed; the run folder notes it",
    )


def run(args: argparse.Namespace) -> int:
    """Trains, and returns 0 when the run is finished or 130 when a signal stopped it after saving."""
    config = configuration.load(args.config, args.overrides)

    with progress.Waiting("loading JAX and TensorFlow"):
        from m3it_jax import records
        from m3it_jax.input_pipeline.order import mixture
        from m3it_jax.training import inheritance, loop, processes, setup
    processes.join()

    with progress.Waiting("reading the data folder and laying out the model"):
        config = inheritance.resolved(config, args.run_dir)
        prepared = setup.prepare(config)
    if processes.is_first():
        for line in mixture.loss_by_task(records.DataFolder.open(config.data.path), config.data):
            print(line, file=sys.stderr)
    if args.dry_run:
        if processes.is_first():
            print(setup.describe(config, prepared))
            _show_first_rows(args.run_dir, prepared)
        return 0
    with _run_folder(args, config, prepared) as (on_first_batch, on_samples):
        finished = loop.run(config, prepared, args.run_dir, on_first_batch=on_first_batch, on_samples=on_samples)
    is_over = finished >= config.num_steps
    if processes.is_first():
        left = f"finished, {finished} steps"
        if not is_over:
            left = f"stopped and saved at step {finished}; the same command resumes there"
        print(f"{args.run_dir}: {left}", file=sys.stderr)
    return 0 if is_over else 130


@contextlib.contextmanager
def _run_folder(args: argparse.Namespace, config: "Experiment", prepared: "Setup") -> Iterator[tuple[Any, Any]]:
    """Holds the run folder, writes what describes the run, and yields the hooks of `_pages`: rank 0 does all of it."""
    from m3it_jax import checkpointing, file_safety
    from m3it_jax.training import data_changes, processes, run_folder, setup

    if not processes.is_first():
        processes.meet("run folder")
        yield lambda batch, names: None, None
        return
    with file_safety.held(args.run_dir, doing="training", instead="--run-dir"):
        is_new = checkpointing.newest_step(args.run_dir) is None
        free = list(run_folder.FREE_FIELDS)
        if args.accept_data_change:
            if changed := data_changes.accept(args.run_dir, prepared.pipeline):
                print(f"{args.run_dir}: goes on with other data ({changed} changed), as accepted", file=sys.stderr)
            free += ["data", "seed", "model.tiles"]
        data_changes.check(args.run_dir, prepared.pipeline)
        run_folder.write_config(config, args.run_dir, free=free)
        run_folder.write_env(args.run_dir, prepared.tokenizer_path)
        run_folder.write_asked(prepared.pipeline.one_of_each(), args.run_dir)
        for line in setup.overview(config, prepared):
            print(line, file=sys.stderr)
        processes.meet("run folder")
        yield _pages(args.run_dir, config, prepared, is_new=is_new)


def _show_first_rows(run_dir: Path, prepared: "Setup") -> None:
    """Checks the rows of the first step and writes their page, unless a run has begun there, whose page it is."""
    from m3it_jax import checkpointing
    from m3it_jax.analysis import sample_page
    from m3it_jax.training import loop

    batch, names = loop.first_batch(prepared, 0)
    page = run_dir / "samples" / "0.html"
    if checkpointing.newest_step(run_dir) is None:
        sample_page.write(page, batch, record_ids=names, setup=prepared)
    print(f"{page}: the rows of the first step", file=sys.stderr)


def _pages(run_dir: Path, config: "Experiment", prepared: "Setup", *, is_new: bool) -> tuple[Any, Any]:
    """Returns the two hooks that write pages: of the first rows, and of answers while training (None if not wanted)."""
    from m3it_jax.analysis import answer_page, sample_page

    def show_rows(batch: dict, record_ids: list[str]) -> None:
        page = run_dir / "samples" / "0.html"
        if is_new or not page.exists():
            sample_page.write(page, batch, record_ids=record_ids, setup=prepared)

    import jax

    if config.samples.every and jax.process_count() > 1:
        print("samples      none: their parameters lie on several processes", file=sys.stderr)
        return show_rows, None
    if not config.samples.every or prepared.validation is None or prepared.objective.rows != "response":
        return show_rows, None
    instances = prepared.validation.instances(config.samples.num_records)

    def show_answers(step: int, params: Any) -> None:
        answer_page.write(run_dir / "samples" / f"{step}.html", prepared, params, instances=instances, step=step)

    return show_rows, show_answers
