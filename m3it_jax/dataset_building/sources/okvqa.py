"""OK-VQA: questions about COCO pictures that need knowledge from outside the picture."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, vqa_files
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

_FILES = {
    "train": vqa_files.Files(
        "OpenEnded_mscoco_train2014_questions.json", "mscoco_train2014_annotations.json", "train2014"
    ),
    "validation": vqa_files.Files(
        "OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json", "val2014"
    ),
}
_ZIPS = "https://okvqa.allenai.org/static/data"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question of a split."""
    if split not in _FILES:
        return
    folder = raw.RawFolder(SPEC, assets)
    files = _FILES[split]

    def draft(row: Any) -> Draft:
        # `answer` is stemmed ("surf"), which is no good sentence; `raw_answer` is what the annotator wrote.
        given = vqa_files.answers(row, "raw_answer")
        common = vqa_files.most_common(given)
        return vqa_files.draft(folder, row, files.pictures, skill="okvqa", outputs=common, references=given)

    yield from adapters.converted(vqa_files.joined(folder, files, SPEC, split=split, seed=seed), draft)


def _raw_files() -> Iterator[RawFile]:
    for split, number in (("train", "9,009"), ("validation", "5,046")):
        files = _FILES[split]
        yield RawFile(
            files.questions,
            f"{number} questions: {{questions: [{{question_id, image_id, question}}]}}",
            url=f"{_ZIPS}/{files.questions}.zip",
            split=split,
        )
        yield RawFile(
            files.annotations,
            "{annotations: [{question_id, answers: [{answer, raw_answer}] (ten), ...}]}",
            url=f"{_ZIPS}/{files.annotations}.zip",
            split=split,
        )
    yield from vqa_files.COCO_FOLDERS_OF_SPLITS


SPEC = SourceSpec(
    name="okvqa",
    task="knowledge_vqa",
    language="en",
    pool="knowledge_vqa/okvqa",
    drafts=drafts,
    rows={},
    licence="Unknown (pictures: Flickr terms)",
    citation="Marino et al., OK-VQA, CVPR 2019",
    url="https://okvqa.allenai.org",
    known_problems="The annotators disagree on many questions; the most common answer is then a weak one.",
    published=Published(
        held_out=False,
        counts={"train": 9_009, "validation": 5_046, "test": 0},
        raw=tuple(_raw_files()),
        borrows=("coco",),
        selection="All questions of the train and the validation file. The most common raw answer is the answer, all "
        "ten raw answers are references.",
        known_from=(
            "google-research/big_vision, datasets/okvqa/okvqa.py (addresses from okvqa.allenai.org, files, keys, ten "
            "answers)",
            "M3IT paper, Table 7: 9,009 and 5,046 are all questions",
        ),
        unverified=("Whether the paper took the stemmed answer or the raw one; we take the raw one.",),
        paraphrase="question",
    ),
)
