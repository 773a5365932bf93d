"""MSR-VTT captioning: one caption of each drawn video."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, video
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

CAPTIONS = "msrvtt_data/MSRVTT_data.json"
TRAIN = "msrvtt_data/MSRVTT_train.7k.csv"
TRAIN_9K = "msrvtt_data/MSRVTT_train.9k.csv"
TEST = "msrvtt_data/MSRVTT_JSFUSION_test.csv"
VIDEOS = RawFile(
    "MSRVTT/videos/all/",
    "10,000 videos, video<number>.mp4",
    url="https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip",
)

_DATA_URL = "https://github.com/ArrowLuo/CLIP4Clip/releases/download/v0.0/msrvtt_data.zip"


def video_name(video_id: str) -> str:
    """Returns where a video lies in the raw folder."""
    return f"{VIDEOS.path}{video_id}.mp4"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each video drawn."""
    folder = raw.RawFolder(SPEC, assets)
    captions = _captions(folder)

    def draft(row: Any) -> Draft:
        name = raw.field(row, "video_id")
        if name not in captions:
            raise RowError("unknown-id", f"{CAPTIONS} has no caption of {name}")
        place = adapters.choice_place(len(captions[name]), seed=seed, name=SPEC.name, key=name)
        wanted = raw.field(row, "sentence").strip() if split == "test" else captions[name][place]
        return Draft(
            skill="msrvtt",
            inputs="",
            outputs=wanted,
            images=(video.VideoFile(folder.roots, video_name(name)),),
            group=name,
            references=tuple(dict.fromkeys((wanted, *captions[name]))),
            origin=name,
            origin_split={"train": "train 7k", "validation": "train 9k", "test": "test 1k-A"}[split],
        )

    key = adapters.publisher_id("video_id")
    yield from adapters.converted(adapters.drawn(_rows(folder, split), SPEC, split, seed=seed, key=key), draft)


def _rows(folder: raw.RawFolder, split: str) -> Iterator[adapters.Placed]:
    if split != "validation":
        yield from folder.table(TRAIN if split == "train" else TEST)
        return
    trained = {row.get("video_id") for _, row in folder.table(TRAIN)}
    for place, row in folder.table(TRAIN_9K):
        if row.get("video_id") not in trained:
            yield place, row


def _captions(folder: raw.RawFolder) -> dict[str, list[str]]:
    """Returns the captions of each video; a damaged entry is left out: the others of the video stand in for it."""
    found: dict[str, list[str]] = {}
    for _, row in folder.json_elements(CAPTIONS, "sentences"):
        if isinstance(row, dict) and isinstance(row.get("caption"), str) and row["caption"].strip():
            found.setdefault(str(row.get("video_id")), []).append(row["caption"].strip())
    return found


SPEC = SourceSpec(
    name="msrvtt",
    task="video",
    language="en",
    pool="video/msrvtt",
    drafts=drafts,
    rows={},
    licence="Unknown (captions: Microsoft Research; videos: their uploaders' on YouTube)",
    citation="Xu et al., MSR-VTT: A Large Video Description Dataset for Bridging Video and Language, CVPR 2016; "
    "split: Yu et al., A Joint Sequence Fusion Model, ECCV 2018",
    url="https://www.microsoft.com/en-us/research/publication/"
    "msr-vtt-a-large-video-description-dataset-for-bridging-video-and-language/",
    known_problems="Its validation videos are test videos of MSRVTT-QA; do not train on one and test on the other.",
    published=Published(
        held_out=True,
        counts={"train": 2_000, "validation": 1_000, "test": 1_000},
        raw=(
            RawFile(CAPTIONS, "{videos: [...], sentences: [{caption, video_id, sen_id}]}, 20 of each video", _DATA_URL),
            RawFile(TRAIN, "7,010 rows `video_id`", _DATA_URL),
            RawFile(TRAIN_9K, "9,000 rows `video_id`", _DATA_URL),
            RawFile(TEST, "1,000 rows `key,vid_key,video_id,sentence`", _DATA_URL),
            VIDEOS,
        ),
        selection="2,000 videos of the 7k training list; 1,000 of the 9k list that are not in the 7k list; the "
        "1,000 of the 1k-A test list with the caption named there. Elsewhere one of a video's captions at random.",
        known_from=(
            "github.com/ArrowLuo/CLIP4Clip (README and dataloader_msrvtt_retrieval.py: archive, files, columns)",
            "github.com/m-bain/frozen-in-time (README: archive of the videos)",
            "M3IT paper, Table 7, and the released data set: 2,000 of MSRVTT-7k, one caption each",
        ),
        unverified=(
            "Which videos the paper validates on: only their number is known.",
            "That its 1,000 test videos are the 1k-A list, the only common one with a single caption each.",
            "Which caption it took of a training or validation video.",
        ),
    ),
)
