"""`m3it generate`: one answer."""

import argparse
import contextlib
import pathlib
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from m3it_jax import errors, progress
from m3it_jax.cli import options

if TYPE_CHECKING:
    from m3it_jax.generation.assistant import Assistant

# Words of the command line -> values of `SamplingConfig.early_stopping`.
EARLY_STOPPING: dict[str, bool | str] = {"no": False, "yes": True, "never": "never"}

_SETTINGS = (
    *("max_new_tokens", "min_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed"),
    *("num_beams", "length_penalty", "early_stopping", "stop"),
)

EXAMPLE = 'm3it generate runs/quickstart --image photo.png --instruction "What is in the picture?"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="run folder, quick-start folder or checkpoint folder")
    parser.add_argument(
        "--image", metavar="FILE", nargs="+", action="extend", default=[], help="PNG, JPEG or WebP; repeatable"
    )
    parser.add_argument("--video", metavar="FILE", help="animated GIF, WebP or PNG, or a folder of frames: 8 are taken")
    parser.add_argument("--instruction", metavar="TEXT", required=True, help="what to do")
    parser.add_argument(
        "--inputs", metavar="TEXT", default="", help="what the instruction is about: a question, options"
    )
    add_sampling(parser)
    parser.add_argument("--num-beams", metavar="N", type=int, help="number of beams (default 1: no beam search)")
    parser.add_argument("--length-penalty", metavar="X", type=float, help="beam search: above 0 favours long answers")
    parser.add_argument(
        "--early-stopping",
        choices=tuple(EARLY_STOPPING),
        help="beam search: stop once enough answers are finished (default no: not while a better one is possible)",
    )
    options.add_decoder_weights(parser)
    options.add_json(parser)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Adds the settings of decoding that `generate` and `chat` share; what is not given keeps its default."""
    parser.add_argument(
        "--max-new-tokens", metavar="N", type=int, help="maximum number of tokens in the answer (default 32)"
    )
    parser.add_argument(
        "--min-new-tokens", metavar="N", type=int, help="minimum number of tokens in the answer (default 0)"
    )
    parser.add_argument(
        "--temperature", metavar="X", type=float, help="0 is greedy (default); above 0, tokens are sampled"
    )
    parser.add_argument("--top-k", metavar="N", type=int, help="sample from the N most likely tokens (default 0: all)")
    parser.add_argument(
        "--top-p",
        metavar="X",
        type=float,
        help="sample from the most likely tokens that together have this probability (default 1)",
    )
    parser.add_argument(
        "--repetition-penalty", metavar="X", type=float, help="above 1, repetition is penalised (default 1)"
    )
    parser.add_argument("--seed", metavar="N", type=int, help="random seed for sampling (default 0)")
    parser.add_argument("--stop", metavar="TEXT", action="append", help="end the answer before this text; repeatable")


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings that were given, as fields of `SamplingConfig`."""
    given = {name: getattr(args, name) for name in _SETTINGS if getattr(args, name, None) is not None}
    if "early_stopping" in given:
        given["early_stopping"] = EARLY_STOPPING[given["early_stopping"]]
    return given


@contextlib.contextmanager
def spelled_as_options() -> Iterator[None]:
    """Has a refusal of a setting name it as it is typed: --top-p and not top_p.

    Raises:
      ConfigError: the refusal.
    """
    try:
        yield
    except errors.ConfigError as error:
        names = "|".join(name for name in _SETTINGS if "_" in name)
        told = re.sub(rf"\b({names})\b", lambda found: "--" + found[1].replace("_", "-"), str(error))
        told = re.sub(r"^(temperature|seed|stop|instruction|inputs)\b", r"--\1", told)
        raise errors.ConfigError(told) from error


def about(checkpoint: str, answering: "Assistant") -> str:
    """Returns a line that says which model answers, and on what."""
    import jax

    device = jax.devices()[0]
    variant = answering.config.get("model", {}).get("variant", "a model")
    name = pathlib.Path(str(variant)).name
    return f"{checkpoint}: {name}, step {answering.step}, on {device.platform} ({device.device_kind})"


def run(args: argparse.Namespace) -> int:
    """Prints the answer."""
    from m3it_jax.generation import pictures
    from m3it_jax.generation.request import Request

    # What can be found wrong without the model is found before it is loaded.
    request = {"instruction": args.instruction, "inputs": args.inputs, **sampling(args)}
    with spelled_as_options():
        settings = Request.of(request).sampling
    images = pictures.read(args.image)
    images += pictures.read_video(args.video) if args.video else []
    if args.json:
        options.check_file(args.json, option="--json")
    options.check_checkpoint(args.checkpoint)

    with progress.Waiting("loading JAX"):
        from m3it_jax.generation import assistant

    with progress.Waiting(f"loading {args.checkpoint}"):
        answering = assistant.load(args.checkpoint, decoder_weights=args.decoder_weights)
    print(about(args.checkpoint, answering), file=sys.stderr)
    began = time.perf_counter()
    with progress.Waiting("compiling and answering"):
        answer = answering.generate(images=images, **request)
    seconds = time.perf_counter() - began
    print(answer)
    if args.json:
        result = {
            "answer": answer,
            "instruction": args.instruction,
            "inputs": args.inputs,
            "images": args.image,
            "video": args.video,
            "sampling": vars(settings),
            "checkpoint": args.checkpoint,
            "step": answering.step,
            "seconds": round(seconds, 3),
        }
        options.write_json(args.json, result)
    return 0
