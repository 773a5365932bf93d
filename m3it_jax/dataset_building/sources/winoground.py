"""Winoground: which of two captions with the same words fits a picture? Two pictures of each example."""

import functools
from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

EXAMPLES = "data/examples.jsonl"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields two drafts for each example: one for each picture, with the same two captions."""
    del seed
    if split != "test":
        return
    folder = raw.RawFolder(SPEC, assets)
    for number in (0, 1):
        rows = folder.json_lines(EXAMPLES)
        yield from adapters.converted(rows, functools.partial(_draft, folder, number))


def _draft(folder: raw.RawFolder, number: int, row: Any) -> Draft:
    captions = tuple(raw.field(row, f"caption_{place}").strip() for place in (0, 1))
    picture = f"{raw.field(row, f'image_{number}')}.png"
    return Draft(
        skill="winoground",
        inputs=adapters.options_text(captions),
        outputs=adapters.lettered(captions)[number],
        images=(folder.picture(f"data/images/{picture}"),),
        group=picture,
        options=captions,
        origin=f"{raw.field(row, 'id', int)}/{number}",
        origin_split="test",
        extra={"tag": raw.field(row, "collapsed_tag")},
    )


SPEC = SourceSpec(
    name="winoground",
    task="reasoning",
    language="en",
    pool="reasoning/winoground",
    drafts=drafts,
    rows={},
    licence="Unknown by the paper; its publisher: Meta Images Research License (research only)",
    citation="Thrush et al., Winoground, CVPR 2022",
    url="https://huggingface.co/datasets/facebook/winoground",
    known_problems="The two rows of an example belong together: both right is the publisher's text score.",
    published=Published(
        held_out=True,
        counts={"train": 0, "validation": 0, "test": 800},
        raw=(
            RawFile(
                EXAMPLES,
                "400 lines {id, image_0, image_1, caption_0, caption_1, collapsed_tag, ...}",
            ),
            RawFile("data/images/", "800 PNGs (data/images.zip), `<image_0 or image_1>.png`"),
        ),
        selection="All 400 examples, two rows each: a picture, both captions as options, its own caption the answer.",
        known_from=(
            "the publisher's loading script winoground.py on the hub, facebook/winoground (files and fields)",
            "the hub's instructions for winoground (choose one of two captions with the same words)",
            "size of the hub's winoground_test.jsonl: one picture a row",
        ),
        unverified=("How the two captions are marked in the input, and whether the answer carries the mark.",),
    ),
)
