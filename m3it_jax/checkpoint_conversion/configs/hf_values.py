"""Reading a foreign configuration: a value of the wrong kind, or one that is not computed, is refused by its name."""

from collections.abc import Mapping
from typing import Any, NoReturn

from m3it_jax import errors


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
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
        raise errors.UserError(
            f"{self._where}: {name}={shown}: only {allowed} can be converted; take another checkpoint"
        )

    def must_be(self, name: str, value: Any, *, also: Any = None) -> None:
        """Checks a value where only one is computed; an absent one is that one, or is called `also`."""
        found = self._values.get(name)
        if found is not None and found != value and found != also:
            self.refuse(name, found, repr(value))

    def whole(self, name: str, default: int, *, low: int = 1) -> int:
        """Returns a whole number of at least `low`."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            self.refuse(name, value, f"a whole number of at least {low}")
        return value

    def number(self, name: str, default: float, *, low: float | None = None) -> float:
        """Returns a number above 0, or of at least `low`."""
        value = self.get(name, default)
        fits = not isinstance(value, bool) and isinstance(value, int | float)
        if not fits or not (value > 0 if low is None else value >= low):
            self.refuse(name, value, "a number above 0" if low is None else f"a number of at least {low}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Returns a truth value."""
        value = self.get(name, default)
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
        if len(value) != 3 or not all(isinstance(one, int | float) for one in value):
            self.refuse(name, value, "three numbers")
        return (float(value[0]), float(value[1]), float(value[2]))
