"""What several sources do alike: lettered options, drawing the paper's number of rows, rows into drafts."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from m3it_jax import rng
from m3it_jax.dataset_building.specification import Draft, Rejected, RowError, SourceSpec

Row = TypeVar("Row")


def letter(number: int) -> str:
    """Returns the mark of option `number` (from 0): A to Z, then AA, AB and so on.

    More than 26 options once broke the lettering of the released COCO-GOI rows.
    """
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def lettered(options: Sequence[str]) -> tuple[str, ...]:
    """Returns `(A) first`, `(B) second` and so on."""
    return tuple(f"({letter(number)}) {option}" for number, option in enumerate(options))


def options_text(options: Sequence[str]) -> str:
    """Returns `Options:` and one lettered option a line, as the released rows show them."""
    return "\n".join(("Options:", *lettered(options)))


def sample(rows: Iterable[Row], number: int, *, seed: int, name: str, key: Callable[[Row], str]) -> Iterator[Row]:
    """Yields at most `number` of the rows, drawn at random by the seed and each row's key, in their own order.

    The draw does not depend on the rows' order, and a row that is added changes at most one other. Memory is that of
    the rows drawn. The paper does not say how its samples were drawn (arXiv 2306.04387, appendix A).
    """
    # The least `number` of random ranks, as a heap of their negatives; the position breaks ties between equal keys.
    drawn: list[tuple[int, int, Row]] = []
    for position, row in enumerate(rows):
        entry = (-rng.fold(seed, "sample", name, key(row)), -position, row)
        if len(drawn) < number:
            heapq.heappush(drawn, entry)
        elif entry[:2] > drawn[0][:2]:
            heapq.heapreplace(drawn, entry)
    for _, _, row in sorted(drawn, key=lambda entry: -entry[1]):
        yield row


def choice_place(number: int, *, seed: int, name: str, key: str) -> int:
    """Returns a place (0 to number - 1) at random by seed and key: where the right option stands."""
    return rng.fold(seed, "place", name, key) % number


def share_of(shares: Mapping[str, int], *, seed: int, name: str, key: str) -> str:
    """Returns a key of `shares`, at random by seed and key, in proportion to its number.

    Where a publisher has no split of its own, this is one; rows with the same key stay together.
    """
    place = rng.fold(seed, "share", name, key) % sum(shares.values())
    for share, number in shares.items():
        if place < number:
            return share
        place -= number
    raise AssertionError("a remainder is less than the sum")


def shuffled(options: Sequence[str], *, seed: int, name: str, key: str) -> tuple[str, ...]:
    """Returns the options in an order that seed and key decide."""
    order = rng.generator(seed, "options", name, key).permutation(len(options))
    return tuple(options[place] for place in order)


# A publisher's row and where it stands, or what is wrong with it.
Placed = tuple[str, Any] | Rejected


def publisher_id(name: str) -> Callable[[Placed], str]:
    """Returns a function: row -> the publisher's id of it, its field `name`; its place if it has none."""

    def key(row: Placed) -> str:
        if isinstance(row, Rejected):
            return row.place
        place, fields = row
        return str(fields[name]) if isinstance(fields, Mapping) and name in fields else place

    return key


def drawn(rows: Iterable[Row], spec: SourceSpec, split: str, *, seed: int, key: Callable[[Row], str]) -> Iterator[Row]:
    """Yields at most as many rows as the paper's Table 7 has in the split, drawn by seed and `key` of each row.

    Rows are drawn before they are looked at: bad ones keep their true share among those drawn.
    """
    number = spec.published.counts[split] if spec.published else 0
    if number:
        yield from sample(rows, number, seed=seed, name=f"{spec.name}/{split}", key=key)


def converted(rows: Iterable[Placed], convert: Callable[[Any], Draft]) -> Iterator[Draft | Rejected]:
    """Yields the draft of each row; one that `convert` refuses is named with its place, and the next goes on."""
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            yield convert(row[1])
        except RowError as error:
            yield Rejected(row[0], error.reason, str(error))


def usable(
    rows: Iterable[Placed],
    convert: Callable[[Any], Draft],
    spec: SourceSpec,
    *,
    split: str,
    seed: int,
    key: Callable[[Placed], str],
) -> Iterator[Draft | Rejected]:
    """Yields drafts of as many rows as the paper's Table 7 has in the split, in an order drawn by seed and `key`.

    For sources whose pictures or videos each user fetches, and of which some are gone: unlike with `drawn`, a row that
    `convert` refuses is named and the next one takes its place. All rows are in memory.
    """
    left = spec.published.counts[split] if spec.published else 0
    name = f"{spec.name}/{split}"
    ranked = sorted(rows, key=lambda row: rng.fold(seed, "sample", name, key(row))) if left else []
    for draft in converted(ranked, convert):
        yield draft
        left -= isinstance(draft, Draft)
        if not left:
            return


def among_others(right: str, names: Iterable[str], number: int, *, seed: int, name: str, key: str) -> tuple[str, ...]:
    """Returns `number` different names in an order by seed and key: the right one, and others drawn from `names`."""
    others = sorted({*names} - {right})
    drawn = rng.generator(seed, "distractors", name, key).choice(len(others), number - 1, replace=False)
    return shuffled([right, *(others[place] for place in drawn)], seed=seed, name=name, key=key)
