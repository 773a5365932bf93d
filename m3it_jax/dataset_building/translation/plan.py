"""What of a data folder is translated, and the order that writes it: one source for each source and language.

okvqa in de and zh  ->  okvqa-de, okvqa-zh      the names of MMInstruction/M3IT-80's configs
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from m3it_jax import errors, languages, records, rng, schema
from m3it_jax.dataset_building.rewriting import copying
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.translation import answers, masking, step
from m3it_jax.dataset_building.translation.store import Store
from m3it_jax.dataset_building.writing.order import Order

# arXiv 2306.04387, section 3.2, stage IV, and appendix C: at most 500 examples of a split, the whole Winoground test.
M3IT_80_ROWS: Mapping[str, int] = {
    "okvqa": 500,
    "imagenet": 500,
    "winoground": 800,
    "vqa-v2": 500,
    "vist": 500,
    "msrvtt": 500,
    "msrvtt-qa": 500,
}


@dataclasses.dataclass(frozen=True)
class Taken:
    """Which records of a source are translated.

    Attributes:
      source: Its name.
      rows: Most of a split; None takes all.
      seed: Decides which.
    """

    source: str
    rows: int | None
    seed: int

    def __call__(self, data: pathlib.Path, source: str, split: str) -> Iterator[schema.Instance | Rejected]:
        """Yields them in the order of the folder: what `copying.Rows` is."""
        folder = records.DataFolder.open(data)
        if split in folder.sources[source].splits:
            table = folder.table(source, split)
            for number in self.numbers(len(table), split):
                yield table.read(number)

    def numbers(self, num_records: int, split: str) -> Sequence[int]:
        """Returns the numbers of the records that are taken, ascending.

        CHOICE: drawn with the seed; the paper does not say how it took its 500.
        """
        if self.rows is None or num_records <= self.rows:
            return range(num_records)
        drawn = rng.generator(self.seed, "translate", self.source, split).permutation(num_records)[: self.rows]
        return sorted(drawn.tolist())

    def counts(self, folder: records.DataFolder) -> dict[str, int]:
        """Returns how many records of each split are taken."""
        splits = folder.sources[self.source].splits
        return {split: min(number, self.rows or number) for split, number in splits.items()}


def taken(
    folder: records.DataFolder,
    *,
    language: languages.Language,
    names: Collection[str] | None,
    rows: int | None,
    seed: int,
) -> list[Taken]:
    """Returns what is translated of a folder.

    Without `names`: the paper's sources that the folder has, or all in the language if it has none of them. `rows` is
    the most of each split; without it the paper's sources have the paper's numbers.

    Raises:
      UserError: a source is not there, or none is in the language.
    """
    for name in names or ():
        folder.source_path(name)  # refuses one that is not there
    chosen = list(dict.fromkeys(names or [name for name in folder.sources if name in M3IT_80_ROWS]))
    spoken = [name for name, info in folder.sources.items() if info.language.split("-")[0] == language.code]
    chosen = chosen or spoken
    if not chosen:
        raise errors.UserError(f"{folder.path}: no source is in {language.code}; give --from, or --sources by name")
    return [Taken(name, M3IT_80_ROWS.get(name) if rows is None else rows, seed) for name in chosen]


def instances(folder: records.DataFolder, source: Taken, limit: int | None) -> Iterator[schema.Instance]:
    """Yields the records of a source that are translated, split after split, at most `limit` of each."""
    for split in schema.SPLITS:
        for row in itertools.islice(source(folder.path, source.source, split), limit):
            if isinstance(row, schema.Instance):
                yield row


def name_of(source: str, target: languages.Language) -> str:
    """Returns the name of a source in another language."""
    return f"{source}-{target.code.lower()}"


def order(
    folder: records.DataFolder,
    out: pathlib.Path,
    sources: Sequence[Taken],
    *,
    steps: Sequence[step.Translation],
    store: Store | None,
    about: str,
    keeps_originals: bool,
    limit: int | None,
) -> Order:
    """Returns the order that writes the translated folder.

    Args:
      folder: The data folder.
      out: The new one.
      sources: What is translated.
      steps: One for each language; its `name` is set here.
      store: Where the translated pools of instructions are; None keeps the old pools, for a look at the order.
      about: A line of the card.
      keeps_originals: Whether the old folder's sources are taken over beside the new ones.
      limit: Most records of each split.

    Raises:
      UserError: a name is taken by another source, or as `copying.order_of`.
    """
    copies = []
    for source in sources:
        pool = folder.sources[source.source].instructions
        for each in steps:
            name = name_of(source.source, each.target)
            if name in folder.sources and keeps_originals:
                raise errors.UserError(f"{folder.path}: has a source {name} already; leave --keep-originals out")
            copies.append(
                copying.Copy(
                    source.source,
                    dataclasses.replace(each, name=name),
                    name=name,
                    language=each.target.code,
                    settings=each.settings() | {"rows": source.rows, "rows_seed": source.seed},
                    rows=source,
                    counts=source.counts(folder),
                    instructions=tuple(pool) if store is None else _pool(pool, each, store),
                )
            )
    kept = list(folder.sources) if keeps_originals else []
    return copying.order_of(folder, out, copies, step="translate", about=about, kept=kept, limit=limit)


def _pool(pool: Sequence[str], each: step.Translation, store: Store) -> tuple[str, ...]:
    """Returns the instructions of a pool that have a translation."""
    said = step.heard(pool, functools.partial(step.look_up, store, each.key()))
    made: dict[str, None] = {}
    for text in pool:
        found = {segment: answers.of_segment(segment, said) for segment in masking.cut(text).segments}
        if not any(one.reason for one in found.values()):
            made[step.whole(text, found)] = None
    return tuple(made)
