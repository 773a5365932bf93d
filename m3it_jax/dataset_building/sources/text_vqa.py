"""TextVQA: questions about text in everyday pictures."""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, vqa_files
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

_SPLITS = {"train": "train_images", "test": "test_images"}
_URL = "https://dl.fbaipublicfiles.com/textvqa"
_question_id = adapters.publisher_id("question_id")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question drawn, with the texts that the publisher's OCR found in its picture."""
    if split not in _SPLITS:
        return
    folder = raw.RawFolder(SPEC, assets)
    name = f"TextVQA_0.5.1_{split}.json"
    if split == "test" and not folder.exists(name):
        return
    rows = list(adapters.drawn(folder.json_elements(name, "data"), SPEC, split, seed=seed, key=_question_id))
    found = _ocr(folder, split, {row["image_id"] for _, row in rows if _has_picture(row)})

    def draft(row: Any) -> Draft:
        answers = vqa_files.given_answers(row, split)
        image_id = raw.field(row, "image_id")
        return Draft(
            skill="text-vqa",
            inputs=raw.field(row, "question").strip(),
            outputs=vqa_files.most_common(answers),
            images=(folder.picture(f"{_SPLITS[split]}/{image_id}.jpg"),),
            group=f"{image_id}.jpg",
            references=answers,
            origin=str(raw.field(row, "question_id", (int, str))),
            origin_split=split,
            extra={"ocr": found[image_id]} if image_id in found else {},
        )

    yield from adapters.converted(rows, draft)


def _has_picture(row: Any) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("image_id"), str)


def _ocr(folder: raw.RawFolder, split: str, image_ids: set[str]) -> dict[str, list[str]]:
    """Returns the texts found in each of the pictures; nothing if the publisher's OCR file is not there."""
    name = f"TextVQA_Rosetta_OCR_v0.2_{split}.json"
    if not folder.exists(name):
        return {}
    found = {}
    for _, row in folder.json_elements(name, "data"):
        if _has_picture(row) and row["image_id"] in image_ids and isinstance(row.get("ocr_tokens"), list):
            found[row["image_id"]] = [str(text) for text in row["ocr_tokens"]]
    return found


SPEC = SourceSpec(
    name="text-vqa",
    task="vqa",
    language="en",
    pool="vqa/text-vqa",
    drafts=drafts,
    rows={},
    licence="CC BY 4.0 (annotations; pictures: OpenImages, CC BY 2.0)",
    citation="Singh et al., Towards VQA Models That Can Read, CVPR 2019",
    url="https://textvqa.org",
    known_problems="Some pictures of OpenImages lie on their side, and their files do not say so. Some answers say "
    "that the question cannot be answered or needs no reading.",
    published=Published(
        held_out=False,
        counts={"train": 27_113, "validation": 0, "test": 5_734},
        raw=(
            RawFile(
                "TextVQA_0.5.1_train.json",
                "34,602 questions: {data: [{question_id, image_id, question, answers (ten)}]}",
                url=f"{_URL}/data/TextVQA_0.5.1_train.json",
            ),
            RawFile(
                "TextVQA_0.5.1_test.json",
                "5,734 questions without answers",
                url=f"{_URL}/data/TextVQA_0.5.1_test.json",
                optional=True,
            ),
            RawFile(
                "TextVQA_Rosetta_OCR_v0.2_train.json",
                "context for the paraphraser: {data: [{image_id, ocr_tokens}]}",
                url=f"{_URL}/data/TextVQA_Rosetta_OCR_v0.2_train.json",
                optional=True,
            ),
            RawFile(
                "TextVQA_Rosetta_OCR_v0.2_test.json",
                "likewise",
                url=f"{_URL}/data/TextVQA_Rosetta_OCR_v0.2_test.json",
                optional=True,
            ),
            RawFile("train_images/", "JPEGs by image_id", url=f"{_URL}/images/train_val_images.zip"),
            RawFile("test_images/", "JPEGs by image_id", url=f"{_URL}/images/test_images.zip", optional=True),
        ),
        selection="27,113 questions drawn from the train file, and the test file. The publisher keeps the answers of "
        "its test: a test row without answers is set aside as `answer-withheld`, which counts as no fault. The most "
        "common of the ten answers is the answer, all ten are references.",
        known_from=(
            "google-research/big_vision, datasets/textvqa/textvqa.py (addresses, files, keys, no answers in the test "
            "file, pictures that lie on their side)",
        ),
        unverified=(
            "Why the paper has 27,113 of 34,602 train rows; we draw by seed and question id.",
            "Which answers the paper's 5,734 test rows have, since the publisher gives none.",
            "Whether the paper paraphrased these answers.",
            "That the key ocr_tokens of the OCR files is a list of texts.",
        ),
        paraphrase="ocr",
        withheld=("test",),
    ),
)
