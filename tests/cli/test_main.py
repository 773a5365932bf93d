"""The program itself: verbs, help, exit codes, one line for each mistake, and no import that is not needed."""

import importlib
import json
import subprocess
import sys
import time
import types
import warnings

import pytest

import m3it_jax
from m3it_jax import errors
from m3it_jax.cli import main, options


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Puts a verb `try` into the table whose `run` is the given function."""

    def install(run, takes_overrides: bool = False) -> None:
        module = types.ModuleType("verb_under_test")
        module.EXAMPLE = "m3it try --limit 3"
        module.TAKES_OVERRIDES = takes_overrides
        module.add_arguments = options.add_limit
        module.run = run
        monkeypatch.setitem(sys.modules, "verb_under_test", module)
        monkeypatch.setitem(main.VERBS, "try", ("verb_under_test", "be tried"))

    return install


def _raiser(error):
    def run(args):
        raise error

    return run


def test_help_names_every_verb(capsys):
    assert main.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in main.VERBS)
    assert main.main([]) == 2, "no verb is wrong usage"


def test_names_keep_their_case_in_help(capsys):
    for verb, name in (("sources", "M3IT"), ("export", "JSON lines or WebDataset"), ("weights", "Hugging Face")):
        with pytest.raises(SystemExit):
            main.main([verb, "--help"])
        assert name in capsys.readouterr().out.split("positional")[0]


def test_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"m3it {m3it_jax.__version__}\n"


def test_unknown_verb_names_the_nearest(capsys):
    assert main.main(["trian"]) == 2
    told = capsys.readouterr().err
    assert "'trian'" in told and "'train'" in told and len(told.splitlines()) == 1


def test_unknown_option_names_the_nearest(verb, capsys):
    verb(lambda args: 0)
    assert main.main(["try", "--limits=3"]) == 2
    told = capsys.readouterr().err
    assert "--limits=3" in told and "'--limit'" in told


def test_options_are_not_abbreviated(verb, capsys):
    verb(lambda args: args.limit)
    assert main.main(["try", "--limit", "3"]) == 3
    assert main.main(["try", "--lim", "3"]) == 2
    capsys.readouterr()


def test_overrides_reach_the_verb_that_takes_them(verb):
    seen = []
    verb(lambda args: seen.extend(args.overrides) or 0, takes_overrides=True)
    assert main.main(["try", "--a.b=c d", "--limit", "2", "--e=f"]) == 0
    assert seen == ["--a.b=c d", "--e=f"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (errors.UserError("data/x: is broken;\n build it again"), 1, "m3it: data/x: is broken; build it again"),
        (errors.ConfigError("seed=-1: must be 0 or more"), 2, "m3it: seed=-1"),
        (OSError(28, "No space left on device", "/data/x"), 1, "m3it: the disk is full at /data/x"),
        (ValueError("RESOURCE: No space left on device [writing]"), 1, "m3it: the disk is full"),
        (PermissionError(13, "Permission denied", "/data/x"), 1, "m3it: /data/x: no permission"),
        (OSError(30, "Read-only file system", "/data/x"), 1, "m3it: /data/x: cannot be used (Read-only file system)"),
        (NotADirectoryError(20, "Not a directory", "/data/x"), 1, "m3it: /data/x: cannot be used (Not a directory)"),
        (IsADirectoryError(21, "Is a directory", "/data/x"), 1, "m3it: /data/x: cannot be used"),
        (FileExistsError(17, "File exists", "/data/x"), 1, "m3it: /data/x: cannot be used"),
        (FileNotFoundError(2, "No such file", "/data/x"), 1, "m3it: /data/x: cannot be used"),
        (OSError(36, "File name too long", "/data/x"), 1, "m3it: /data/x: cannot be used"),
        (OSError(40, "Too many levels of symbolic links", "/data/x"), 1, "m3it: /data/x: cannot be used"),
    ],
)
def test_mistake_is_one_line_and_an_exit_code(verb, capsys, error, code, words):
    verb(_raiser(error))
    assert main.main(["try"]) == code
    told = capsys.readouterr().err
    assert told.startswith(words) and len(told.splitlines()) == 1


def test_full_disk_behind_another_error_is_told(verb, capsys):
    def run(args):
        try:
            raise OSError(28, "No space left on device", "/data/x")
        except OSError as error:
            raise RuntimeError("could not save") from error

    verb(run)
    assert main.main(["try"]) == 1
    assert "the disk is full" in capsys.readouterr().err


def test_mistake_of_ours_keeps_its_traceback(verb):
    verb(_raiser(KeyError("bug")))
    with pytest.raises(KeyError):
        main.main(["try"])


def test_debugging_shows_the_traceback(verb, monkeypatch):
    monkeypatch.setenv("M3IT_DEBUG", "1")
    verb(_raiser(errors.UserError("x")))
    with pytest.raises(errors.UserError):
        main.main(["try"])


def test_reader_that_leaves_early_is_no_error(verb):
    program = "import sys; from m3it_jax.cli import main; sys.exit(main.main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait()


@pytest.mark.parametrize("name", main.VERBS)
def test_verb_has_what_the_program_asks_of_it(name, capsys):
    module = importlib.import_module(main.VERBS[name][0])
    assert module.EXAMPLE.strip().startswith(f"m3it {name} ")
    with pytest.raises(SystemExit) as left:
        main.main([name, "--help"])
    assert left.value.code == 0
    assert module.EXAMPLE.strip() in capsys.readouterr().out


HELP = """
import sys, json
from m3it_jax.cli import main
main.main(["--help"])
for verb in main.VERBS:
    try:
        main.main([verb, "--help"])
    except SystemExit:
        pass
heavy = ["jax", "tensorflow", "flax", "tensorflow_datasets", "numpy", "PIL", "sklearn", "orbax", "optax"]
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def test_help_of_every_verb_loads_nothing_heavy():
    result = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == []


def test_help_takes_less_than_a_second():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "m3it_jax", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 1


def test_public_names_are_lazy_and_wrong_ones_are_named():
    with pytest.raises(AttributeError, match="public names: load, mixture_order, metrics"):
        m3it_jax.nonesuch  # noqa: B018  (the access is the test)
    assert {"load", "mixture_order", "metrics"} <= set(dir(m3it_jax))


@pytest.mark.parametrize("name", ["load", "mixture_order", "metrics"])
def test_public_name_is_there(name):
    assert getattr(m3it_jax, name) is not None


def test_wrong_usage_is_one_line(verb, capsys):
    verb(lambda args: 0)
    with pytest.raises(SystemExit) as left:
        main.main(["try", "--limit", "many"])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("m3it: try: argument --limit: 'many' must be") and "`m3it try --help`" in line


def test_pillow_does_not_warn_of_large_pictures_beside_our_own_limit(verb, recwarn):
    text = "Image size (90000000 pixels) exceeds limit of 89478485 pixels, could be decompression bomb DOS attack."
    verb(lambda args: warnings.warn(text, stacklevel=1) or 0)
    assert main.main(["try"]) == 0
    assert not recwarn.list


@pytest.mark.parametrize(
    "words",
    [
        ["check", "gs://bucket/data"],
        ["generate", "gs://bucket/run", "--instruction", "x"],
        ["generate", "run", "--image", "https://host/a.png", "--instruction", "x"],
        ["train", "configs/tiny.py", "--run-dir", "gs://bucket/run"],
        ["import", "llava", "rows.json", "--out", "gs://bucket/data"],
        ["eval", "run", "--data", "s3://bucket/data"],
    ],
)
def test_addresses_are_refused_whole_and_before_anything_is_done(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(words) == 1
    told = capsys.readouterr().err
    assert "://" in told and "is an address, not a path" in told and len(told.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_address_is_refused_by_the_option_as_it_is_spelled(capsys):
    for words, name in (
        (["export", "jsonl", "data", "--out", "gs://b/o"], "--out"),
        (["generate", "run", "--image", "gs://b/a.png", "--instruction", "hi"], "--image"),
        (["eval", "run", "data", "--suite", "gs://b/suite.py"], "--suite"),
        (["report", "gs://b/run"], "RUN-DIR"),
    ):
        assert main.main(words) == 1
        assert capsys.readouterr().err.startswith(f"m3it: {name}: gs://b/")
