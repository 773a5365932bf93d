"""MSVD-QA: one question about each short clip."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, video_questions
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

MAPPING = "youtube_mapping.txt"

_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one question, at random, of each clip that is there."""
    folder = raw.RawFolder(SPEC, assets)
    names = _youtube_names(folder)
    rows = folder.json_elements(f"{_SPLITS[split]}_qa.json")
    chosen = video_questions.one_each(rows, SPEC, split, seed=seed, field="video_id")

    def draft(row: Any) -> Draft:
        clip = f"vid{raw.field(row, 'video_id', int)}"
        stems = [f"video/{name}" for name in (clip, names.get(clip)) if name]
        return video_questions.draft(
            SPEC,
            video_questions.fetched(folder, stems),
            question=raw.field(row, "question"),
            answers=(raw.field(row, "answer"),),
            group=clip,
            origin=str(raw.field(row, "id", int)),
            origin_split=_SPLITS[split],
        )

    key = adapters.publisher_id("video_id")
    yield from adapters.usable(chosen, draft, SPEC, split=split, seed=seed, key=key)


def _youtube_names(folder: raw.RawFolder) -> dict[str, str]:
    """Returns the YouTube name of each clip (`vid1`: `-4wsuPCjDBc_5_15`), if the file with them is there."""
    if not folder.exists(MAPPING):
        return {}
    pairs = (line.split() for _, line in folder.lines(MAPPING))
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


SPEC = SourceSpec(
    name="msvd-qa",
    task="video",
    language="en",
    pool="video/msvd-qa",
    drafts=drafts,
    rows={},
    licence="Unknown (questions on Mendeley Data; videos: their uploaders' on YouTube)",
    citation="Xu et al., Video Question Answering via Gradually Refined Attention over Appearance and Motion, ACM MM "
    "2017; Chen and Dolan, Collecting Highly Parallel Data for Paraphrase Evaluation, ACL 2011",
    url="https://github.com/xudejing/video-question-answering",
    known_problems="Questions and answers were made from captions by a program: all lower case, some ungrammatical.",
    published=Published(
        held_out=True,
        counts={"train": 1_161, "validation": 245, "test": 504},
        raw=(
            RawFile("train_qa.json", "[{video_id, question, answer, id}]", split="train"),
            RawFile("val_qa.json", "[{video_id, question, answer, id}]", split="validation"),
            RawFile("test_qa.json", "[{video_id, question, answer, id}]", split="test"),
            RawFile("video/", "1,970 clips vid<video_id>.avi, or with the YouTube names of the mapping"),
            RawFile(MAPPING, "lines `<YouTube name> vid<video_id>`", optional=True),
        ),
        selection="One question at random of each clip that is there, at most as many as the paper has.",
        known_from=(
            "github.com/xudejing/video-question-answering (preprocess_msvdqa.py: file names, fields, video/vid<n>.avi)",
            "github.com/antoyang/just-ask (preproc_msvdqa.py, merge_features.py: fields and the mapping's form)",
            "M3IT paper, Table 7: fewer rows than the 1,970 clips, so at most one of each",
            "the loading script of the released data set: answers were paraphrased",
        ),
        unverified=(
            "That the paper took one question of each clip, and which; its counts lack 60 of the 1,970 clips.",
            "The names of the clips in the archive on Mendeley Data; both known forms are read.",
        ),
        paraphrase="question",
    ),
)
