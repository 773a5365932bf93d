"""iVQA: questions about instruction videos with five answers each."""

import math
from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, video_questions
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_ANSWERS = tuple(f"answer{number}" for number in range(1, 6))


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields the question of each clip whose video is there."""
    folder = raw.RawFolder(SPEC, assets)

    def draft(row: Any) -> Draft:
        name = raw.field(row, "video_id")
        return video_questions.draft(
            SPEC,
            video_questions.fetched(folder, (f"video/{name}",), _span(row)),
            question=raw.field(row, "question"),
            answers=[raw.field(row, answer) for answer in _ANSWERS],
            group=name,
            origin=name,
            origin_split=_SPLITS[split],
        )

    rows = folder.table(f"{_SPLITS[split]}.csv")
    key = adapters.publisher_id("video_id")
    yield from adapters.usable(rows, draft, SPEC, split=split, seed=seed, key=key)


def _span(row: Any) -> tuple[float, float] | None:
    """Returns begin and end of the clip in seconds; None if the file does not name them: the video is the clip."""
    if "start" not in row or "end" not in row:
        return None
    try:
        begin, end = float(raw.field(row, "start")), float(raw.field(row, "end"))
    except ValueError as error:
        raise RowError("wrong-type", f"start and end must be seconds: {error}") from error
    if not (math.isfinite(end) and 0 <= begin < end):
        raise RowError("wrong-type", f"start {begin:g} and end {end:g} are no span of seconds")
    return begin, end


SPEC = SourceSpec(
    name="ivqa",
    task="video",
    language="en",
    pool="video/ivqa",
    drafts=drafts,
    rows={},
    licence="Unknown (videos: their uploaders' on YouTube)",
    citation="Yang et al., Just Ask: Learning to Answer Questions from Millions of Narrated Videos, ICCV 2021",
    url="https://antoyang.github.io/just-ask.html",
    known_problems="Some videos are gone from YouTube; their rows are named, and others take their place.",
    published=Published(
        held_out=True,
        counts={"train": 5_994, "validation": 2_000, "test": 2_000},
        raw=(
            RawFile("train.csv", "6,000 rows `video_id,start,end,question,answer1,...,answer5`", split="train"),
            RawFile("val.csv", "2,000 rows of the same form", split="validation"),
            RawFile("test.csv", "2,000 rows of the same form", split="test"),
            RawFile("video/", "<video_id>.mp4, .mkv or .webm, whole, as YouTube has them under this id"),
        ),
        selection="The question of each clip; the wanted answer is the one that most of the five people gave.",
        known_from=(
            "github.com/antoyang/just-ask (README, videoqa_loader.py, preproc_ivqa.py: files, video_id, question and "
            "answer1 to answer5; merge_features.py: one clip for each video)",
            "Just Ask, arXiv 2012.00451: 10,000 clips, 6,000, 2,000 and 2,000, with five answers each",
            "M3IT paper, Table 7, and the released data set: answers were paraphrased",
        ),
        unverified=(
            "The columns `start` and `end` in seconds: the repository reads neither. Without them a file is the clip.",
            "Which of the five answers the paper took, and which six of the 6,000 training clips it lacks.",
        ),
        paraphrase="question",
    ),
)
