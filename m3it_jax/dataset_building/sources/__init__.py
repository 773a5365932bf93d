"""The 40 sources of M3IT, one module each: `coco-itm` is `sources/coco_itm.py`, which holds its `SPEC`."""

import dataclasses
import importlib
import pathlib
from collections.abc import Mapping, Sequence

from m3it_jax import errors, licences
from m3it_jax.dataset_building.publishers import raw, video
from m3it_jax.dataset_building.specification import WITHOUT, FramePick, SourceSpec
from m3it_jax.dataset_building.writing.order import Order, tolerated

NAME = "m3it"
EDITION = "built"

# In the order of the paper's Table 7 (arXiv 2306.04387, appendix A); the names are the released data set's configs.
NAMES: tuple[str, ...] = (
    "coco",
    "textcap",
    "image-paragraph-captioning",
    "coco-goi",
    "coco-text",
    "imagenet",
    "coco-itm",
    "snli-ve",
    "mocheg",
    "iqa",
    "vqa-v2",
    "shapes",
    "docvqa",
    "ocr-vqa",
    "st-vqa",
    "text-vqa",
    "gqa",
    "okvqa",
    "a-okvqa",
    "science-qa",
    "viquae",
    "clevr",
    "nlvr",
    "vcr",
    "visual-mrc",
    "winoground",
    "vist",
    "visual-dialog",
    "multi30k",
    "fm-iqa",
    "coco-cn",
    "flickr8k-cn",
    "chinese-food",
    "mmchat",
    "ss",
    "ivqa",
    "msvd-qa",
    "activitynet-qa",
    "msrvtt-qa",
    "msrvtt",
)

_CARD = """\
M3IT (arXiv 2306.04387), built by m3it_jax from its publishers' own files; the sources below are those that were built.

## How it was made

Each source has one converter, `m3it sources NAME` says which rows it takes. Instructions are our own, at least ten for
each source; `meta.origin` is the publisher's own id of a row, `meta.licence` its terms, `meta.changes` what was done to
it. Rows that could not be used stand in `rejected.jsonl` beside the shards, each with its place and reason.

Read it with `tfds.builder_from_directory("<this folder>/<source>/<version>")`; `m3it check` verifies every byte of it.
"""


def load(name: str) -> SourceSpec:
    """Returns the specification of one of the 40 sources.

    Raises:
      UserError: there is no such source.
    """
    if name not in NAMES:
        raise errors.UserError(f"there is no source {name!r}; `m3it sources` lists the {len(NAMES)}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    spec: SourceSpec = module.SPEC
    return spec


def loss(names: Sequence[str], allow: tuple[str, ...]) -> list[str]:
    """Returns a line for each task that loses sources to `allow`: how many of the paper's records, and which."""
    named = [load(name) for name in dict.fromkeys(names or NAMES)]
    lost = [spec for spec in named if not licences.allowed(spec.licence, allow)]
    lines = []
    for task in dict.fromkeys(spec.task for spec in lost):
        every = sum(_expected(spec) for spec in named if spec.task == task)
        gone = [spec for spec in lost if spec.task == task]
        share = f"{sum(map(_expected, gone)):,} of {every:,} records"
        told = ", ".join(f"{spec.name} ({spec.licence})" for spec in gone)
        lines.append(f"--allow {' '.join(allow)}: {task} loses {share}: {told}")
    return lines


def _expected(spec: SourceSpec) -> int:
    return sum(spec.published.counts.values()) if spec.published else 0


def chosen(names: Sequence[str], allow: tuple[str, ...]) -> tuple[SourceSpec, ...]:
    """Returns the named sources, all 40 if none is named, whose licence allows what is asked for.

    Raises:
      UserError: there is no such source, or none is allowed.
    """
    named = tuple(load(name) for name in dict.fromkeys(names or NAMES))
    specs = tuple(spec for spec in named if licences.allowed(spec.licence, allow))
    if not specs:
        raise errors.UserError(f"--allow {' '.join(allow)}: no source that was named is under such a licence")
    return specs


def folders(raw_folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the raw folders that are there, by source."""
    return {name: raw_folder / name for name in NAMES if (raw_folder / name).is_dir()}


def skipped(spec: SourceSpec, found: Mapping[str, pathlib.Path]) -> dict[str, list[str]]:
    """Returns the splits of a source whose own files are not there, each with these; none if nothing could be built.

    Raises:
      UserError: as `raw.absent`.
    """
    absent = [file for file in raw.absent(spec, found) if not file.optional]
    splits = {file.split for file in absent}
    known = spec.published.counts if spec.published else {}
    if "" in splits or not {split for split, number in known.items() if number} - splits:
        return {}
    return {split: [file.path for file in absent if file.split == split] for split in sorted(splits)}


def _with_what_is_there(spec: SourceSpec, found: Mapping[str, pathlib.Path]) -> SourceSpec:
    """Returns a source without the splits whose own files are missing."""
    gone = skipped(spec, found)
    if not gone:
        return spec
    rows = {**spec.rows, **dict.fromkeys(gone, 0)}
    return dataclasses.replace(spec, rows=rows, settings={**spec.settings, WITHOUT: list(gone)})


def order(
    out: pathlib.Path,
    raw_folder: pathlib.Path,
    names: Sequence[str] = (),
    *,
    seed: int = 0,
    limit: int | None = None,
    frames: str = "uniform",
    allow: tuple[str, ...] = (),
    max_bad: float | None = None,
    beam_options: tuple[str, ...] | None = None,
) -> Order:
    """Returns the order that builds the named sources, all 40 if none is named, from `raw_folder/<source>/`.

    Sources whose licence does not allow what `allow` asks for are left out; `loss` tells which.
    `frames` is a key of `video.PICKS`; `max_bad` the share of a split's rows (0..1) that may be bad, as of `tolerated`;
    `beam_options` is Beam's own command line, None takes processes.

    Raises:
      UserError: there is no such source, or a raw file that one cannot do without is missing.
    """
    found = folders(raw_folder)
    specs = tuple(_with_what_is_there(spec, found) for spec in chosen(names, allow))
    lacking = [path for spec in specs for path in raw.missing(spec, found)]
    if lacking:
        listed = ", ".join(lacking[:6]) + (f" and {len(lacking) - 6} more" if len(lacking) > 6 else "")
        raise errors.UserError(f"{raw_folder}: lacks {listed}; `m3it sources NAME` says where to get them")
    pick: FramePick = video.PICKS[frames](seed)
    return Order(
        out,
        NAME,
        EDITION,
        specs,
        introduction=_CARD,
        folders=found,
        seed=seed,
        limit=limit,
        pick=pick,
        allow=allow,
        **tolerated(max_bad),
        beam_options=beam_options,
        settings={"frames": frames},
    )
