"""A conversation in the terminal, or through a pipe: one line is one turn or one command."""

import contextlib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from m3it_jax import errors, progress
from m3it_jax.generation import pictures
from m3it_jax.serving.conversation import Conversation

HELP = """\
/image FILE ...   show these pictures (PNG, JPEG or WebP) in place of those before
/add FILE ...     show these pictures as well
/video FILE       show 8 frames of an animated GIF, WebP or PNG, or of a folder of frames, in place of those before
/new              forget the pictures and the turns
/examples         what the model was asked in training
/help             this text
/quit             leave (so does the end of the input)
Any other line is an instruction about the pictures shown. Ctrl-C stops an answer; a second Ctrl-C leaves."""


_SHOWN = 8  # lines of the banner; /examples shows all


def asked_in_training(rows: Sequence[Mapping[str, Any]], most: int = _SHOWN) -> str:
    """Returns lines with what the model was asked in training, as far as possible one of each task.

    Args:
      rows: Of asked.json: {"source", "task", "num_images", "instruction", "inputs"}.
      most: Lines at most.
    """
    if not rows:
        return "This checkpoint does not say what it was asked in training."
    first = list({row["task"]: row for row in reversed(rows)}.values())[::-1]
    chosen = (first + [row for row in rows if row not in first])[:most]
    lines = ["It was trained on questions such as these; about anything else it answers too, and is wrong:"]
    for row in chosen:
        shown = _counted(row["num_images"])
        text = " ".join(f"{row['instruction']} {row['inputs']}".split())
        lines.append(f"  {text if len(text) <= 90 else text[:87] + '...'}  ({row['source']}, {shown})")
    if len(rows) > len(chosen):
        lines.append(f"  ... and {len(rows) - len(chosen)} more: /examples")
    return "\n".join(lines)


def _never() -> bool:
    return False


def talk(
    conversation: Conversation,
    lines: Iterable[str],
    *,
    out: TextIO,
    notes: TextIO,
    is_stopped: Callable[[], bool] = _never,
    asked: Sequence[Mapping[str, Any]] = (),
) -> int:
    """Answers line after line until `/quit` or the end, and returns how many lines could not be done.

    Args:
      conversation: Answers.
      lines: What the user types.
      out: Takes the answers, a line for each, written as they are made.
      notes: Takes everything else.
      asked: What the model was asked in training, the rows of asked.json.
      is_stopped: Whether the answer under way is to end here; a stopped answer is no turn of the conversation.
    """
    num_failed = 0
    for line in lines:
        line = line.strip()
        if line == "/quit":
            break
        if not line:
            continue
        try:
            if line == "/examples":
                print(asked_in_training(asked, most=len(asked)), file=notes, flush=True)
            elif line.startswith("/"):
                print(_command(conversation, line), file=notes, flush=True)
            else:
                _answer(conversation, line, out, notes=notes, is_stopped=is_stopped)
        except errors.UserError as error:
            num_failed += 1
            print(f"m3it: {error}", file=notes, flush=True)
    return num_failed


def _answer(
    conversation: Conversation, line: str, out: TextIO, *, notes: TextIO, is_stopped: Callable[[], bool]
) -> None:
    begun = False
    with contextlib.closing(conversation.ask(line)) as pieces, contextlib.ExitStack() as waiting:
        waiting.enter_context(progress.Waiting("answering", notes))  # the first answer is compiled for
        for piece in pieces:
            waiting.close()
            if is_stopped():
                break
            piece = piece if begun else piece.lstrip()
            begun = begun or bool(piece)
            out.write(piece)
            out.flush()
    out.write("\n")
    out.flush()


def _command(conversation: Conversation, line: str) -> str:
    """Does a command and returns what to tell the user.

    Raises:
      UserError: there is no such command, or it could not be done.
    """
    name, *rest = line.split(maxsplit=1)
    if name not in COMMANDS:
        raise errors.UserError(f"there is no command {name}; /help lists the commands")
    try:
        arguments = shlex.split(rest[0]) if rest else []
    except ValueError as error:
        raise errors.UserError(f"{line}: {error}; close the quotation mark") from error
    return COMMANDS[name](conversation, arguments)


def _image(conversation: Conversation, files: list[str]) -> str:
    if not files:
        raise errors.UserError("/image: name a PNG, JPEG or WebP file, for instance /image photo.png")
    conversation.replace(pictures.read(files))
    return _shown(conversation)


def _add(conversation: Conversation, files: list[str]) -> str:
    if not files:
        raise errors.UserError("/add: name a PNG, JPEG or WebP file, for instance /add photo.png")
    conversation.show(pictures.read(files))
    return _shown(conversation)


def _video(conversation: Conversation, files: list[str]) -> str:
    if len(files) != 1:
        raise errors.UserError("/video: name one file or folder, for instance /video clip.gif")
    conversation.replace(pictures.read_video(files[0]))
    return _shown(conversation)


def _shown(conversation: Conversation) -> str:
    return f"{_counted(conversation.num_pictures)} shown"


def _counted(number: int) -> str:
    return f"{number} picture{'' if number == 1 else 's'}" if number else "no picture"


def _new(conversation: Conversation, _: list[str]) -> str:
    conversation.clear()
    return "a new conversation"


COMMANDS: dict[str, Callable[[Conversation, list[str]], str]] = {
    "/image": _image,
    "/add": _add,
    "/video": _video,
    "/new": _new,
    "/help": lambda *_: HELP,
}
