"""Reading a foreign configuration: a value of the wrong kind, or one that is not computed, is refused by its name."""

import math
from collections.abc import Mapping, Set
from typing import Any, NoReturn

from m3it_jax import errors

MOST_LAYERS = 1_000  # CHOICE: of one part; a larger number is a damaged file, and would take minutes to look through
MOST_PIXELS = 4_096  # CHOICE: edge of a picture
_MOST = (1 << 31) - 1  # CHOICE: sizes that no file of weights has; what they would ask for is told by the tensors
_MOST_OF_NUMBERS = 1e30  # CHOICE: beyond, float32 has no room for squares and sums

# transformers' name of an activation -> ours. T5's "gated-gelu" means gelu_new.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


class Values:
    """The values of a configuration file, or of a part of it."""

    def __init__(self, values: Mapping[str, Any], where: str):
        """Takes the values and their file, for messages."""
        self._values, self._where = values, where

    def get(self, name: str, default: Any) -> Any:
        """Returns a value; null and absent are the same."""
        value = self._values.get(name)
        return default if value is None else value

    def part(self, name: str) -> "Values":
        """Returns the values under a name; none if it is absent."""
        value = self.get(name, {})
        if not isinstance(value, Mapping):
            self.refuse(name, value, "an object")
        return Values(value, f"{self._where}: {name}")

    def refuse(self, name: str, value: Any, allowed: str) -> NoReturn:
        """Raises what is said of a value that cannot be used."""
        text = ascii(value) if not repr(value).isprintable() else repr(value)
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise errors.UserError(
            f"{self._where}: {name}={shown}: only {allowed} can be converted; take another checkpoint"
        )

    def must_be(self, name: str, value: Any, *, also: Any = None) -> None:
        """Checks a value where only one is computed; an absent one is that one, or is called `also`."""
        found = self._values.get(name)
        if found is not None and found != value and found != also:
            self.refuse(name, found, repr(value))

    def has(self, name: str) -> bool:
        """Returns whether the file has the field at all; null counts."""
        return name in self._values

    def must_hold(self, name: str) -> None:
        """Checks a flag that is true unless a file says something else; null says no (`if config.name`)."""
        if not self._values.get(name, True):
            self.refuse(name, self._values[name], "true")
        self.must_be(name, True)

    def must_not_be_null(self, name: str) -> None:
        """Checks a field that may be absent, and where null is another thing than that."""
        if self.has(name) and self._values[name] is None:
            self.refuse(name, None, "a value, or a file without this field,")

    def must_know(self, used: Set[str], harmless: Set[str]) -> None:
        """Checks that every field is one that is used, or one that changes nothing."""
        for name in self._values:
            if name not in used and name not in harmless:
                self.refuse(name, self._values[name], f"the fields {', '.join(sorted(used))}")

    def text(self, name: str, default: str) -> str:
        """Returns a text."""
        value = self.get(name, default)
        if not isinstance(value, str):
            self.refuse(name, value, "a text")
        return value

    def whole(self, name: str, default: int, *, low: int = 1, high: int = _MOST) -> int:
        """Returns a whole number from `low` to `high`."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(name, value, f"a whole number from {low} to {high}")
        return value

    def multiple(self, name: str, value: int, *, of: str, by: int) -> None:
        """Checks that a size is a multiple of another, which is called `of`."""
        if value % by:
            self.refuse(name, value, f"a multiple of {of}={by}")

    def number(self, name: str, default: float, *, low: float | None = None) -> float:
        """Returns a number above 0, or of at least `low`."""
        value = self.get(name, default)
        fits = not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= _MOST_OF_NUMBERS
        if not fits or not (value > 0 if low is None else value >= low):
            self.refuse(name, value, "a finite number above 0" if low is None else f"a finite number of at least {low}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Returns a truth value. Null says no, and is refused where an absent one says yes: versions differ there."""
        value = self._values.get(name, default)
        value = False if value is None and not default else value
        if not isinstance(value, bool):
            self.refuse(name, value, "true or false")
        return value

    def choice(self, name: str, allowed: Mapping[str, str], default: str) -> str:
        """Returns what `allowed` has for a value."""
        value = self.get(name, default)
        if not isinstance(value, str) or value not in allowed:
            self.refuse(name, value, " or ".join(allowed))
        return allowed[value]

    def triple(self, name: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        """Returns three numbers, of red, green and blue."""
        value = self.get(name, default)
        fits = isinstance(value, list | tuple) and len(value) == 3
        if not fits or not all(isinstance(one, int | float) and math.isfinite(one) for one in value):
            self.refuse(name, value, "three numbers")
        return (float(value[0]), float(value[1]), float(value[2]))
