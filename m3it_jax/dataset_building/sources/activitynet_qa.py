"""ActivityNet-QA: one of the ten questions about each long video."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, video_questions
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_URL = "https://github.com/MILVLG/activitynet-qa/raw/master"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one question, at random, of each video that is there."""
    folder = raw.RawFolder(SPEC, assets)
    id_of = adapters.publisher_id("question_id")
    answers = {id_of(row): row[1] for row in folder.json_elements(f"dataset/{_SPLITS[split]}_a.json")}
    questions = folder.json_elements(f"dataset/{_SPLITS[split]}_q.json")
    chosen = video_questions.one_each(questions, SPEC, split, seed=seed, field="video_name")

    def draft(row: Any) -> Draft:
        name, number = raw.field(row, "video_name"), raw.field(row, "question_id")
        if number not in answers:
            raise RowError("unknown-id", f"question {number} has no answer")
        return video_questions.draft(
            SPEC,
            video_questions.fetched(folder, (f"videos/v_{name}",)),
            question=raw.field(row, "question"),
            answers=(raw.field(answers[number], "answer"),),
            group=name,
            origin=number,
            origin_split=_SPLITS[split],
        )

    key = adapters.publisher_id("video_name")
    yield from adapters.usable(chosen, draft, SPEC, split=split, seed=seed, key=key)


SPEC = SourceSpec(
    name="activitynet-qa",
    task="video",
    language="en",
    pool="video/activitynet-qa",
    drafts=drafts,
    rows={},
    licence="Unknown (questions: Apache 2.0, academic use only; videos: their uploaders' on YouTube)",
    citation="Yu et al., ActivityNet-QA: A Dataset for Understanding Complex Web Videos via Question Answering, "
    "AAAI 2019; Caba Heilbron et al., ActivityNet, CVPR 2015",
    url="https://github.com/MILVLG/activitynet-qa",
    known_problems="Some videos are gone from YouTube; their rows are named. Questions are lower case, without a mark.",
    published=Published(
        held_out=True,
        counts={"train": 3_200, "validation": 1_800, "test": 800},
        raw=(
            *(
                RawFile(path, what, url=f"{_URL}/{path}", split=split)
                for kind, what in (
                    ("q", "[{video_name, question, question_id}]"),
                    ("a", "[{answer, type, question_id}]"),
                )
                for split, path in ((split, f"dataset/{name}_{kind}.json") for split, name in _SPLITS.items())
            ),
            RawFile("videos/", "ActivityNet's videos v_<video_name>.mp4, .mkv or .webm, all in one folder"),
        ),
        selection="One of a video's ten questions at random.",
        known_from=(
            "github.com/MILVLG/activitynet-qa (dataset/README.md and the files themselves)",
            "activity-net.org (names of the videos)",
            "M3IT paper, Table 7, and the released data set: one of the ten pairs of each video, at random",
        ),
        unverified=(
            "Which of the ten questions the paper drew.",
            "Whether its answers were paraphrased: the loading script names this set neither way; we keep them short.",
        ),
    ),
)
