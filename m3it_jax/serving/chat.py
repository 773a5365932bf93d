"""A conversation in the terminal, or through a pipe: one line is one turn or one command."""

import shlex
from collections.abc import Callable, Iterable
from typing import TextIO

from m3it_jax import errors
from m3it_jax.generation import pictures
from m3it_jax.serving.conversation import Conversation

HELP = """\
/image FILE ...   show pictures (PNG or JPEG); they stay until /new
/video FILE       show 8 frames of an animated GIF, WebP or PNG, or of a folder of frames
/new              forget the pictures and the turns
/help             this text
/quit             leave (so does the end of the input)
Any other line is an instruction about the pictures shown."""


def talk(conversation: Conversation, lines: Iterable[str], *, out: TextIO, notes: TextIO) -> int:
    """Answers line after line until `/quit` or the end, and returns how many lines could not be done.

    Args:
      conversation: Answers.
      lines: What the user types.
      out: Takes the answers, a line for each, written as they are made.
      notes: Takes everything else.
    """
    num_failed = 0
    for line in lines:
        line = line.strip()
        if line == "/quit":
            break
        if not line:
            continue
        try:
            if line.startswith("/"):
                print(_command(conversation, line), file=notes, flush=True)
            else:
                _answer(conversation, line, out)
        except errors.UserError as error:
            num_failed += 1
            print(f"m3it: {error}", file=notes, flush=True)
    return num_failed


def _answer(conversation: Conversation, line: str, out: TextIO) -> None:
    begun = False
    for piece in conversation.ask(line):
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
    if name not in _COMMANDS:
        raise errors.UserError(f"there is no command {name}; /help lists the commands")
    try:
        arguments = shlex.split(rest[0]) if rest else []
    except ValueError as error:
        raise errors.UserError(f"{line}: {error}; close the quotation mark") from error
    return _COMMANDS[name](conversation, arguments)


def _image(conversation: Conversation, files: list[str]) -> str:
    if not files:
        raise errors.UserError("/image: name a PNG or JPEG file, for instance /image photo.png")
    conversation.show(pictures.read(files))
    return f"{conversation.num_pictures} pictures shown"


def _video(conversation: Conversation, files: list[str]) -> str:
    if len(files) != 1:
        raise errors.UserError("/video: name one file or folder, for instance /video clip.gif")
    conversation.show(pictures.read_video(files[0]))
    return f"{conversation.num_pictures} pictures shown"


def _new(conversation: Conversation, _: list[str]) -> str:
    conversation.clear()
    return "a new conversation"


_COMMANDS: dict[str, Callable[[Conversation, list[str]], str]] = {
    "/image": _image,
    "/video": _video,
    "/new": _new,
    "/help": lambda *_: HELP,
}
