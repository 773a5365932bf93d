"""OCR-VQA: questions about the covers of books."""

import pathlib
import urllib.parse
from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import (
    Assets,
    Draft,
    Published,
    RawFile,
    Rejected,
    RowError,
    SourceSpec,
)

ANNOTATIONS = "dataset.json"

# Our split -> the publisher's number of it; 3 is its test, which the paper does not use.
_SPLITS = {"train": 1, "validation": 2}

# Mirrors have covers under these endings, whatever they hold and whatever their addresses end with.
_RENAMED = (".jpg", ".png", ".jpeg")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question drawn."""
    if split not in _SPLITS:
        return
    folder = raw.RawFolder(SPEC, assets)
    rows = adapters.drawn(_questions(folder, _SPLITS[split]), SPEC, split, seed=seed, key=_key)
    yield from adapters.converted(rows, lambda asked: _draft(folder, asked))


def _questions(folder: raw.RawFolder, wanted: int) -> Iterator[adapters.Placed]:
    """Yields (place, (book, its row, number of the question)) for each question of the publisher's split."""
    for book, row in folder.json_members(ANNOTATIONS):
        place = f"{ANNOTATIONS}: {book}"
        try:
            if raw.field(row, "split", int) == wanted:
                for number in range(len(raw.field(row, "questions", list))):
                    yield f"{place}/{number}", (book, row, number)
        except RowError as error:
            yield Rejected(place, error.reason, str(error))


def _key(row: adapters.Placed) -> str:
    return row.place if isinstance(row, Rejected) else row[0]


def _draft(folder: raw.RawFolder, asked: tuple[str, Any, int]) -> Draft:
    book, row, number = asked
    question, answers = row["questions"][number], raw.field(row, "answers", list)
    if number >= len(answers) or not isinstance(answers[number], str) or not isinstance(question, str):
        raise RowError("no-answer", f"question {number} has no answer that is text")
    # The publisher's download script names a file by the book's id and the ending of its address.
    ending = pathlib.PurePosixPath(urllib.parse.urlsplit(raw.field(row, "imageURL")).path).suffix
    return Draft(
        skill="ocr-vqa",
        inputs=question.strip(),
        outputs=answers[number].strip(),
        images=(folder.picture(*(f"images/{book}{each}" for each in dict.fromkeys((ending, *_RENAMED)))),),
        group=f"{book}{ending}",
        origin=f"{book}/{number}",
        origin_split=str(row["split"]),
    )


SPEC = SourceSpec(
    name="ocr-vqa",
    task="vqa",
    language="en",
    pool="vqa/ocr-vqa",
    drafts=drafts,
    rows={},
    licence="Unknown (covers: copyright of their publishers)",
    citation="Mishra et al., OCR-VQA, ICDAR 2019",
    url="https://ocr-vqa.github.io",
    known_problems="The pictures are fetched from a shop; covers that it no longer has are missing. A few of the files "
    "are GIF and become PNG.",
    published=Published(
        held_out=False,
        counts={"train": 11_414, "validation": 4_940, "test": 0},
        raw=(
            RawFile(
                ANNOTATIONS,
                "{book: {imageURL, title, authorName, genre, questions, answers, split (1 train, 2 validation, "
                "3 test)}}",
            ),
            RawFile(
                "images/", "book covers, <book> and the ending of imageURL, as loadDataset.py fetches them, or .jpg"
            ),
        ),
        selection="11,414 questions drawn from the publisher's split 1 and 4,940 from its split 2.",
        known_from=(
            "open-mmlab/mmpretrain, mmpretrain/datasets/ocr_vqa.py (an example row, splits 1, 2, 3, names of pictures)",
        ),
        unverified=(
            "That the publisher's script, loadDataset.py, puts the pictures into images/.",
            "How the paper drew 11,414 and 4,940 rows; we draw single questions by seed, book and number.",
            "Whether the paper paraphrased these answers; the publisher ships no OCR texts that could help.",
        ),
        paraphrase="ocr",
    ),
)
