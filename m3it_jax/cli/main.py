"""The program `m3it`: finds the verb, runs it, and turns every mistake of the user into one line."""

import argparse
import contextlib
import difflib
import errno
import importlib
import logging
import os
import pathlib
import sys
import types
import typing
import warnings
from collections.abc import Collection, Iterator, Sequence

import m3it_jax
from m3it_jax import errors, file_safety

# Verb -> (its module, what it does). A verb's module has `add_arguments(parser)`, `run(args) -> int` and `EXAMPLE`; it
# imports JAX and TensorFlow inside `run`, so that help costs nothing. With `TAKES_OVERRIDES = True` it finds the
# options that it does not know, such as --optimizer.learning_rate=0.1, in `args.overrides`.
VERBS: dict[str, tuple[str, str]] = {
    "mini": ("m3it_jax.cli.mini", "build the small edition, m3it-mini, from data inside packages"),
    "import": ("m3it_jax.cli.import_data", "import other people's data into a data folder"),
    "sources": ("m3it_jax.cli.sources", "describe the 40 sources of M3IT and the files each one needs"),
    "build": ("m3it_jax.cli.build", "build sources of M3IT from the original files"),
    "export": (
        "m3it_jax.cli.export",
        "export a data folder as Parquet for the hub, JSON lines or WebDataset",
    ),
    "check": ("m3it_jax.cli.check", "verify every shard and every record of a data folder"),
    "repair": ("m3it_jax.cli.repair", "copy the sound records of a damaged data folder and list the lost ones"),
    "quality": ("m3it_jax.cli.quality", "report faulty records, quarantine them, restore reviewed ones"),
    "stats": ("m3it_jax.cli.stats", "count the contents of a data folder"),
    "paraphrase": ("m3it_jax.cli.paraphrase", "turn short answers into full sentences with a text model"),
    "translate": ("m3it_jax.cli.translate", "translate a data folder, with a score on every row"),
    "languages": ("m3it_jax.cli.languages", "list the 80 languages and score a translator on them"),
    "browse": ("m3it_jax.cli.browse", "write pages that show the records, pictures, tokens and plots of a data folder"),
    "train": ("m3it_jax.cli.train", "train a model from a file under configs/; the same command resumes"),
    "towers": ("m3it_jax.cli.towers", "package pre-trained towers with their card"),
    "weights": ("m3it_jax.cli.weights", "import, export and verify weights in the Hugging Face layout"),
    "eval": ("m3it_jax.cli.eval", "answer held-out records and score the answers against controls"),
    "matrix": ("m3it_jax.cli.matrix", "measure how scores hold with other words, tasks, languages and worse pictures"),
    "compare": ("m3it_jax.cli.compare", "compare two evaluations with a paired test"),
    "ablate": ("m3it_jax.cli.ablate", "train on fewer tasks or instructions and plot what that does to the scores"),
    "judge": ("m3it_jax.cli.judge", "let a text model compare the answers of two evaluations"),
    "radar": ("m3it_jax.cli.radar", "find evaluated records that a model may have met in training"),
    "report": ("m3it_jax.cli.report", "write a self-contained report.html about a run"),
    "generate": ("m3it_jax.cli.generate", "answer one instruction about pictures or a video"),
    "chat": ("m3it_jax.cli.chat", "chat about pictures in the terminal"),
    "serve": ("m3it_jax.cli.serve", "OpenAI-compatible server and web page"),
}

_PATHS = ("checkpoint", "image", "video", "config", "suite")  # arguments that hold paths as plain texts

EXIT_FAILED, EXIT_USAGE = 1, 2

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PLACE = (  # of these a path of the user is the cause
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `m3it VERB ...` and returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 stopped after saving.

    Raises:
      KeyboardInterrupt: Ctrl-C; `program` says so and ends the process.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:  # closed at the start; `print` would send its lines to stdout instead
        sys.stderr = open(os.devnull, "w")
    # Not at import: a program that imports the package keeps its environment. TensorFlow's start-up notes say nothing
    # to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax notes what it does, step by step
    # Pillow warns of large pictures; here each is compared with a limit of our own and refused in one line.
    warnings.filterwarnings("ignore", message="Image size .* could be decompression bomb")
    if "M3IT_DEBUG" in os.environ:  # for developers: the traceback of every mistake
        return _dispatch(argv)
    try:
        try:
            return _dispatch(argv)
        except SystemExit:  # of `--help`, and of what argparse refuses
            _flush()
            raise
    except errors.ConfigError as error:
        return _refuse(str(error), EXIT_USAGE)
    except errors.UserError as error:
        return _refuse(str(error), EXIT_FAILED, notes=getattr(error, "__notes__", ()))
    except BrokenPipeError:  # `m3it stats DATA | head`: the reader has left, so nothing more can be said
        return _gone()
    except Exception as error:
        message = _told_in_one_line(error)
        if message is None:
            raise
        _gone()
        return _refuse(message, EXIT_FAILED)


def _flush() -> None:
    """Writes what was printed; the interpreter would do so at its end, and tell of a full disk in lines of its own.

    Raises:
      OSError: it cannot be written to where stdout leads.
    """
    if sys.stdout is None or sys.stdout.closed:  # as of a process that was started without
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        # What is still to be written cannot be, and would be tried once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, "stdout") from error


def _gone() -> int:
    """Lets go of what stdout does not take, after another mistake was met, and returns the exit code."""
    with contextlib.suppress(OSError):
        _flush()
    return EXIT_FAILED


def _dispatch(argv: list[str]) -> int:
    code = _run(argv)
    _flush()
    return code


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if argv else EXIT_USAGE
    if argv[0] == "--version":
        print(f"m3it {m3it_jax.__version__}")
        return 0
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        raise errors.ConfigError(f"there is no verb {verb!r}{nearest(verb, VERBS)}; `m3it --help` lists the verbs")
    module = importlib.import_module(VERBS[verb][0])
    parser = _parser(verb, module)
    args, unknown = parser.parse_known_args(rest)
    if getattr(module, "TAKES_OVERRIDES", False):
        args.overrides = unknown
    elif unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        raise errors.ConfigError(
            f"m3it {verb} does not take {unknown[0]!r}{nearest(unknown[0], options)}; see `m3it {verb} --help`"
        )
    _check_paths(args, parser)
    if getattr(args, "json", None) == pathlib.Path("-"):
        return _with_json_on_stdout(module, args)
    return int(module.run(args))


def _with_json_on_stdout(module: types.ModuleType, args: argparse.Namespace) -> int:
    """Runs a verb with `--json -`: stdout gets the JSON and nothing else, stderr what stdout gets otherwise."""
    import tempfile  # its import takes as long as that of argparse

    if sys.stdout is None:
        raise errors.UserError("--json -: stdout is closed; name a file")
    with tempfile.TemporaryDirectory() as folder:
        args.json = pathlib.Path(folder) / "result.json"
        with contextlib.redirect_stdout(sys.stderr):
            code = int(module.run(args))
        if args.json.is_file():
            sys.stdout.flush()
            sys.stdout.buffer.write(args.json.read_bytes())  # JSON is UTF-8, whatever the terminal's encoding
    return code


def _check_paths(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses addresses where paths are wanted, before anything is made of them."""
    spelled = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    for name, value in vars(args).items():
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, pathlib.PurePath) or (isinstance(each, str) and name in _PATHS):
                file_safety.check_local(each, spelled.get(name, name.replace("_", "-").upper()))


def overview() -> str:
    """Returns the text of `m3it --help`: every verb with its line."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(
        [
            "usage: m3it VERB ...",
            "",
            "Build multi-modal instruction data, train vision-language models on it and use them.",
            "",
            *lines,
            "",
            "`m3it VERB --help` shows a verb's options and an example. `bash launch/quickstart.sh` does it all once.",
        ]
    )


def nearest(name: str, allowed: Collection[str]) -> str:
    """Returns " (nearest: ...)" for the allowed name most like `name`, or nothing if none is like it."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" (nearest: {found[0]!r})" if found else ""


class _Parser(argparse.ArgumentParser):
    """A parser that refuses in one line, as everything else does, and not with the usage before it."""

    def error(self, message: str) -> typing.NoReturn:
        self.exit(_refuse(f"{self.prog.removeprefix('m3it ')}: {message}; see `{self.prog} --help`", EXIT_USAGE))


def _parser(verb: str, module: types.ModuleType) -> argparse.ArgumentParser:
    about = VERBS[verb][1]
    parser = _Parser(
        prog=f"m3it {verb}",
        description=f"{about[0].upper()}{about[1:]}.",  # not `capitalize`, which makes JSON json
        epilog=f"example:\n  {module.EXAMPLE.strip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an abbreviation that works today would clash with an option of tomorrow
    )
    module.add_arguments(parser)
    return parser


def _told_in_one_line(error: BaseException) -> str | None:
    """Returns a line for a mistake of the user's machine, or None for a mistake of ours, which needs its traceback."""
    for cause in _chain(error):
        if "No space left on device" in str(cause) or (isinstance(cause, OSError) and cause.errno in _FULL):
            where = getattr(cause, "filename", None)
            return (
                f"the disk is full{f' at {where}' if where else ''}: free some space, then run the same command again"
            )
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: no permission; choose another place or change its permissions"
    if isinstance(error, OSError) and error.filename and error.errno in _PLACE:
        return f"{error.filename}: cannot be used ({error.strerror}); choose another place"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refuse(message: str, code: int, *, notes: Sequence[str] = ()) -> int:
    """Prints the message on one line, and each note on one of its own."""
    try:
        for number, text in enumerate((message, *notes)):
            print(("  " if number else "m3it: ") + " ".join(text.split()), file=sys.stderr)
    except OSError:  # the disk that stderr leads to is full: the exit code still tells, if nothing is tried again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return code
