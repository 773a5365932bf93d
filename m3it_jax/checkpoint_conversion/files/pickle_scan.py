"""Reads what a pickled checkpoint would do, without doing it, and refuses all but tensors in plain containers.

`pickletools.genops` takes a pickle apart and runs nothing. What passes here goes to a loader of its own that refuses
code once more (`pickles`); two independent checks have to be wrong before anything could run.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from m3it_jax import errors
from m3it_jax.safetensors_files import short

# The opcodes that torch's own restricted loader knows (torch/_weights_only_unpickler.py), text forms left out.
_OPCODES = frozenset(
    "GLOBAL NEWOBJ REDUCE BUILD APPEND APPENDS SETITEM SETITEMS MARK TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWFALSE NEWTRUE "
    "EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET BININT BININT1 BININT2 BINFLOAT BINUNICODE SHORT_BINSTRING BINPERSID "
    "BINGET LONG_BINGET BINPUT LONG_BINPUT LONG1 PROTO STOP".split()
)
_STORAGES = "Double Float Half BFloat16 Long Int Short Char Byte Bool Untyped".split()
_DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
# Names that a pickle may use: a checkpoint of weights needs no other (torch/serialization.py, torch/_utils.py).
_NAMES = frozenset(
    [
        ("collections", "OrderedDict"),
        ("torch", "Size"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch.nn.parameter", "Parameter"),
        ("torch.storage", "UntypedStorage"),
        ("torch.storage", "TypedStorage"),
        *(("torch", f"{name}Storage") for name in _STORAGES),
        *(("torch", name) for name in _DTYPES),
    ]
)
# How torch 2.1 and later write types that no storage class of its own has: 8-bit floats and unsigned whole numbers.
_SMALL_TYPES = frozenset([("torch._utils", "_rebuild_tensor_v3"), ("torch._utils", "_rebuild_qtensor")])
_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # magic, protocol, system, result, keys of the storages; then raw bytes (torch/serialization.py)
_MAGIC = 0x1950A86A20F9469CFC6C  # of the legacy form (torch/serialization.py)
_MAX_PICKLE_BYTES = 256 << 20  # CHOICE: a state of 10,000 tensors needs 2 MB


def check(path: Path) -> None:
    """Looks through a pickled file.

    Raises:
      UserError: it would run code, or is no file of weights that torch has written.
    """
    try:
        with open(path, "rb") as file:
            begin = file.read(len(_ZIP))
            file.seek(0)
            pickles = _in_zip(file) if begin == _ZIP else _in_legacy(file)
            for number, stream in enumerate(pickles):
                _check_pickle(stream, is_magic=begin != _ZIP and number == 0)
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror})") from error
    except _RefusedError as error:
        raise errors.UserError(f"{path}: refused, nothing of it was run: {error}") from error


class _RefusedError(Exception):
    """Why a file is not opened."""


def _in_zip(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yields the one pickle in torch's archive, after looking at the other members."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if len(set(names)) != len(names):
                raise _RefusedError("its archive holds two members of one name")
            for member in members:
                inner = member.filename.partition("/")[2]
                if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                    raise _RefusedError(
                        f"its member {short(member.filename)} is compressed or encrypted, torch's are not"
                    )
                if inner.startswith("code/") or inner == "constants.pkl":
                    raise _RefusedError(
                        f"its member {short(member.filename)} is code: it is a program, no file of weights"
                    )
            found = [member for member in members if member.filename.partition("/")[2] == "data.pkl"]
            if len(found) != 1:
                raise _RefusedError("its archive has no data.pkl of its own")
            if found[0].file_size > _MAX_PICKLE_BYTES:
                raise _RefusedError(
                    f"its data.pkl has {found[0].file_size} bytes, at most {_MAX_PICKLE_BYTES} are read"
                )
            data = archive.read(found[0])
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise _RefusedError(f"its archive is broken or cut off ({short(str(error))}); fetch it again") from error
    yield io.BytesIO(data)


def _in_legacy(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yields the stream once for each pickle of the form before the archives; each is read before the next."""
    for _ in range(_LEGACY_PICKLES):
        yield file


def _check_pickle(stream: BinaryIO, *, is_magic: bool) -> None:
    number = None
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if stream.tell() > _MAX_PICKLE_BYTES:
                raise _RefusedError(f"its pickle has more than {_MAX_PICKLE_BYTES} bytes")
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                if (module, name) in _SMALL_TYPES:
                    raise _RefusedError(
                        "it holds numbers of 8 bits or fewer, which are not read; take the checkpoint in float32, "
                        "float16 or bfloat16"
                    )
                if (module, name) not in _NAMES:
                    raise _RefusedError(f"it would call {short(f'{module}.{name}')}, which has no place among weights")
            elif opcode.name not in _OPCODES:
                raise _RefusedError(f"its pickle uses {opcode.name}, which torch's own files of weights do not")
            if opcode.name == "LONG1":
                number = argument
    except (ValueError, UnicodeDecodeError, IndexError) as error:
        raise _RefusedError(f"it is neither safetensors nor a file of torch ({short(str(error))})") from error
    if is_magic and number != _MAGIC:
        raise _RefusedError("it is a pickle, but none that torch has written")
