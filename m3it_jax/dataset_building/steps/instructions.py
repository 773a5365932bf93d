"""Load and check the instruction bank; choose an instruction by seed and record id alone."""

import collections
import functools
import importlib.resources
import json
import re
from importlib.resources.abc import Traversable

from m3it_jax import errors, prompts, rng, schema
from m3it_jax.dataset_building.specification import SourceSpec

MIN_POOL = 10  # M3IT has ten instructions a source written by people (arXiv 2306.04387, section 3.2)


def _bank() -> Traversable:
    return importlib.resources.files("m3it_jax.dataset_building.steps") / "instruction_bank"


@functools.cache
def pool(name: str) -> tuple[str, ...]:
    """Returns the instructions of a pool, named `<file>/<key>`, for instance `captioning/shape`.

    Raises:
      UserError: there is no such pool, it holds fewer than ten instructions, or one is empty or there twice.
    """
    file, _, key = name.partition("/")
    path = _bank() / f"{file}.json"
    if not path.is_file():
        raise errors.UserError(f"instruction_bank/{file}.json: is missing; pool {name!r} names it")
    pools = json.loads(path.read_text(encoding="utf-8"))
    if key not in pools:
        raise errors.UserError(f"instruction_bank/{file}.json: has no pool {key!r}; it has {', '.join(pools)}")
    found = tuple(pools[key])
    if len(found) < MIN_POOL or len(set(found)) != len(found) or not all(text.strip() for text in found):
        raise errors.UserError(
            f"instruction_bank/{file}.json: pool {key!r} must hold {MIN_POOL} different instructions, none empty"
        )
    return found


def by_task(most: int = 12) -> dict[str, tuple[str, ...]]:
    """Returns for each task some instructions without slots, from as many of its pools as there are: to choose from."""
    found = {}
    for task in schema.TASKS:
        pools = json.loads((_bank() / f"{task}.json").read_text(encoding="utf-8")).values()
        whole = [[text for text in texts if not prompts.SLOT.search(text)] for texts in pools]
        turns = [texts[number] for number in range(max(map(len, whole))) for texts in whole if number < len(texts)]
        found[task] = tuple(dict.fromkeys(turns))[:most]
    return found


@functools.cache
def slotted() -> tuple[tuple[frozenset[str], tuple[re.Pattern[str], ...]], ...]:
    """Returns for each pool with slots the names that most of its instructions have, and the instructions as patterns.

    A pattern takes any text in place of a slot.
    """
    found = []
    for path in sorted(_bank().iterdir(), key=lambda path: path.name):
        if not path.name.endswith(".json"):
            continue
        for texts in json.loads(path.read_text(encoding="utf-8")).values():
            named = collections.Counter(frozenset(prompts.SLOT.findall(text)) for text in texts)
            names = named.most_common(1)[0][0]
            if names:
                parts = (prompts.SLOT.split(text)[::2] for text in texts)
                found.append((names, tuple(re.compile(".+".join(map(re.escape, each)), re.DOTALL) for each in parts)))
    return tuple(found)


def of(spec: SourceSpec) -> tuple[str, ...]:
    """Returns the instructions of a source: those that it brings, else its pool; none if every row brings its own.

    Raises:
      UserError: as `pool`.
    """
    return spec.instructions or (pool(spec.pool) if spec.pool else ())


def choose(choices: tuple[str, ...], seed: int, record_id: str) -> str:
    """Returns one of the choices; it depends on the seed and the record's id alone, not on the order of records."""
    return choices[rng.fold(seed, "instruction", record_id) % len(choices)]
