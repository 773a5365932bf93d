"""SHAPES: true or false about a drawing of coloured shapes on a grid of three by three."""

from collections.abc import Iterator

import numpy as np

from m3it_jax import errors
from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

FILES = {"train": "train.large", "validation": "val", "test": "test"}
ANSWERS = ("true", "false")
_SIDE = 30  # pixels of a drawing
_URL = "https://github.com/ronghanghu/n2nmn/raw/master/exp_shapes/shapes_dataset"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question, with its own drawing."""
    del seed
    folder = raw.RawFolder(SPEC, assets)
    name = FILES[split]
    pictures = _pictures(folder, f"{name}.input.npy")
    questions = list(folder.lines(f"{name}.query_str.txt"))
    answers = [line.strip() for _, line in folder.lines(f"{name}.output")]
    if not len(pictures) == len(questions) == len(answers):
        raise errors.UserError(
            f"shapes/{name}.*: {len(pictures)} drawings, {len(questions)} questions and {len(answers)} answers must "
            "be equally many; get the three files again"
        )
    rows = (
        (place, (number, question, answer))
        for number, ((place, question), answer) in enumerate(zip(questions, answers, strict=True))
    )

    def draft(row: tuple[int, str, str]) -> Draft:
        number, question, answer = row
        if answer not in ANSWERS:
            raise RowError("unknown-label", f"the answer is {answer!r}, must be one of {', '.join(ANSWERS)}")
        return Draft(
            skill="shapes",
            inputs=question.strip(),
            outputs=answer,
            # Stored as OpenCV has colours, blue first: every true "is a red ..." has its shape in the last channel.
            images=(np.ascontiguousarray(pictures[number][:, :, ::-1]),),
            group=f"{name}-{number}",
            options=ANSWERS,
            origin=f"{name}/{number}",
            origin_split=name,
        )

    yield from adapters.converted(rows, draft)


def _pictures(folder: raw.RawFolder, name: str) -> np.ndarray:
    """Returns the drawings, uint8 [number, 30, 30, 3], read from the disk as they are needed.

    Raises:
      UserError: the file is missing or holds something else.
    """
    path = folder.path(name)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}); get the file again") from error
    if getattr(found, "dtype", None) != np.uint8 or found.shape[1:] != (_SIDE, _SIDE, 3):
        raise errors.UserError(f"{path}: must hold bytes [number, {_SIDE}, {_SIDE}, 3]; get the file again")
    return found


SPEC = SourceSpec(
    name="shapes",
    task="vqa",
    language="en",
    pool="vqa/shapes",
    drafts=drafts,
    rows={},
    licence="Unknown (the publisher names no licence; n2nmn's copy lies under its BSD 2-clause licence)",
    citation="Andreas et al., Neural Module Networks, CVPR 2016",
    url="https://github.com/ronghanghu/n2nmn",
    known_problems="Drawings are 30 x 30 pixels. Some questions are odd by design: `is a red shape green`. 63 % of the "
    "training answers are false.",
    published=Published(
        held_out=False,
        counts={"train": 13_568, "validation": 1_024, "test": 1_024},
        raw=tuple(
            file
            for split, name in FILES.items()
            for file in (
                RawFile(
                    f"{name}.input.npy",
                    "drawings: uint8 [number, 30, 30, 3], blue first",
                    url=f"{_URL}/{name}.input.npy",
                    split=split,
                ),
                RawFile(
                    f"{name}.query_str.txt", "a question on each line", url=f"{_URL}/{name}.query_str.txt", split=split
                ),
                RawFile(f"{name}.output", "`true` or `false` on each line", url=f"{_URL}/{name}.output", split=split),
            )
        ),
        selection="All of train.large, val and test: 64 drawings for each of 212, 16 and 16 questions.",
        known_from=(
            "github.com/ronghanghu/n2nmn, exp_shapes/shapes_dataset (files read: 13,568, 1,024 and 1,024 rows)",
            "file list of the hub (train.large.jsonl)",
        ),
        unverified=(
            "Whether the authors' rows answer true and false, as the publisher, or yes and no.",
            "At which size they stored the drawings.",
        ),
    ),
)
