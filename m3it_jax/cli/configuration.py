"""Config file and overrides -> a checked `Experiment`. Every mistake is told before JAX is imported."""

import ast
import contextlib
import copy
import dataclasses
import difflib
import importlib.util
import math
import pathlib
import re
import sys
import traceback
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from m3it_jax import config as config_lib
from m3it_jax import errors

_SCALARS = (bool, int, float, str)
_OVERRIDE = re.compile(r"--([^=\s]+)=(.*)", re.DOTALL)


def load(spec: str, overrides: Sequence[str] = ()) -> config_lib.Experiment:
    """Returns the configuration of a file under `configs/`, with overrides applied and every check made.

    Args:
      spec: `FILE.py` or `FILE.py:PRESET`. The file has `get_config(preset: str = "")`, which returns an `Experiment`,
        and names its presets, if it has any, in `PRESETS`.
      overrides: `--path.to.field=value`. An entry of a dict field is set by `--data.mixture.NAME=value` and removed by
        an empty value; the whole is replaced by `--data.mixture={"NAME": 1}`. A tuple is written as a Python literal.

    Raises:
      ConfigError: the file, the preset, a field or a value is wrong; the message names the nearest right one.
    """
    config = _read(spec)
    if not isinstance(config, config_lib.Experiment):
        raise errors.ConfigError(
            f"{spec}: get_config returned {type(config).__name__}, must be a config.Experiment as in configs/tiny.py"
        )
    config = copy.deepcopy(config)
    _check_fields(config)
    for text in overrides:
        _override(config, text)
    _check_types(config, typing.get_type_hints(config_lib.Experiment), "")
    config_lib.validate(config)
    return config


def load_suite(spec: str) -> config_lib.EvalSuite:
    """Returns the suite of evaluations of a file under `configs/`, which has `get_suite()`.

    Args:
      spec: `FILE.py` or `FILE.py:PRESET`.

    Raises:
      ConfigError: the file or the preset is wrong, or what it returns is no suite.
    """
    suite = _read(spec, "get_suite")
    if not isinstance(suite, config_lib.EvalSuite) or not all(isinstance(r, config_lib.EvalRow) for r in suite.rows):
        raise errors.ConfigError(
            f"{spec}: get_suite returned {type(suite).__name__}, must be a config.EvalSuite of config.EvalRow"
        )
    return suite


def field_types(kind: type = config_lib.Experiment, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted path, type) for every field that can be set, in the order of `config/fields.py`."""
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from field_types(typing.cast(type, hint), f"{prefix}{name}.")
        else:
            yield prefix + name, hint


def nearest_field(path: str) -> str:
    """Returns the field whose path, or whose last word, is most like `path`; `lr` stands for `learning_rate`."""
    last = path.rsplit(".", 1)[-1]

    def likeness(candidate: str) -> float:
        name = candidate.rsplit(".", 1)[-1]
        initials = "".join(word[0] for word in name.split("_"))
        word = 1.0 if last == initials else difflib.SequenceMatcher(None, last, name).ratio()
        return difflib.SequenceMatcher(None, path, candidate).ratio() + word

    return max((candidate for candidate, _ in field_types()), key=likeness)


def _read(spec: str, function: str = "get_config") -> Any:
    name, _, preset = spec.partition(".py:")
    path = pathlib.Path(name + ".py" if preset or spec.endswith(".py:") else spec)
    if path.suffix != ".py" or not path.is_file():
        raise errors.ConfigError(f"config file {str(path)!r} does not exist{_nearest_file(path)}")
    module_spec = importlib.util.spec_from_file_location("m3it_config_file", path)
    if module_spec is None or module_spec.loader is None:
        raise errors.ConfigError(f"config file {str(path)!r} cannot be read as Python")
    module = importlib.util.module_from_spec(module_spec)
    previous, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # configs/ may be read-only, and stays clean
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _broken(path, error) from error
    finally:
        sys.dont_write_bytecode = previous
    if not callable(getattr(module, function, None)):
        example = "configs/tiny.py" if function == "get_config" else "configs/eval_paper.py"
        raise errors.ConfigError(f"{path}: has no function {function}(preset); see {example}")
    return _call(module, path, preset, function=function)


def _call(module: types.ModuleType, path: pathlib.Path, preset: str, *, function: str) -> Any:
    presets = getattr(module, "PRESETS", ())
    if not isinstance(presets, tuple | list) or not all(isinstance(name, str) for name in presets):
        raise errors.ConfigError(f"{path}: PRESETS={presets!r}: must be a tuple of names, as ('mini', 'paper')")
    if preset and not presets:
        raise errors.ConfigError(f"{path}:{preset}: the file has no presets; leave out ':{preset}'")
    if preset and preset not in presets:
        near = max(presets, key=lambda name: difflib.SequenceMatcher(None, preset, name).ratio())
        raise errors.ConfigError(f"{path}:{preset}: unknown preset; nearest {near!r}, all: {', '.join(presets)}")
    try:
        make = getattr(module, function)
        return make(preset) if preset else make()
    except (Exception, SystemExit) as error:
        raise _broken(path, error) from error


def _broken(path: pathlib.Path, error: BaseException) -> errors.ConfigError:
    if isinstance(error, errors.ConfigError):
        return error
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    return errors.ConfigError(f"{path}{f', line {line}' if line else ''}: {type(error).__name__}: {error}")


def _nearest_file(path: pathlib.Path) -> str:
    """Looks beside the path and below `configs`, never below a folder that may hold the whole disk."""
    found = []
    for folder, pattern in ((path.parent, "*.py"), (pathlib.Path("configs"), "**/*.py")):
        with contextlib.suppress(OSError):
            found += sorted(str(file) for file in folder.glob(pattern))
    if not found:
        return "; give a file such as configs/tiny.py, from the root of the repository"
    near = max(found, key=lambda file: difflib.SequenceMatcher(None, str(path), file).ratio())
    return f"; nearest: {near!r}"


def _check_fields(config: Any, prefix: str = "") -> None:
    """Refuses an attribute that a config file has hung on a dataclass and nobody would read."""
    known = {field.name for field in dataclasses.fields(config)}
    for name in vars(config):
        path = prefix + name
        if name not in known:
            raise errors.ConfigError(f"unknown field {path!r}; nearest: {nearest_field(path)!r}")
        if dataclasses.is_dataclass(getattr(config, name)):
            _check_fields(getattr(config, name), path + ".")


def _override(config: config_lib.Experiment, text: str) -> None:
    match = _OVERRIDE.fullmatch(text)
    if not match:
        raise errors.ConfigError(f"{text!r}: an override is written --path.to.field=value, with no blank around '='")
    path, value = match.groups()
    fields = dict(field_types())
    if path in fields and fields[path] in _SCALARS:
        _set_scalar(config, path=path, value=value)
    elif path in fields and typing.get_origin(fields[path]) is tuple:
        holder, name = _holder(config, path)
        setattr(holder, name, _literal(path, value))
    elif path in fields:
        holder, name = _holder(config, path)
        setattr(holder, name, _table(path, value, typing.get_args(fields[path])[1]))
    else:
        _set_entry(config, path=path, value=value)


def _set_scalar(config: config_lib.Experiment, *, path: str, value: str) -> None:
    argv = ["m3it", f"--config.{path}={value}"]
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_dataclass("config", config, flag_values=values, sys_argv=argv)
    try:
        values(argv)
    except flags.Error as error:
        kind = dict(field_types())[path].__name__
        raise errors.ConfigError(f"{path}={value!r}: must be of type {kind}, as {_EXAMPLES[kind]}") from error
    target, name = _holder(config, path)
    setattr(target, name, config_lib.get(holder.value, path))


_EXAMPLES = {"int": "100", "float": "0.001", "bool": "true or false", "str": "mini"}


def _set_entry(config: config_lib.Experiment, *, path: str, value: str) -> None:
    """Sets one entry of a dict field, or refuses the path."""
    for field, hint in field_types():
        if typing.get_origin(hint) is dict and path.startswith(field + "."):
            entry, table = path.removeprefix(field + "."), config_lib.get(config, field)
            if not value:
                table.pop(entry, None)
            elif typing.get_args(hint)[1] is float:
                table[entry] = _number(path, value)
            else:
                table[entry] = value
            return
    section = [name for name, _ in field_types() if name.startswith(path + ".")]
    if section:
        raise errors.ConfigError(f"{path!r} is a section; set one of its fields, such as --{section[0]}=...")
    raise errors.ConfigError(f"unknown field {path!r}; nearest: {nearest_field(path)!r}")


def _table(path: str, value: str, kind: type) -> dict[str, Any]:
    """Returns the table that `value` writes as JSON or as a Python literal; the table before it is forgotten."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, dict):
        example = '{"NAME": 1}' if kind is float else '{"NAME": "value"}'
        raise errors.ConfigError(
            f"{path}={value}: this field is a table; set one entry with --{path}.NAME=value, or replace them all with "
            f"--{path}='{example}'"
        )
    return {
        name: float(entry) if kind is float and isinstance(entry, int) and not isinstance(entry, bool) else entry
        for name, entry in found.items()
    }


def _number(path: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise errors.ConfigError(f"{path}={value!r}: must be of type float, as {_EXAMPLES['float']}") from error


def _literal(path: str, value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise errors.ConfigError(f"{path}={value!r}: must be a Python literal, as (('decoder/.*', True),)") from error


def _holder(config: config_lib.Experiment, path: str) -> tuple[Any, str]:
    parent, _, name = path.rpartition(".")
    return (config_lib.get(config, parent) if parent else config), name


def _check_types(config: Any, hints: dict[str, Any], prefix: str) -> None:
    for name, hint in hints.items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, typing.cast(type, hint)):
                raise errors.ConfigError(f"{prefix}{name}={value!r}: must be a {typing.cast(type, hint).__name__}")
            _check_types(value, typing.get_type_hints(hint), f"{prefix}{name}.")
            continue
        wanted = _mismatch(value, hint)
        if wanted:
            raise errors.ConfigError(f"{prefix}{name}={value!r}: must be {wanted}")


def _mismatch(value: Any, hint: Any) -> str:
    """Returns what `value` must be, or nothing if it is of the type `hint` (a float field takes a whole number)."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is float:
        sound = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return "" if sound else "a finite float"
    if hint in _SCALARS:
        sound = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
        return "" if sound else f"of type {hint.__name__}, as {_EXAMPLES[hint.__name__]}"
    if origin is dict:
        sound = isinstance(value, dict) and not any(
            _mismatch(part, kind) for pair in value.items() for part, kind in zip(pair, args, strict=True)
        )
    elif origin is tuple and args[-1] is Ellipsis:
        sound = isinstance(value, tuple) and not any(_mismatch(part, args[0]) for part in value)
    elif origin is tuple:
        sound = isinstance(value, tuple) and len(value) == len(args)
        sound = sound and not any(_mismatch(part, kind) for part, kind in zip(value, args, strict=True))
    else:
        raise TypeError(f"config/fields.py uses the type {hint}, which cannot be checked; add it to configuration.py")
    return "" if sound else f"of type {hint}".replace("typing.", "")
