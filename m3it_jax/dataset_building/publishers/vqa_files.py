"""Question and annotation files as VQA ships them (visualqa.org) and OK-VQA too, and the pictures of COCO 2014."""

import collections
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Draft, RawFile, RowError, SourceSpec

# The folders of COCO 2014, as most sources on its pictures need them.
COCO_FOLDERS = (
    RawFile("train2014/", "82,783 JPEGs of COCO", url="http://images.cocodataset.org/zips/train2014.zip"),
    RawFile("val2014/", "40,504 JPEGs of COCO", url="http://images.cocodataset.org/zips/val2014.zip"),
)
# The same where each split asks about the pictures of one of them.
COCO_FOLDERS_OF_SPLITS = tuple(
    dataclasses.replace(folder, split=split)
    for folder, split in zip(COCO_FOLDERS, ("train", "validation"), strict=True)
)

_question_id = adapters.publisher_id("question_id")


@dataclasses.dataclass(frozen=True)
class Files:
    """The files of one split.

    Attributes:
      questions: {questions: [{question_id, image_id, question}]}.
      annotations: {annotations: [{question_id, answers: [{answer, ...}], ...}]}.
      pictures: Folder of COCO that the split's pictures lie in: `train2014` or `val2014`.
    """

    questions: str
    annotations: str
    pictures: str


def joined(folder: raw.RawFolder, files: Files, spec: SourceSpec, *, split: str, seed: int) -> list[tuple[str, Any]]:
    """Returns (place, row) of the drawn questions; each row is question and annotation in one.

    A question without an annotation has no `answers`.
    """
    rows = folder.json_elements(files.questions, "questions")
    questions = list(adapters.drawn(rows, spec, split, seed=seed, key=_question_id))
    annotations: dict[str, Any] = {_question_id(item): {} for item in questions}
    for item in folder.json_elements(files.annotations, "annotations"):
        if _question_id(item) in annotations and isinstance(item[1], Mapping):
            annotations[_question_id(item)] = item[1]
    return [
        (place, {**annotations[_question_id((place, row))], **row} if isinstance(row, Mapping) else row)
        for place, row in questions
    ]


def texts(row: Any, name: str) -> tuple[str, ...]:
    """Returns the texts of a row's list, for instance all right answers.

    Raises:
      RowError: `missing-field` or `wrong-type`.
    """
    given = raw.field(row, name, list)
    if not all(isinstance(text, str) for text in given):
        raise RowError("wrong-type", f"field {name!r} must hold texts only")
    return tuple(text.strip() for text in given)


def given_answers(row: Any, split: str) -> tuple[str, ...]:
    """Returns the list `answers` of a row whose publisher keeps those of its test questions.

    Raises:
      RowError: `answer-withheld`: a row of the test has none; `missing-field` or `wrong-type`.
    """
    if split == "test" and isinstance(row, Mapping) and not row.get("answers"):
        raise RowError("answer-withheld", "the publisher keeps the answers of its test questions")
    return texts(row, "answers")


def answers(row: Any, name: str = "answer") -> tuple[str, ...]:
    """Returns the annotators' answers, with repetitions, which the metric of VQA counts.

    Raises:
      RowError: `missing-field` or `wrong-type`.
    """
    return tuple(raw.field(given, name).strip() for given in raw.field(row, "answers", list))


def most_common(texts: Sequence[str]) -> str:
    """Returns the text that comes most often, the first of several.

    Raises:
      RowError: `no-answer`: there is none.
    """
    if not texts:
        raise RowError("no-answer", "has an empty list of answers")
    return collections.Counter(texts).most_common(1)[0][0]


def coco_picture(pictures: str, image_id: int) -> str:
    """Returns COCO 2014's name of a picture in its folder `pictures`."""
    return f"COCO_{pictures}_{image_id:012d}.jpg"


def captions(folder: raw.RawFolder, pictures: str, image_ids: Collection[int]) -> dict[int, str]:
    """Returns COCO's first caption of each of the pictures; nothing if the folder does not hold COCO's captions."""
    name = f"annotations/captions_{pictures}.json"
    found: dict[int, str] = {}
    if folder.exists(name):
        for _, row in folder.json_elements(name, "annotations"):
            if isinstance(row, Mapping) and isinstance(row.get("image_id"), int) and row["image_id"] in image_ids:
                found.setdefault(row["image_id"], str(row.get("caption", "")).strip())
    return found


def draft(folder: raw.RawFolder, row: Any, pictures: str, **fields: Any) -> Draft:
    """Returns the draft of a joined row; `fields` are those of `Draft` that the source decides.

    Raises:
      RowError: `missing-field` or `wrong-type`.
    """
    picture = coco_picture(pictures, raw.field(row, "image_id", int))
    return Draft(
        inputs=raw.field(row, "question").strip(),
        images=(folder.picture(f"{pictures}/{picture}"),),
        group=picture,
        origin=str(raw.field(row, "question_id", (int, str))),
        origin_split=pictures,
        **fields,
    )
