"""Import: rows that others have made -> records. One module for each family of formats; `FORMATS` names them."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import (
    conversations,
    image_text,
    json_rows,
    m3it,
    m3it_80,
    minigpt4,
    multiinstruct,
    parquet,
    request,
)
from m3it_jax.dataset_building.interchange import shares as shares_of
from m3it_jax.dataset_building.interchange.request import Request
from m3it_jax.dataset_building.specification import SourceSpec
from m3it_jax.dataset_building.writing.order import Order, tolerated

NAME = "imported"
EDITION = "imported"


@dataclasses.dataclass(frozen=True)
class Format:
    """One form that rows come in.

    Attributes:
      specs: The sources that a request's paths hold.
      what: What the paths are, for `--help`.
    """

    specs: Callable[[Request], list[SourceSpec]]
    what: str


FORMATS: dict[str, Format] = {
    "m3it": Format(m3it.specs, "the released JSONL: files, task folders or the whole data/; also what we export"),
    "m3it-80": Format(m3it_80.specs, "the released translations: data/ or its task folders"),
    "llava": Format(conversations.llava_specs, "JSON with `conversations`; needs --images"),
    "messages": Format(conversations.messages_specs, "JSONL with `messages` as chat APIs take them"),
    "minigpt4": Format(minigpt4.specs, "the folder cc_sbu_align"),
    "multiinstruct": Format(multiinstruct.specs, "train.jsonl and test.jsonl; needs --images"),
    "image-text": Format(image_text.specs, "WebDataset tars, TSV files (with --images) or folders with .txt captions"),
    "parquet": Format(parquet.specs, "files with the hub's Image feature; also what we export"),
}

_CARD = """\
Rows that others have made, imported by m3it_jax; no text or picture was changed but as `meta.changes` says.

## How it was made

`provenance.json` of each source names the files; `meta.origin` names file and line of each record, so that it can be
found again, and `meta.group` its pictures: the publisher's id of them, or else a hash of their content. Rows that could
not be used stand in `rejected.jsonl` beside the shards, each with its place and reason.

Read it with `tfds.builder_from_directory("<this folder>/<source>/<version>")`; `m3it check` verifies every byte of it.
"""


# Files that may hold rows, and those of them that lie beside rows and hold none.
_DATA = tuple(".json .jsonl .ndjson .csv .tsv .parquet .arrow .tar .tgz .gz .bz2 .xz .zst .zip .7z .npz .pkl".split())
_NO_ROWS = (
    "instructions.json",
    "instruction.json",
    "labels.json",
    "export.json",
    "m3it.json",
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
)  # of `datasets`


def unread(asked: Request, specs: Sequence[SourceSpec]) -> list[str]:
    """Returns the files in the given folders that may hold rows and are not read: of another form, or packed."""
    told = " ".join(spec.known_problems for spec in specs)
    read = {path for spec in specs for path in spec.inputs}
    found = []
    for root in (path for path in asked.paths if path.is_dir() and path not in read):
        for path in sorted(root.rglob("*")):
            is_data = path.name.lower().endswith(_DATA) and path.name not in _NO_ROWS
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if is_data and not hidden and path not in read and path.name not in told and path.is_file():
                found.append(json_rows.spelled(path.relative_to(root).as_posix()))
    return found


def order(
    form: str,
    asked: Request,
    out: pathlib.Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    max_bad: float | None = None,
    shares: Mapping[str, float] | None = None,
) -> Order:
    """Returns the order that imports the request's paths.

    `form` is a key of `FORMATS`, `max_bad` as of `tolerated`, `shares` the share (0..1) of the training pictures that
    becomes `test` or `validation`.

    Raises:
      UserError: a path or what belongs to it is missing, or source or split of a file are not known, or the name of
        the source is none.
    """
    request.check_task(asked.task)
    request.check_name(asked.source)
    if asked.images is not None and not asked.images.is_dir():
        raise errors.UserError(f"--images {asked.images}: there is no such folder")
    specs = shares_of.of_specs(tuple(FORMATS[form].specs(asked)), shares or {})
    return Order(
        out,
        NAME,
        EDITION,
        specs,
        introduction=_CARD,
        seed=seed,
        limit=limit,
        **tolerated(max_bad),
        settings={"format": form},
    )
