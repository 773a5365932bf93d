"""A share of the training rows as validation or test: by picture, so that none is on both sides, and by the seed.

Rows that show the same picture, or pictures of the same name, or that are linked by others that do, stay together. So
the rows are gone over once before, and every picture is read; what is kept of each row is a few numbers.
"""

import array
import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from m3it_jax import errors, rng, schema
from m3it_jax.dataset_building.publishers import video
from m3it_jax.dataset_building.specification import Assets, Draft, Drafts, Rejected, RowError, Rows, SourceSpec

_TRAIN = "train"

# (each group's place in the seed's order 0..1, its pictures, share of all) -> which groups are taken.
Choice = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def by_number(places: np.ndarray, sizes: np.ndarray, share: float) -> np.ndarray:
    """Takes groups in the seed's order until they have the share of the pictures, at least one of several groups."""
    wanted, taken = max(1, round(share * int(sizes.sum()))), 0
    chosen = np.zeros(len(sizes), bool)
    for number in np.argsort(places, kind="stable"):
        if taken + sizes[number] <= wanted and np.isfinite(places[number]):
            chosen[number] = True
            taken += sizes[number]
    if not taken and len(sizes) > 1:
        chosen[np.lexsort((places, sizes, ~np.isfinite(places)))[0]] = True
    return chosen


def by_place(places: np.ndarray, sizes: np.ndarray, share: float) -> np.ndarray:
    """Takes each group by its own place alone: of several sources, the same picture falls on the same side in each."""
    del sizes
    return places < share


@dataclasses.dataclass
class Shared:
    """Rows of a source, a share of whose training rows is of another split.

    Attributes:
      inner: The rows as the files have them.
      shares: Share (0..1) of the pictures by split.
      choice: How the groups of rows are chosen.
    """

    inner: Drafts
    shares: Mapping[str, float]
    choice: Choice
    _made: tuple[int, np.ndarray] | None = dataclasses.field(default=None, repr=False)

    def __call__(self, assets: Assets, split: str, seed: int) -> Rows:
        """Yields the rows of a split; what is left out of the training files is told with `train`."""
        splits = self._splits(assets, seed)
        for number, row in enumerate(self.inner(assets, _TRAIN, seed)):
            if schema.SPLITS[splits[number]] == split:
                yield row
        if split != _TRAIN:
            yield from self.inner(assets, split, seed)

    def _splits(self, assets: Assets, seed: int) -> np.ndarray:
        """Returns the number of each training row's split, uint8 [rows]; made once in a process."""
        if self._made is None or self._made[0] != seed:
            self._made = seed, assigned(self.inner(assets, _TRAIN, seed), self.shares, choice=self.choice, seed=seed)
        return self._made[1]


def assigned(rows: Rows, shares: Mapping[str, float], *, choice: Choice, seed: int) -> np.ndarray:
    """Returns the number in `schema.SPLITS` of each row's split, uint8 [rows].

    Raises:
      UserError: all rows belong together, so that nothing can be set apart.
    """
    numbers, keys, contents, total = array.array("q"), array.array("q"), array.array("b"), 0
    for total, row in enumerate(rows, start=1):
        for key, is_content in _keys(row):
            numbers.append(total - 1)
            keys.append(rng.fold(0, key))
            contents.append(is_content)
    if not keys:
        return np.zeros(total, np.uint8)
    rows_of, of_keys = np.asarray(numbers), np.asarray(keys)
    different, first, inverse = np.unique(of_keys, return_index=True, return_inverse=True)
    names, of_rows = np.unique(_joined(rows_of, inverse, total), return_inverse=True)
    group = of_rows[rows_of[first]]  # of each key
    sizes = np.bincount(group, np.asarray(contents)[first], len(names)).astype(np.int64)
    least = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(least, group, different)
    splits = np.zeros(len(names), np.uint8)
    for split, share in shares.items():
        places = np.array([rng.fold(seed, "share", split, int(key)) / 2**63 for key in least])
        places[(splits > 0) | (sizes == 0)] = np.inf  # taken already, or rows that will be left out
        splits[choice(places, sizes, share)] = schema.SPLITS.index(split)
    if np.all(splits[sizes > 0] > 0) or (sizes > 0).sum() < 2:
        raise errors.UserError(
            "--test-share: all rows show the same pictures, or are linked by pictures that they share, or the share "
            "leaves none to train on; ask for less, or give the held-out rows in a file of their own"
        )
    return splits[of_rows]


def _keys(row: object) -> Iterator[tuple[str, int]]:
    """Yields (text, 1 for a picture's content or 0 for its name) of all that ties a row to others."""
    if isinstance(row, Rejected):
        return
    assert isinstance(row, Draft | schema.Instance)
    group = row.group if isinstance(row, Draft) else str(row.meta.get("group", ""))
    if not row.images:  # what is asked stands for the pictures of a row of text alone
        yield _question(row), 1
    yield from ((f"name {part}", 0) for part in group.split("+") if part)
    for image in row.images:
        if isinstance(image, bytes):
            yield _content(image), 1
        elif not isinstance(image, np.ndarray):
            try:
                yield from ((_content(data), 1) for data in image.read(video.uniform))
            except RowError:
                continue  # the row will be left out, and nothing is lost by where


def _question(row: Draft | schema.Instance) -> str:
    """Returns what a row of text alone asks first."""
    own = schema.Turn(row.instruction, row.inputs)
    first = schema.turns_of(row)[0] if isinstance(row, schema.Instance) else (*row.turns, own)[0]
    return f"text {schema.content_id('question', first.instruction, first.inputs)}"


def _content(data: bytes) -> str:
    return f"content {schema.content_id('picture', data)}"


def _joined(numbers: np.ndarray, keys: np.ndarray, total: int) -> np.ndarray:
    """Returns the number of each row's group, int64 [rows]: rows with a key in common are of one."""
    parent = list(range(total))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    order = np.argsort(keys, kind="stable")
    for before, after in zip(order[:-1], order[1:], strict=True):
        if keys[before] == keys[after]:
            parent[root(int(numbers[after]))] = root(int(numbers[before]))
    return np.array([root(row) for row in range(total)], np.int64)


def of_specs(specs: tuple[SourceSpec, ...], shares: Mapping[str, float]) -> tuple[SourceSpec, ...]:
    """Returns the sources with shares of their training rows set apart; as they are if there is no share.

    Raises:
      UserError: a source has no training rows, or files of such a split already.
    """
    wanted = {split: share for split, share in shares.items() if share}
    if not wanted:
        return specs
    choice = by_number if len(specs) == 1 else by_place
    found = []
    for spec in specs:
        has = {split for _, _, split in spec.settings["imported"]["files"]}
        for split in wanted:
            if split in has:
                raise errors.UserError(f"--{split}-share: {spec.name} has files of the split {split}; leave it out")
        if _TRAIN not in has:
            raise errors.UserError(f"--{next(iter(wanted))}-share: {spec.name} has no file of the split train")
        settings = {**spec.settings, "shares": dict(wanted)}
        found.append(dataclasses.replace(spec, drafts=Shared(spec.drafts, wanted, choice), settings=settings))
    return tuple(found)
