"""A-OKVQA: questions about COCO pictures with rationales; the answer closes the reasons."""

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

_SPLITS = {"train": "train", "validation": "val"}
_question_id = adapters.publisher_id("question_id")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question of a split."""
    if split not in _SPLITS:
        return
    folder = raw.RawFolder(SPEC, assets)
    name = _SPLITS[split]
    rows = folder.json_elements(f"aokvqa_v1p0_{name}.json")
    rows = adapters.drawn(rows, SPEC, split, seed=seed, key=_question_id)
    yield from adapters.converted(rows, lambda row: _draft(folder, row, name))


def _draft(folder: raw.RawFolder, row: Any, name: str) -> Draft:
    choices = raw.field(row, "choices", list)
    place = raw.field(row, "correct_choice_idx", int)
    if not 0 <= place < len(choices) or not isinstance(choices[place], str):
        raise RowError("no-answer", f"correct_choice_idx {place} names none of the {len(choices)} choices")
    answer = choices[place].strip()
    rationales = [text.strip() for text in raw.field(row, "rationales", list) if isinstance(text, str) and text.strip()]
    if not rationales:
        raise RowError("no-rationale", "has no rationale")
    sentences = tuple(f"{_closed(rationale)} So the answer is {answer}." for rationale in rationales)
    image_id = raw.field(row, "image_id", int)
    return Draft(
        skill="a-okvqa",
        inputs=raw.field(row, "question").strip(),
        outputs=sentences[0],
        images=(folder.picture(f"{name}2017/{image_id:012d}.jpg"),),
        group=_group(name, image_id),
        references=sentences,
        origin=raw.field(row, "question_id"),
        origin_split=name,
        extra={"answer": answer, "choices": choices, "direct_answers": raw.field(row, "direct_answers", list)},
    )


def _closed(rationale: str) -> str:
    """Returns a rationale that ends as a sentence does; many of the publisher's lack the full stop."""
    return rationale if rationale.endswith((".", "!", "?")) else f"{rationale}."


def _group(name: str, image_id: int) -> str:
    """Returns the picture's name in COCO 2014, so that other sources on COCO share the group.

    val2017 comes from val2014; train2017 from both folders of 2014, so both names are told. Numbers are unique.
    """
    folders = ("train2014", "val2014") if name == "train" else ("val2014",)
    return "+".join(vqa_files.coco_picture(pictures, image_id) for pictures in folders)


SPEC = SourceSpec(
    name="a-okvqa",
    task="knowledge_vqa",
    language="en",
    pool="knowledge_vqa/a-okvqa",
    drafts=drafts,
    rows={},
    licence="Unknown (the publisher's repository is under Apache 2.0; pictures: Flickr terms)",
    citation="Schwenk et al., A-OKVQA, ECCV 2022",
    url="https://allenai.org/project/a-okvqa/home",
    known_problems="Rationales were written by crowd workers and vary in style; some lack a capital letter.",
    published=Published(
        held_out=False,
        counts={"train": 17_056, "validation": 1_145, "test": 0},
        raw=(
            RawFile(
                "aokvqa_v1p0_train.json",
                "17,056 rows: [{question_id, image_id, question, choices, correct_choice_idx, direct_answers, "
                "rationales}]",
                url="https://prior-datasets.s3.us-east-2.amazonaws.com/aokvqa/aokvqa_v1p0.tar.gz",
                split="train",
            ),
            RawFile(
                "aokvqa_v1p0_val.json",
                "1,145 rows",
                url="https://prior-datasets.s3.us-east-2.amazonaws.com/aokvqa/aokvqa_v1p0.tar.gz",
                split="validation",
            ),
            RawFile(
                "train2017/",
                "118,287 JPEGs of COCO",
                url="http://images.cocodataset.org/zips/train2017.zip",
                split="train",
            ),
            RawFile(
                "val2017/",
                "5,000 JPEGs of COCO",
                url="http://images.cocodataset.org/zips/val2017.zip",
                split="validation",
            ),
        ),
        borrows=("coco",),
        selection="All questions of the train and the validation file, one row each: the first rationale, then the "
        "right choice as the answer. All three rationales are references.",
        known_from=(
            "allenai/aokvqa, README.md (address, keys of a row, pictures of COCO 2017)",
            "google-research/big_vision, datasets/aokvqa/aokvqa.py (files, keys, pictures of COCO 2017)",
            "M3IT's loading script at the hub: `{rationale} So the answer is {answer}.`, one row for each question",
        ),
        unverified=(
            "Which of the three rationales the paper took; we take the first.",
            "Whether a missing full stop was put behind a rationale; we put it there.",
            "The released second version merged rationale and answer by ChatGPT; that text is not made here.",
        ),
        paraphrase="question",
        fallback="{}",  # the first form is a whole sentence already
    ),
)
