"""ScienceQA: school questions with options; half of them have a picture, the others get a blank one."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

PROBLEMS = "problems.json"
SPLITS = {"train": "train", "validation": "val", "test": "test"}
# CHOICE: a record needs a picture; 224 is the side of the model's input (arXiv 2306.04387, section 4.1).
_BLANK = np.full((224, 224, 3), 255, np.uint8)


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question of a split."""
    del seed
    folder = raw.RawFolder(SPEC, assets)
    yield from adapters.converted(_rows(folder, SPLITS[split]), lambda row: _draft(folder, row, SPLITS[split]))


def _rows(folder: raw.RawFolder, split: str) -> Iterator[tuple[str, Any]]:
    """Yields the questions of a split, and in every split those that belong to none."""
    for number, row in folder.json_members(PROBLEMS):
        named = row.get("split") if isinstance(row, Mapping) else None
        if named == split or named not in SPLITS.values():
            yield f"{PROBLEMS}: {number}", {**row, "number": number} if isinstance(row, Mapping) else row


def _draft(folder: raw.RawFolder, row: Any, split: str) -> Draft:
    if raw.field(row, "split") != split:
        raise RowError("unknown-split", f"split is {row['split']!r}, must be one of {', '.join(SPLITS.values())}")
    choices = raw.field(row, "choices", list)
    place = raw.field(row, "answer", int)
    if not all(isinstance(choice, str) for choice in choices):
        raise RowError("wrong-type", "choices must be texts")
    if not 0 <= place < len(choices):
        raise RowError("no-answer", f"answer {place} names none of the {len(choices)} choices")
    number = raw.field(row, "number")
    parts = (raw.field(row, "question").strip(), raw.field(row, "hint").strip(), adapters.options_text(choices))
    pictured = row.get("image") is not None
    picture = folder.picture(f"images/{split}/{number}/{raw.field(row, 'image')}") if pictured else _BLANK
    return Draft(
        skill="science-qa",
        inputs="\n".join(part for part in parts if part),
        outputs=adapters.lettered(choices)[place],
        images=(picture,),
        group=f"science-qa-{number}",
        options=tuple(choices),
        origin=number,
        origin_split=split,
        extra={} if pictured else {"blank_picture": True},
    )


SPEC = SourceSpec(
    name="science-qa",
    task="knowledge_vqa",
    language="en",
    pool="knowledge_vqa/science-qa",
    drafts=drafts,
    rows={},
    licence="CC BY-NC-SA 4.0",
    citation="Lu et al., Learn to Explain, NeurIPS 2022",
    url="https://scienceqa.github.io",
    known_problems="About half of the questions have no picture: they come with a blank white one, marked by "
    "meta.blank_picture, which stands in every split. Some questions share a picture.",
    published=Published(
        held_out=False,
        counts={"train": 12_726, "validation": 4_241, "test": 4_241},
        raw=(
            RawFile(
                PROBLEMS,
                "{<number>: {question, choices, answer (place), hint, image (file name or null), split, ...}}",
                url="https://raw.githubusercontent.com/lupantech/ScienceQA/main/data/scienceqa/problems.json",
            ),
            *(
                RawFile(
                    f"images/{name}/",
                    "a folder for each question with a picture",
                    url=f"https://scienceqa.s3.us-west-1.amazonaws.com/images/{name}.zip",
                    split=split,
                )
                for split, name in SPLITS.items()
            ),
        ),
        selection="All questions of all three splits. Question, hint and lettered options are the input.",
        known_from=(
            "github.com/lupantech/ScienceQA (data/scienceqa/, tools/download.sh, tools/generate_caption.py)",
            "M3IT paper, Table 7: 12,726, 4,241 and 4,241 are all questions, not only those with a picture",
            "history of the hub's science_qa folder (the hint was added to the input)",
        ),
        unverified=(
            "Which picture the authors gave questions that have none.",
            "The order of question, hint and options, and whether the answer carries its letter.",
        ),
    ),
)
