"""MSRVTT-QA: one question about each video of MSR-VTT."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, video, video_questions
from m3it_jax.dataset_building.sources import msrvtt
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one question, at random, of each video."""
    folder = raw.RawFolder(SPEC, assets)
    rows = folder.json_elements(f"{_SPLITS[split]}_qa.json")
    chosen = video_questions.one_each(rows, SPEC, split, seed=seed, field="video_id")

    def draft(row: Any) -> Draft:
        name = f"video{raw.field(row, 'video_id', int)}"
        return video_questions.draft(
            SPEC,
            video.VideoFile(folder.roots, msrvtt.video_name(name)),
            question=raw.field(row, "question"),
            answers=(raw.field(row, "answer"),),
            group=name,
            origin=str(raw.field(row, "id", int)),
            origin_split=_SPLITS[split],
        )

    drawn = adapters.drawn(chosen, SPEC, split, seed=seed, key=adapters.publisher_id("video_id"))
    yield from adapters.converted(drawn, draft)


SPEC = SourceSpec(
    name="msrvtt-qa",
    task="video",
    language="en",
    pool="video/msrvtt-qa",
    drafts=drafts,
    rows={},
    licence="Unknown (questions on Mendeley Data; videos: their uploaders' on YouTube)",
    citation="Xu et al., Video Question Answering via Gradually Refined Attention over Appearance and Motion, ACM MM "
    "2017; Xu et al., MSR-VTT, CVPR 2016",
    url="https://github.com/xudejing/video-question-answering",
    known_problems="Questions and answers were made from captions by a program: all lower case, some ungrammatical.",
    published=Published(
        held_out=True,
        counts={"train": 6_513, "validation": 497, "test": 2_990},
        raw=(
            RawFile("train_qa.json", "[{video_id, category_id, question, answer, id}]", split="train"),
            RawFile("val_qa.json", "[{video_id, category_id, question, answer, id}]", split="validation"),
            RawFile("test_qa.json", "[{video_id, category_id, question, answer, id}]", split="test"),
            msrvtt.VIDEOS,
        ),
        selection="One question at random of each of the 10,000 videos.",
        known_from=(
            "github.com/xudejing/video-question-answering (preprocess_msrvttqa.py: file names, fields, video<n>.mp4)",
            "github.com/antoyang/just-ask (preproc_msrvttqa.py: fields)",
            "M3IT paper, Table 7: as many rows as each split has videos, so one of each",
            "the loading script of the released data set: answers were paraphrased",
        ),
        unverified=("Which of a video's questions the paper took; we draw one.",),
        borrows=("msrvtt",),
        paraphrase="question",
    ),
)
