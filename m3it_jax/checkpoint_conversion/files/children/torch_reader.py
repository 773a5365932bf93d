"""Child program: pickled checkpoints in, safetensors out, by torch's restricted loader. Run, never imported.

    python -I torch_reader.py < request.json

The request is {"files": [...], "out": folder or null, "max_bytes": n}. One line of JSON a file goes to stdout:
{"file", "tensors": {key: [dtype, shape]}, "left_out": [...], "written": path or null}; a refusal is {"error": text} and
exit code 1. The process cuts itself off from the network, limits what it may use, and forbids itself to start programs
or to compile code before it opens a file.
"""

import contextlib
import ctypes
import io
import json
import os
import pathlib
import resource
import sys

import torch

TORCH_NEEDED = (2, 6)  # weights_only of earlier ones could be made to run code (CVE-2025-32434)
NO_NETWORK, OWN_USER = 0x40000000, 0x10000000  # CLONE_NEWNET and CLONE_NEWUSER of Linux (sched.h)
NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS of Linux (prctl.h)
ADDRESS_SPACE = 24 << 30  # CHOICE: torch's own libraries reserve up to 10 GB; file sizes come on top
CPU_SECONDS = 3_600  # CHOICE: 100 GB at 30 MB/s
WRAPPERS = ("model", "state_dict", "module")  # trainers put the weights below one of these (LAVIS: model)
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
FORBIDDEN = ("exec", "compile", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn")
FORBIDDEN_BEGINNINGS = ("socket.", "subprocess.", "ctypes.dlopen", "urllib.", "http.", "ftplib.", "smtplib.", "pty.")


def confine(max_bytes: int) -> None:
    """Takes from this process what reading a file does not need: network, other programs, boundless memory and disk."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux: the checks of the loader remain
        system = ctypes.CDLL(None, use_errno=True)
        system.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        if system.unshare(NO_NETWORK):
            system.unshare(OWN_USER | NO_NETWORK)  # who is not root may have a name space of his own
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, max_bytes),
        (resource.RLIMIT_AS, ADDRESS_SPACE + 2 * max_bytes),
    ):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
            resource.setrlimit(limit, (value, value))


def forbid() -> None:
    """Forbids what only code inside a file could want; for good, since an audit hook cannot be taken off."""
    # Modules that torch loads at its first use are loaded now, since loading them runs code.
    buffer = io.BytesIO()
    torch.save({"warm": torch.zeros(1)}, buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=True, map_location="cpu")

    def refuse(event: str, arguments: tuple) -> None:
        if event in FORBIDDEN or event.startswith(FORBIDDEN_BEGINNINGS):
            raise PermissionError(f"the file asked for {event}")

    sys.addaudithook(refuse)


def load(path: str) -> tuple[dict, list[str]]:
    """Returns ({key: tensor}, names of what is no tensor) of one file."""
    with open(path, "rb") as file:
        is_archive = file.read(4) == b"PK\x03\x04"
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    for name in WRAPPERS:
        inner = state.get(name) if isinstance(state, dict) else None
        if isinstance(inner, dict) and any(isinstance(value, torch.Tensor) for value in inner.values()):
            left = [f"{other} (beside {name})" for other in state if other != name]
            return tensors(inner, left)
    if not isinstance(state, dict):
        raise ValueError(f"holds a {type(state).__name__}, no dictionary of tensors")
    return tensors(state, [])


def tensors(state: dict, left: list[str]) -> tuple[dict, list[str]]:
    """Returns the tensors of a dictionary, and `left` with the names of what is none."""
    found = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor) and isinstance(key, str) and value.layout == torch.strided:
            if value.dtype not in DTYPES:
                raise ValueError(f"{key} has type {value.dtype}, which no weight has")
            found[key] = value.detach()
        else:
            left.append(str(key))
    if not found:
        raise ValueError("holds no tensors")
    return found, left


def write(found: dict, path: pathlib.Path) -> None:
    """Writes tensors as safetensors, one after the other."""
    header, end = {}, 0
    for key, tensor in found.items():
        size = tensor.numel() * tensor.element_size()
        header[key] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode("utf-8")
    with open(path, "xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in found.values():
            whole = tensor.contiguous()
            size = whole.numel() * whole.element_size()
            if size:
                file.write((ctypes.c_ubyte * size).from_address(whole.data_ptr()))


def main() -> int:
    """Reads the request, answers a line a file."""
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    request = json.load(sys.stdin)
    if version < TORCH_NEEDED:
        needed = ".".join(map(str, TORCH_NEEDED))
        print(json.dumps({"error": f"torch {torch.__version__} is too old to read files safely, {needed} is needed"}))
        return 1
    confine(request["max_bytes"])
    forbid()
    for name in request["files"]:
        try:
            found, left = load(name)
            target = None
            if request["out"] is not None:
                target = pathlib.Path(request["out"]) / f"{pathlib.Path(name).name}.safetensors"
                write(found, target)
        except Exception as error:  # whatever a hostile file provokes, it is told in one line
            lines = str(error).strip().splitlines() or [type(error).__name__]
            print(json.dumps({"error": f"{name}: {lines[0][:400]}"}))
            return 1
        shapes = {key: [DTYPES[tensor.dtype], list(tensor.shape)] for key, tensor in found.items()}
        line = {"file": name, "tensors": shapes, "left_out": left, "written": None if target is None else str(target)}
        print(json.dumps(line), flush=True)
        del found
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
