"""CLEVR: questions that need several steps about rendered scenes of simple solids."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

ROOT = "CLEVR_v1.0"
_ZIP = "https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip"
FOLDERS = {"train": "train", "validation": "val"}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question drawn."""
    if split not in FOLDERS:
        return
    folder = raw.RawFolder(SPEC, assets)
    name = FOLDERS[split]
    rows = folder.json_elements(f"{ROOT}/questions/CLEVR_{name}_questions.json", "questions")
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=adapters.publisher_id("question_index"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row, name))


def _draft(folder: raw.RawFolder, row: Any, name: str) -> Draft:
    picture = raw.field(row, "image_filename")
    answer = raw.field(row, "answer")
    return Draft(
        skill="clevr",
        inputs=raw.field(row, "question").strip(),
        outputs=f"The answer is {answer}.",
        images=(folder.picture(f"{ROOT}/images/{name}/{picture}"),),
        group=picture,
        origin=str(raw.field(row, "question_index", int)),
        origin_split=name,
        extra={"answer": answer},
    )


SPEC = SourceSpec(
    name="clevr",
    task="reasoning",
    language="en",
    pool="reasoning/clevr",
    drafts=drafts,
    rows={},
    licence="CC BY 4.0",
    citation="Johnson et al., CLEVR, CVPR 2017",
    url="https://cs.stanford.edu/people/jcjohns/clevr",
    published=Published(
        held_out=False,
        counts={"train": 30_000, "validation": 2_000, "test": 0},
        raw=tuple(
            RawFile(path, what, _ZIP, split="train" if "train" in path else "validation")
            for path, what in (
                (
                    f"{ROOT}/questions/CLEVR_train_questions.json",
                    "699,989 questions: {questions: [{question, answer, image_filename, question_index, ...}]}",
                ),
                (f"{ROOT}/questions/CLEVR_val_questions.json", "149,991 questions"),
                (f"{ROOT}/images/train/", "70,000 PNGs"),
                (f"{ROOT}/images/val/", "15,000 PNGs"),
            )
        ),
        selection="30,000 questions of train and 2,000 of val drawn at random; the answer becomes a sentence.",
        known_from=(
            "cs.stanford.edu/people/jcjohns/clevr (files and fields)",
            "M3IT.py of the released data set (`The answer is {answer}.`)",
        ),
        unverified=("How the paper drew its questions.",),
    ),
)
