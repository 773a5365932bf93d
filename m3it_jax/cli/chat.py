"""`m3it chat`: a conversation about pictures."""

import argparse
import io
import sys
from collections.abc import Iterator

from m3it_jax import errors
from m3it_jax.cli import generate, options

EXAMPLE = "m3it chat runs/quickstart --image photo.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="run folder, quick-start folder or checkpoint folder")
    parser.add_argument("--image", metavar="FILE", nargs="+", action="extend", default=[], help="shown from the start")
    parser.add_argument("--video", metavar="FILE", help="shown from the start")
    parser.add_argument(
        "--history",
        metavar="N",
        type=int,
        default=0,
        help="earlier turns that the model sees (default 0: the pictures and the new turn alone, as it was trained)",
    )
    options.add_decoder_weights(parser)
    generate.add_sampling(parser)


def run(args: argparse.Namespace) -> int:
    """Talks until /quit or the end of the input; 1 if a line from a pipe could not be done."""
    if args.history < 0:
        raise errors.ConfigError(f"--history {args.history}: must be 0 or more")
    from m3it_jax.generation import pictures
    from m3it_jax.generation.request import SamplingConfig

    settings = SamplingConfig(**generate.sampling(args))
    shown = pictures.read(args.image) + (pictures.read_video(args.video) if args.video else [])
    options.check_checkpoint(args.checkpoint)
    if isinstance(sys.stdin, io.TextIOWrapper):
        # A line that is no UTF-8 is refused for itself, like any other that cannot be done, and the talk goes on.
        sys.stdin.reconfigure(errors="surrogateescape")

    from m3it_jax.generation import assistant
    from m3it_jax.serving import chat
    from m3it_jax.serving.conversation import Conversation

    conversation = Conversation(
        assistant.load(args.checkpoint, decoder_weights=args.decoder_weights), history=args.history, sampling=settings
    )
    conversation.show(shown)
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        print(chat.HELP, file=sys.stderr)
    lines = _typed() if at_terminal else sys.stdin
    num_failed = chat.talk(conversation, lines, out=sys.stdout, notes=sys.stderr)
    return 1 if num_failed and not at_terminal else 0


def _typed() -> Iterator[str]:
    """Yields the lines that are typed, with history and editing where the terminal has them."""
    try:
        import readline  # noqa: F401  (its import alone gives `input` a history)
    except ImportError:
        pass
    while True:
        try:
            yield input("> ")
        except EOFError:
            return
