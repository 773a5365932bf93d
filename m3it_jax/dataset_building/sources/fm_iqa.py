"""FM-IQA: Chinese questions and answers about COCO pictures."""

from collections.abc import Iterator
from typing import Any

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

ANNOTATIONS = "FM-IQA.json"

# Our split -> the list in the file, and the folder of COCO that its pictures lie in.
_SPLITS = {"train": ("train", "train2014"), "validation": ("val", "val2014")}
_question_id = adapters.publisher_id("question_id")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question of a split."""
    if split not in _SPLITS:
        return
    folder = raw.RawFolder(SPEC, assets)
    name, pictures = _SPLITS[split]
    rows = adapters.drawn(folder.json_elements(ANNOTATIONS, name), SPEC, split, seed=seed, key=_question_id)
    yield from adapters.converted(rows, lambda row: _draft(folder, row, name=name, pictures=pictures))


def _draft(folder: raw.RawFolder, row: Any, *, name: str, pictures: str) -> Draft:
    image_id = str(raw.field(row, "image_id", (str, int)))
    if not (image_id.isascii() and image_id.isdigit() and len(image_id) <= 12):
        raise RowError("wrong-type", f"field 'image_id' is {image_id!r}, must be a number of COCO")
    picture = vqa_files.coco_picture(pictures, int(image_id))
    return Draft(
        skill="fm-iqa",
        inputs=raw.field(row, "Question").strip(),
        outputs=raw.field(row, "Answer").strip(),
        images=(folder.picture(f"{pictures}/{picture}"),),
        group=picture,
        origin=str(raw.field(row, "question_id", (str, int))),
        origin_split=name,
    )


SPEC = SourceSpec(
    name="fm-iqa",
    task="chinese",
    language="zh",
    pool="chinese/fm-iqa",
    drafts=drafts,
    rows={},
    licence="Unknown (pictures: Flickr terms)",
    citation="Gao et al., Are You Talking to a Machine?, NIPS 2015",
    url="http://idl.baidu.com/FM-IQA.html",
    known_problems="The publisher's first page is gone; the file lies at the address given under the original files.",
    published=Published(
        held_out=True,
        counts={"train": 164_735, "validation": 75_206, "test": 0},
        raw=(
            RawFile(
                ANNOTATIONS,
                "the one file in the archive, under this name: {train: [{question_id, image_id, Question, Answer}], "
                "val: [...]}",
                url="http://research.baidu.com/Public/uploads/5ac9e10bdd572.gz",
            ),
            *vqa_files.COCO_FOLDERS,
        ),
        borrows=("coco",),
        selection="All questions of both lists, in Chinese.",
        known_from=(
            "mindspore-ai's omni-perception-pretrainer, README and src/data (address, lists train and val, keys "
            "question_id, image_id, Question, Answer; pictures of train2014 and val2014)",
            "M3IT paper, Table 7: 164,735 and 75,206 are all questions that the publisher released",
        ),
        unverified=(
            "Whether image_id is text or a number; both are taken.",
            "The fallback sentence in Chinese is ours.",
        ),
        paraphrase="question",
        fallback="答案是{}。",
    ),
)
