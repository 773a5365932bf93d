"""`m3it chat`: a conversation about pictures."""

import argparse
import glob
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from m3it_jax import errors, progress, prompts
from m3it_jax.cli import generate, options

if TYPE_CHECKING:
    from m3it_jax.generation.assistant import Assistant

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
        help="earlier turns that the model sees (default: all that fit if it was trained on conversations, else 0)",
    )
    options.add_decoder_weights(parser)
    generate.add_sampling(parser)


def run(args: argparse.Namespace) -> int:
    """Talks until /quit or the end of the input; 1 if a line from a pipe could not be done."""
    if args.history is not None and args.history < 0:
        raise errors.ConfigError(f"--history {args.history}: must be 0 or more")
    from m3it_jax.generation import pictures
    from m3it_jax.generation.request import SamplingConfig

    with generate.spelled_as_options():
        settings = SamplingConfig(**generate.sampling(args))
    shown = pictures.read(args.image) + (pictures.read_video(args.video) if args.video else [])
    options.check_checkpoint(args.checkpoint)
    if isinstance(sys.stdin, io.TextIOWrapper):
        # A line that is no UTF-8 is refused for itself, like any other that cannot be done, and the talk goes on.
        sys.stdin.reconfigure(errors="surrogateescape")

    with progress.Waiting("loading JAX"):
        from m3it_jax.generation import assistant
    from m3it_jax.serving import chat, interrupts
    from m3it_jax.serving.conversation import Conversation

    with progress.Waiting(f"loading {args.checkpoint}"):
        answering = assistant.load(args.checkpoint, decoder_weights=args.decoder_weights)
    asked = options.asked_in_training(args.checkpoint)
    history = _history(answering, asked) if args.history is None else args.history
    conversation = Conversation(answering, history=history, sampling=settings)
    conversation.show(shown)
    if not sys.stdin.isatty():
        num_failed = chat.talk(conversation, sys.stdin, out=sys.stdout, notes=sys.stderr, asked=asked)
        return 1 if num_failed else 0
    print(generate.about(args.checkpoint, answering), file=sys.stderr)
    print(chat.HELP, file=sys.stderr)
    print(_what_it_sees(history), file=sys.stderr)
    if asked:
        print("\n" + chat.asked_in_training(asked), file=sys.stderr)
    _complete(("/examples", *chat.COMMANDS, "/quit"))
    with interrupts.Stop(sys.stderr) as stop:
        chat.talk(
            conversation,
            stop.lines(lambda: input("> ")),
            out=sys.stdout,
            notes=sys.stderr,
            is_stopped=lambda: stop.asked,
            asked=asked,
        )
    return 0


def _history(answering: "Assistant", asked: Sequence[Mapping[str, Any]]) -> int:
    """Returns how many earlier turns a model sees unless told: all if it has learned to read them, else none."""
    learned = any(row.get("num_turns", 1) > 1 for row in asked)
    return sys.maxsize if learned or answering.sampler.layout.format in prompts.TALKING else 0


def _what_it_sees(history: int) -> str:
    if not history:
        return "Each question stands alone; --history N shows the model the last N turns too."
    if history == sys.maxsize:
        return "The model sees earlier turns, as many as fit; /new forgets them."
    return f"The model sees the last {'turn' if history == 1 else f'{history} turns'} too; /new forgets them."


def _complete(commands: Sequence[str]) -> None:
    """Gives `input` a history, editing, and Tab for commands and paths, where the terminal has them."""
    try:
        import readline
    except ImportError:
        return
    found: list[str] = []

    def complete(text: str, state: int) -> str | None:
        if state == 0:
            line = readline.get_line_buffer()
            found[:] = completions(line, text, commands)
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n\"'")
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")


def completions(line: str, text: str, commands: Sequence[str]) -> list[str]:
    """Returns what Tab offers: commands for the first word of a line, and paths after a command.

    Args:
      line: All that is typed.
      text: The word at its end.
      commands: Every command, with its slash.
    """
    if line == text:
        return [f"{name} " for name in commands if name.startswith(text)] if text.startswith("/") else []
    if not line.startswith("/"):
        return []
    paths = sorted(glob.glob(glob.escape(os.path.expanduser(text)) + "*"))
    return [f"{path}/" if os.path.isdir(path) else path for path in paths]
