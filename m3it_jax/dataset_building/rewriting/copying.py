"""A data folder copied with a change to its records: what is taken over, what is changed, and the chain of steps.

    order(folder, out, change, step="paraphrase", about="...") -> an Order that `edition.build` builds

A source that is not changed is copied byte for byte, its provenance with it. A changed one is built anew from its own
records: same name, version, task, language, licence, instructions and splits; its provenance gets `made_from`, a list
with one entry for each step since the first build, the oldest first:

    {"step": what was done, "name" and "edition" of the folder it was done to, "fingerprint" of the source there,
     "seed" and "limit" it had been built with, and whatever else decides the step}

A record keeps its id: it names the row through all steps, so that the copies of a row can be held side by side. The id
was a hash over the content when the row was first made; what became of it since stands in `meta.changes`.
"""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from m3it_jax import errors, records, schema
from m3it_jax.dataset_building.specification import Assets, Rejected, SourceSpec
from m3it_jax.dataset_building.writing.order import Order

# What is done to a record; it travels to worker processes, so it has to be picklable.
Change = Callable[[schema.Instance], schema.Instance | Rejected]
# (data folder, source, split) -> its records in a fixed order; picklable too.
Rows = Callable[[pathlib.Path, str, str], Iterator[schema.Instance | Rejected]]

_HOW = "\n## How it was made\n"  # with this line begins what `card.text` puts last
_DATA = "data"  # the name by which a source finds the old folder among its assets
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def stored(data: pathlib.Path, source: str, split: str) -> Iterator[schema.Instance]:
    """Yields the records of a split as they lie in the data folder; none if it has no such split.

    Raises:
      BrokenRecordError: one is damaged.
    """
    folder = records.DataFolder.open(data)
    if split in folder.sources[source].splits:
        table = folder.table(source, split)
        for number in range(len(table)):
            yield table.read(number)


@dataclasses.dataclass(frozen=True)
class Copy:
    """A source of the new folder that is made from one of the old.

    Attributes:
      of: The old source.
      change: What is done to its records.
      name: Its own name; empty keeps that of the old one.
      language: BCP-47 tag of its records; empty keeps the old one's.
      settings: JSON values that decide the step beside those of the whole order.
      rows: Which records are taken, and in which order.
      counts: Most records of each split; None where that is unknown.
      instructions: Its pool; None keeps the old one's.
    """

    of: str
    change: Change
    name: str = ""
    language: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rows: Rows = stored
    counts: Mapping[str, int] | None = None
    instructions: tuple[str, ...] | None = None


def order(
    folder: records.DataFolder,
    out: pathlib.Path,
    change: Change,
    *,
    step: str,
    about: str,
    sources: Collection[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    rows: Rows = stored,
    limit: int | None = None,
) -> Order:
    """Returns the order that copies a data folder with a change.

    `step` names the change in the provenance, together with `settings`, the JSON values that decide it; `about` says it
    in a line of the card. `sources` are those that are changed; None changes all. With `limit`, the first so many
    records of each split of every source are taken, and no source is copied byte for byte.

    Raises:
      UserError: `out` is the folder itself or lies in it, there is no such source, or what lies beside the records is
        missing or damaged.
    """
    for name in sources or ():
        folder.source_path(name)  # refuses one that is not there
    changed = [name for name in folder.sources if sources is None or name in sources]
    copies = [
        Copy(name, change if name in changed else _unchanged, settings=settings or {}, rows=rows)
        for name in (folder.sources if limit is not None else changed)
    ]
    kept = [name for name in folder.sources if name not in {copy.of for copy in copies}]
    return order_of(folder, out, copies, step=step, about=about, kept=kept, limit=limit)


def order_of(
    folder: records.DataFolder,
    out: pathlib.Path,
    copies: Sequence[Copy],
    *,
    step: str,
    about: str,
    kept: Collection[str] = (),
    limit: int | None = None,
) -> Order:
    """Returns the order for copies of any names; the sources `kept` are taken over byte for byte.

    Raises:
      UserError: as `order`.
    """
    inside, whole = out.resolve(), folder.path.resolve()
    if inside == whole or whole in inside.parents:
        raise errors.UserError(f"{out}: lies in the data folder that is copied; choose another folder")
    specs = tuple(_spec(folder, copy, step=step) for copy in copies)
    vocabulary = folder.tokenizer_path
    if vocabulary is not None and not vocabulary.is_file():
        raise errors.UserError(f"{vocabulary}: is missing, and {records.MANIFEST} names it; build the folder again")
    return Order(
        out,
        folder.manifest["name"],
        folder.manifest.get("edition", ""),
        specs,
        introduction=_introduction(folder, f"- {step}: {about}"),
        folders={_DATA: folder.path},
        limit=limit,
        kept={name: _place(folder, name) for name in kept},
        tokenizer=vocabulary,
    )


def _drafts(
    assets: Assets, split: str, seed: int, *, rows: Rows, change: Change, source: str
) -> Iterator[schema.Instance | Rejected]:
    """Yields the changed records of a split: what `SourceSpec.drafts` is for a source that is copied."""
    del seed
    for row in rows(assets[_DATA], source, split):
        yield row if isinstance(row, Rejected) else change(row)


def _unchanged(instance: schema.Instance) -> schema.Instance:
    return instance


def _spec(folder: records.DataFolder, copy: Copy, *, step: str) -> SourceSpec:
    """Returns the specification of a source's copy."""
    name = copy.of
    info, made = folder.sources[name], _provenance(_place(folder, name))
    counts = dict(info.splits) if copy.counts is None and copy.rows is stored else dict(copy.counts or {})
    was = {
        "step": step,
        **copy.settings,
        "name": folder.manifest["name"],
        "edition": folder.manifest.get("edition", ""),
        "fingerprint": info.fingerprint,
        "seed": made.get("seed"),
        "limit": made.get("limit"),
    }
    return SourceSpec(
        name=copy.name or name,
        task=info.task,
        language=copy.language or info.language,
        pool="",
        drafts=functools.partial(_drafts, rows=copy.rows, change=copy.change, source=name),
        rows=counts,
        version=info.version,
        licence=info.licence,
        citation=info.citation,
        url=info.url,
        known_problems=str(made.get("known_problems", "")),
        instructions=info.instructions if copy.instructions is None else copy.instructions,
        settings={"made_from": [*made.get("made_from", ()), was], "raw": made.get("raw", [])},
    )


def _place(folder: records.DataFolder, name: str) -> pathlib.Path:
    """Returns the version folder of a source, whose name becomes the name of a folder in OUT.

    Raises:
      UserError: it would lie elsewhere.
    """
    path = folder.source_path(name)
    for part in (name, folder.sources[name].version):
        if not _FOLDER_NAME.fullmatch(part):
            raise errors.UserError(
                f"{folder.path / records.MANIFEST}: {part!r} is no name of a source or a version; build it again"
            )
    return path


def _provenance(folder: pathlib.Path) -> dict[str, Any]:
    file = folder / "provenance.json"
    try:
        made = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(f"{file}: cannot be read ({error}); build the source again") from error
    if not isinstance(made, dict) or not isinstance(made.get("made_from", []), list):
        raise errors.UserError(f"{file}: is no provenance of a source; build the source again")
    return made


def _introduction(folder: records.DataFolder, line: str) -> str:
    """Returns the introduction of the old card with one line more; a folder without a card gets a plain one."""
    try:
        text = (folder.path / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    first = text.partition("\n")[0] or f"A copy of {folder.manifest['name']}."
    _, begin, how = text.partition(_HOW)
    listed = "\n## Steps since\n\n"
    how = begin + how if begin else _HOW
    return f"{first}\n{how.rstrip()}\n" + ("" if listed in how else listed) + f"{line}\n"
