"""VQA v2: open questions about COCO pictures, drawn from its train and validation questions."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, vqa_files
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

_FILES = {
    "train": vqa_files.Files(
        "v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json", "train2014"
    ),
    "validation": vqa_files.Files(
        "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json", "val2014"
    ),
}
_ZIPS = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
_COCO_ZIP = "http://images.cocodataset.org/annotations/annotations_trainval2014.zip"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question drawn, with COCO's caption of its picture where the captions are there."""
    if split not in _FILES:
        return
    folder = raw.RawFolder(SPEC, assets)
    files = _FILES[split]
    rows = vqa_files.joined(folder, files, SPEC, split=split, seed=seed)
    wanted = {row["image_id"] for _, row in rows if isinstance(row, dict) and isinstance(row.get("image_id"), int)}
    captions = vqa_files.captions(folder, files.pictures, wanted)

    def draft(row: Any) -> Draft:
        caption = captions.get(raw.field(row, "image_id", int))
        return vqa_files.draft(
            folder,
            row,
            files.pictures,
            skill="vqa-v2",
            outputs=raw.field(row, "multiple_choice_answer").strip(),
            references=vqa_files.answers(row),
            extra={"caption": caption} if caption else {},
        )

    yield from adapters.converted(rows, draft)


SPEC = SourceSpec(
    name="vqa-v2",
    task="vqa",
    language="en",
    pool="vqa/vqa-v2",
    drafts=drafts,
    rows={},
    licence="CC BY 4.0 (annotations; pictures: Flickr terms)",
    citation="Goyal et al., Making the V in VQA Matter, CVPR 2017",
    url="https://visualqa.org",
    known_problems="The ten annotators disagree on many questions; the most common answer is then a weak one.",
    published=Published(
        held_out=False,
        counts={"train": 30_000, "validation": 30_000, "test": 0},
        raw=(
            RawFile(
                _FILES["train"].questions,
                "443,757 questions: {questions: [{question_id, image_id, question}]}",
                url=f"{_ZIPS}/v2_Questions_Train_mscoco.zip",
                split="train",
            ),
            RawFile(
                _FILES["train"].annotations,
                "{annotations: [{question_id, multiple_choice_answer, answers: [{answer}] (ten), ...}]}",
                url=f"{_ZIPS}/v2_Annotations_Train_mscoco.zip",
                split="train",
            ),
            RawFile(
                _FILES["validation"].questions,
                "214,354 questions",
                url=f"{_ZIPS}/v2_Questions_Val_mscoco.zip",
                split="validation",
            ),
            RawFile(
                _FILES["validation"].annotations,
                "their annotations",
                url=f"{_ZIPS}/v2_Annotations_Val_mscoco.zip",
                split="validation",
            ),
            RawFile(
                "annotations/captions_train2014.json",
                "COCO's captions, context for the paraphraser: {annotations: [{image_id, caption}]}",
                url=_COCO_ZIP,
                optional=True,
            ),
            RawFile("annotations/captions_val2014.json", "likewise", url=_COCO_ZIP, optional=True),
            *vqa_files.COCO_FOLDERS_OF_SPLITS,
        ),
        borrows=("coco",),
        selection="30,000 questions drawn from the train file and 30,000 from the validation file. The most common of "
        "the ten answers is the answer, all ten are references.",
        known_from=(
            "google-research/big_vision, datasets/vqa/vqa.py (addresses, files, keys, names of pictures)",
            "phiyodr/vqaloader, README.md (443,757 and 214,354 questions)",
            "M3IT paper, Table 7 (counts), Table 8 (the paraphraser sees a caption of the picture)",
        ),
        unverified=(
            "How the paper drew its 30,000 questions; we draw by seed and question id.",
            "Which of COCO's five captions the paraphraser saw; we take the first.",
            "The layout of COCO's caption files, which were not at hand.",
        ),
        paraphrase="caption",
        fallback="The answer is {}",
    ),
)
