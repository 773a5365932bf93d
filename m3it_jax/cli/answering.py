"""What the verbs that answer held-out records share: where answers go, what a model was trained on, and answering."""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from m3it_jax import errors, progress
from m3it_jax.cli import generate

if TYPE_CHECKING:
    from m3it_jax import records
    from m3it_jax.evaluation import conditions, output, tasks


def training_of(checkpoint: pathlib.Path) -> "tuple[list[str], Mapping[str, records.SourceInfo]]":
    """Returns the sources that a run was trained on, as far as its folder tells, and all of its data folder by name."""
    from m3it_jax import checkpointing, records

    try:
        data = json.loads((checkpointing.locate(checkpoint).run / "config.json").read_text("utf-8"))["data"]
        path, mixture = str(data["path"]), dict(data["mixture"])
    except (OSError, ValueError, KeyError, TypeError, errors.UserError):
        return [], {}
    try:
        sources = records.DataFolder.open(path).sources
    except errors.UserError:  # the data are no longer there
        sources = {}
    return list(mixture or sources), sources


def default_out(checkpoint: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a checkpoint's evaluation: RUN/eval/STEP.

    Raises:
      UserError: there is no such checkpoint.
    """
    from m3it_jax import checkpointing

    location = checkpointing.locate(checkpoint)
    return location.run / "eval" / str(location.step)


def answer(
    args: argparse.Namespace,
    folder: "records.DataFolder",
    store: "output.EvalFolder",
    *,
    protocol: "tasks.Protocol",
    variants: Sequence[str],
    wordings: "conditions.Wordings | None" = None,
) -> None:
    """Loads the model and answers what is not answered yet; a line on stderr says which model it is.

    Args:
      args: `checkpoint`, `decoder_weights`, `tasks` and `limit` of the verb.
      folder: The data.
      store: Folder of the evaluation.
      protocol: The settings.
      variants: Own answers, controls and conditions, as `runner.predict` has them.
      wordings: Of reworded questions.

    Raises:
      UserError: the checkpoint cannot be used, or as `runner.predict`.
    """
    with progress.Waiting("loading JAX"):
        from m3it_jax.evaluation import lock, runner
        from m3it_jax.generation import assistant as assistants

    with progress.Waiting(f"loading {args.checkpoint}"):
        assistant = assistants.load(args.checkpoint, decoder_weights=args.decoder_weights)
    print(generate.about(str(args.checkpoint), assistant), file=sys.stderr)
    identity = lock.identity(
        folder,
        protocol,
        params=assistant.sampler.params,
        step=assistant.step,
        tokenizer=assistant.sampler.tokenizer.fingerprint,
    )
    runner.predict(
        assistant,
        folder,
        store,
        identity=identity,
        protocol=protocol,
        only=args.tasks,
        limit=args.limit,
        variants=variants,
        wordings=wordings,
    )
