"""COCO-CN: Chinese captions, written by people, of pictures of MS COCO."""

from collections.abc import Iterator

from m3it_jax.dataset_building.publishers import chinese_captions, coco_files, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

_FOLDER = "coco-cn-version1805v1.1"
CAPTIONS = f"{_FOLDER}/imageid.human-written-caption.txt"
_SPLITS = {
    "train": f"{_FOLDER}/coco-cn_train.txt",
    "validation": f"{_FOLDER}/coco-cn_val.txt",
    "test": f"{_FOLDER}/coco-cn_test.txt",
}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each picture of a split."""
    del seed
    yield from chinese_captions.drafts(
        raw.RawFolder(SPEC, assets),
        SPEC.name,
        captions=CAPTIONS,
        split=_SPLITS[split],
        path=lambda picture: coco_files.path_of(f"{picture}.jpg"),
    )


SPEC = SourceSpec(
    name="coco-cn",
    task="chinese",
    language="zh",
    pool="chinese/coco-cn",
    drafts=drafts,
    rows={},
    licence="Non-commercial (on request from the authors; pictures: Flickr terms)",
    citation="Li et al., COCO-CN for Cross-Lingual Image Tagging, Captioning and Retrieval, IEEE TMM 2019",
    url="https://github.com/li-xirong/coco-cn",
    known_problems="The publisher lists sentences with typing errors in data/detected-typos.txt; they are kept.",
    published=Published(
        held_out=True,
        counts={"train": 18_341, "validation": 1_000, "test": 1_000},
        raw=(
            RawFile(CAPTIONS, "a line `<picture>#<number><tab><sentence>` for each of 22,218 captions"),
            *(RawFile(path, "a picture's name without .jpg on each line") for path in _SPLITS.values()),
            *coco_files.PICTURES,
        ),
        borrows=("coco",),
        selection="All pictures of the publisher's splits (version of May 2018), the first written caption of each.",
        known_from=(
            "li-xirong/coco-cn, README.md: 18,341 / 1,000 / 1,000 pictures",
            "AIMClab-RUC/COCO-CN on the Hugging Face hub (coco-cn-version1805v1.1.tar.gz), by programs that read it",
        ),
        unverified=(
            "Which caption was taken where a picture has several; the first is taken here.",
            "The files themselves, which are given out on request.",
        ),
    ),
)
