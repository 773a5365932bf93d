"""DocVQA (single page): questions about scanned pages of documents."""

from collections.abc import Iterator
from typing import Any

from m3it_jax import errors
from m3it_jax.dataset_building.publishers import adapters, raw, vqa_files
from m3it_jax.dataset_building.specification import (
    Assets,
    Draft,
    Published,
    RawFile,
    Rejected,
    RowError,
    SourceSpec,
)

_SPLITS = {"train": "train", "validation": "val"}
_question_id = adapters.publisher_id("questionId")


def _questions(name: str) -> tuple[str, ...]:
    """Returns where the questions lie as the publisher hands them out today."""
    return tuple(f"{folder}{name}_v1.0_withQT.json" for folder in ("spdocvqa_qas/", f"{name}/", ""))


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question of a split, with the lines of the publisher's OCR where they are there."""
    if split not in _SPLITS:
        return
    folder = raw.RawFolder(SPEC, assets)
    name = _SPLITS[split]
    rows = folder.json_elements(folder.first(f"{name}/{name}_v1.0.json", *_questions(name)), "data")
    rows = adapters.drawn(rows, SPEC, split, seed=seed, key=_question_id)
    yield from adapters.converted(rows, lambda row: _draft(folder, row, name))


def _draft(folder: raw.RawFolder, row: Any, name: str) -> Draft:
    answers = vqa_files.texts(row, "answers")
    picture = raw.field(row, "image")
    page = picture.rsplit("/", 1)[-1]
    lines = f"{page.rsplit('.', 1)[0]}.json"
    ocr = _ocr(folder, folder.first(f"{name}/ocr_results/{lines}", f"spdocvqa_ocr/{lines}"))
    return Draft(
        skill="docvqa",
        inputs=raw.field(row, "question").strip(),
        outputs=vqa_files.most_common(answers),
        images=(folder.picture(f"{name}/{picture}", f"spdocvqa_images/{page}"),),
        group=page,
        references=answers,
        origin=str(raw.field(row, "questionId", (int, str))),
        origin_split=name,
        extra={"ocr": ocr} if ocr else {},
    )


def _ocr(folder: raw.RawFolder, name: str) -> list[str]:
    """Returns the lines of a page, top to bottom, as the publisher's OCR read them; none without its file.

    Raises:
      RowError: `ocr-unreadable`.
    """
    if not folder.exists(name):
        return []
    try:
        pages = raw.field(folder.json(name), "recognitionResults", list)
        return [raw.field(line, "text") for page in pages for line in raw.field(page, "lines", list)]
    except (errors.UserError, RowError) as error:
        raise RowError("ocr-unreadable", f"{name}: {error}") from error


SPEC = SourceSpec(
    name="docvqa",
    task="vqa",
    language="en",
    pool="vqa/docvqa",
    drafts=drafts,
    rows={},
    licence="Unknown (pages: UCSF Industry Documents Library)",
    citation="Mathew et al., DocVQA, WACV 2021",
    url="https://rrc.cvc.uab.es/?ch=17",
    known_problems="Answers keep the capital letters of the page; some questions have several right spellings.",
    published=Published(
        held_out=False,
        counts={"train": 39_463, "validation": 5_349, "test": 0},
        raw=(
            RawFile(
                "train/train_v1.0.json",
                "39,463 questions: {data: [{questionId, question, image, answers}]}; `image` is documents/<page>.png",
                split="train",
                instead=_questions("train"),
            ),
            RawFile("train/documents/", "PNG pages", split="train", instead=("spdocvqa_images/",)),
            RawFile(
                "train/ocr_results/",
                "context for the paraphraser, <page>.json: {recognitionResults: [{lines: [{text}]}]}",
                optional=True,
                instead=("spdocvqa_ocr/",),
            ),
            RawFile("val/val_v1.0.json", "5,349 questions", split="validation", instead=_questions("val")),
            RawFile("val/documents/", "PNG pages", split="validation", instead=("spdocvqa_images/",)),
            RawFile("val/ocr_results/", "likewise", optional=True, instead=("spdocvqa_ocr/",)),
        ),
        selection="All questions of the train and the validation file. The first answer, or the most common, is the "
        "answer, all are references.",
        known_from=(
            "google-research/big_vision, datasets/docvqa/docvqa.py (keys, pictures under train/ and val/)",
            "M3IT paper, Table 7: 39,463 and 5,349 are all questions",
        ),
        unverified=(
            "That all of today's questions, spdocvqa_qas/train_v1.0_withQT.json, are those of train_v1.0.json.",
            "The folder ocr_results/; the form of its files is that of Microsoft's Read service, as public converters "
            "of DocVQA expect it.",
            "Whether the paper paraphrased these answers.",
        ),
        paraphrase="ocr",
    ),
)
