"""`m3it train`: one run as a configuration file says. The same command goes on where it stopped."""

import argparse
import sys
from pathlib import Path

from m3it_jax.cli import configuration, options

EXAMPLE = "m3it train configs/tiny.py --run-dir runs/tiny --optimizer.learning_rate=0.002"
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("config", metavar="CONFIG", help="a file under configs/, with :PRESET if it has presets")
    parser.add_argument(
        "--run-dir", type=Path, required=True, metavar="DIR", help="run folder; one that exists goes on"
    )
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Trains, and returns 0 when the run is finished or 130 when a signal stopped it after saving."""
    config = configuration.load(args.config, args.overrides)
    from m3it_jax import checkpointing, file_safety, records
    from m3it_jax.analysis import sample_page
    from m3it_jax.input_pipeline import mixture
    from m3it_jax.training import loop, run_folder, setup

    prepared = setup.prepare(config)
    for line in mixture.loss_by_task(records.DataFolder.open(config.data.path), config.data):
        print(line, file=sys.stderr)  # noqa: T201
    if args.dry_run:
        print(setup.describe(config, prepared))  # noqa: T201
        return 0
    with file_safety.held(args.run_dir, doing="training", instead="--run-dir"):
        begins = checkpointing.newest_step(args.run_dir) is None
        loop.check_data(args.run_dir, prepared)
        run_folder.write_config(config, args.run_dir)
        run_folder.write_env(args.run_dir, prepared.tokenizer_path)

        def show(batch: dict, record_ids: list[str]) -> None:
            page = args.run_dir / "samples" / "0.html"
            if begins or not page.exists():
                sample_page.write(page, batch, record_ids=record_ids, setup=prepared)

        finished = loop.run(config, prepared, args.run_dir, on_first_batch=show)
    if finished < config.num_steps:
        print(f"{args.run_dir}: stopped and saved at step {finished}; the same command goes on", file=sys.stderr)  # noqa: T201
        return 130
    print(f"{args.run_dir}: finished, {finished} steps", file=sys.stderr)  # noqa: T201
    return 0
