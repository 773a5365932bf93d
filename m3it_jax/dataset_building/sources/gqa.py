"""GQA: compositional questions about real pictures, drawn from the balanced questions."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

_FILES = {"train": "train_balanced_questions.json", "validation": "val_balanced_questions.json"}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question drawn."""
    if split not in _FILES:
        return
    folder = raw.RawFolder(SPEC, assets)
    name = _FILES[split]
    members = ((f"{name}: {question_id}", (question_id, row)) for question_id, row in folder.json_members(name))
    rows = adapters.drawn(members, SPEC, split, seed=seed, key=lambda member: member[1][0])
    yield from adapters.converted(rows, lambda member: _draft(folder, *member, name=name.split("_")[0]))


def _draft(folder: raw.RawFolder, question_id: str, row: Any, *, name: str) -> Draft:
    answer, sentence = raw.field(row, "answer").strip(), raw.field(row, "fullAnswer").strip()
    picture = f"{raw.field(row, 'imageId')}.jpg"
    return Draft(
        skill="gqa",
        inputs=raw.field(row, "question").strip(),
        outputs=answer,
        images=(folder.picture(f"images/{picture}"),),
        group=picture,
        references=(answer, sentence),
        origin=question_id,
        origin_split=name,
    )


SPEC = SourceSpec(
    name="gqa",
    task="vqa",
    language="en",
    pool="vqa/gqa",
    drafts=drafts,
    rows={},
    licence="CC BY 4.0 (pictures: Visual Genome, Flickr terms)",
    citation="Hudson and Manning, GQA, CVPR 2019",
    url="https://cs.stanford.edu/people/dorarad/gqa",
    known_problems="Questions are made by program from scene graphs; some read stiffly, some graphs are wrong.",
    published=Published(
        held_out=False,
        counts={"train": 30_001, "validation": 5_001, "test": 0},
        raw=(
            RawFile(
                "train_balanced_questions.json",
                "943,000 questions: {question id: {imageId, question, answer, fullAnswer, ...}}",
                url="https://downloads.cs.stanford.edu/nlp/data/gqa/questions1.2.zip",
                split="train",
            ),
            RawFile(
                "val_balanced_questions.json",
                "132,062 questions",
                url="https://downloads.cs.stanford.edu/nlp/data/gqa/questions1.2.zip",
                split="validation",
            ),
            RawFile("images/", "JPEGs by imageId", url="https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip"),
        ),
        selection="30,001 questions drawn from the balanced train file and 5,001 from the balanced validation file. "
        "The short answer is the answer; the publisher's full sentence is a second reference.",
        known_from=(
            "google-research/big_vision, datasets/gqa/gqa.py (addresses, keys, 943,000 and 132,062 questions)",
        ),
        unverified=(
            "Whether the paper drew from the balanced questions, and how; we draw by seed and question id.",
            "Whether the paper paraphrased the short answer or took the publisher's full sentence.",
        ),
        paraphrase="question",
    ),
)
