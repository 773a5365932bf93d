"""Which texts of a record are translated: instruction, inputs, outputs, and what repeats them in `meta`.

`meta.references`, `meta.options`, `meta.slots`, `meta.turns` and `meta.system` say the same as the three fields, so
they are translated with them: an English reference would score a right answer as wrong. All else in `meta` stays:
`captions` describe the pictures in English, `answer` and `original_answer` are what the answer was made from.
"""

from collections.abc import Callable, Iterator
from typing import Any

from m3it_jax import schema

_LISTS = ("references", "options")
_TURN = ("instruction", "inputs", "outputs")


def of(instance: schema.Instance) -> Iterator[str]:
    """Yields the texts of a record that are translated; `replaced` asks for them in the same order."""
    meta = instance.meta
    yield from (instance.instruction, instance.inputs, instance.outputs)
    for name in _LISTS:
        yield from meta.get(name, ())
    yield from (value for value in meta.get("slots", {}).values() if isinstance(value, str))
    for turn in meta.get("turns", ()):
        for name in _TURN:
            if name in turn:
                yield turn[name]
    if "system" in meta:
        yield meta["system"]


def replaced(instance: schema.Instance, said: Callable[[str], str]) -> dict[str, Any]:
    """Returns the fields that hold texts of a record, `meta` among them, with what `said` gives for each of `of`."""
    meta: dict[str, Any] = dict(instance.meta)
    for name in _LISTS:
        if name in meta:
            meta[name] = [said(text) for text in meta[name]]
    if "slots" in meta:
        slots = meta["slots"].items()
        meta["slots"] = {name: said(value) if isinstance(value, str) else value for name, value in slots}
    if "turns" in meta:
        meta["turns"] = [
            {name: said(value) if name in _TURN else value for name, value in turn.items()} for turn in meta["turns"]
        ]
    if "system" in meta:
        meta["system"] = said(meta["system"])
    return {**{name: said(getattr(instance, name)) for name in _TURN}, "meta": meta}
