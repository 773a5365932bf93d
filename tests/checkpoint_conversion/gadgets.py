"""Pickles that run code when they are loaded: each makes the file named in it. For tests of what must refuse them."""

import io
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C


def _text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _call(module, name, *arguments):
    """GLOBAL, arguments, REDUCE: what `__reduce__` writes."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(map(_text, arguments)) + b"tR"


def _pickled(body):
    return b"\x80\x02" + body + b"."


def _hidden(body):
    """Among ordinary entries: a dict whose value is the gadget."""
    return _pickled(b"}" + _text("weight") + body + b"s")


def pickles(sentinel):
    """Returns {name: pickle}; loading any with `pickle.load` makes the file `sentinel`."""
    touch = f"open({str(sentinel)!r}, 'w').close()"
    once = f"{touch}; raise StopIteration"  # timeit would do it a million times
    shell = f"touch {sentinel}"
    return {
        "os.system": _pickled(_call("posix", "system", shell)),
        "hidden in a dict": _hidden(_call("os", "system", shell)),
        "eval": _pickled(_call("builtins", "eval", touch)),
        "exec": _pickled(_call("builtins", "exec", touch)),
        "old name of builtins": _pickled(_call("__builtin__", "eval", touch)),
        "runpy": _pickled(_call("code", "InteractiveInterpreter") + b"0" + _call("timeit", "timeit", once)),
        "subprocess": _pickled(_call("subprocess", "getoutput", shell)),
        "open": _pickled(b"cbuiltins\nopen\n(" + _text(str(sentinel)) + _text("w") + b"tR"),
        "INST": b"(" + f"S'{shell}'\n".encode() + b"ios\nsystem\n.",
        "OBJ": _pickled(b"(cos\nsystem\n" + _text(shell) + b"o"),
        "NEWOBJ": _pickled(  # bytes(map(os.system, [shell]))
            b"cbuiltins\nbytes\n(cbuiltins\nmap\n(cos\nsystem\n](" + _text(shell) + b"et\x81t\x81"
        ),
        "STACK_GLOBAL": b"\x80\x04" + _text("os") + _text("system") + b"\x93" + b"(" + _text(shell) + b"tR.",
        "getattr chain": _pickled(
            b"cbuiltins\ngetattr\n(" + b"cos\n__dict__\n" + _text("__getitem__") + b"tR(" + _text("system") + b"tR"
            b"(" + _text(shell) + b"tR"
        ),
        "BUILD": _pickled(
            b"cfunctools\npartial\n(cos\nsystem\ntR" + b"(cos\nsystem\n(" + _text(shell) + b"t}}tb" + b"(tR"
        ),
    }


def legacy(body):
    """Returns a file in torch's form before archives whose fourth pickle is `body`."""
    head = b"".join(pickle.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": True}))
    return head + body + pickle.dumps([], 2)


def archive(body, *, more=(), compression=zipfile.ZIP_STORED):
    """Returns torch's archive with `body` as its data.pkl, and more (name, bytes) members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in (("archive/data.pkl", body), ("archive/version", b"3\n"), *more):
            file.writestr(name, data)
    return buffer.getvalue()
