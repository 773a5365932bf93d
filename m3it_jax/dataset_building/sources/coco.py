"""MS COCO captions in Karpathy's split: one record for each reference caption."""

from collections.abc import Iterator

from m3it_jax.dataset_building import raw
from m3it_jax.dataset_building.specification import (
    Assets,
    Draft,
    Published,
    RawFile,
    Rejected,
    RowError,
    SourceSpec,
)

ANNOTATIONS = "dataset_coco.json"

# Karpathy moved 30,504 pictures of val2014 to `restval`; the paper's 113,287 training pictures hold them.
_SPLITS = {"train": ("train", "restval"), "validation": ("val",), "test": ("test",)}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each caption of the pictures of a split."""
    del seed
    folder = raw.RawFolder(SPEC, assets)
    for number, picture in enumerate(folder.json(ANNOTATIONS)["images"]):
        try:
            if raw.field(picture, "split") not in _SPLITS[split]:
                continue
            name = f"{raw.field(picture, 'filepath')}/{raw.field(picture, 'filename')}"
            captions = [raw.field(sentence, "raw").strip() for sentence in raw.field(picture, "sentences", list)]
        except RowError as error:
            yield Rejected(f"{ANNOTATIONS}: images[{number}]", error.reason, str(error))
            continue
        for place, caption in enumerate(captions):
            yield Draft(
                skill="coco",
                inputs="",
                outputs=caption,
                images=(folder.picture(name),),
                group=name.rsplit("/", 1)[-1],
                references=tuple(captions),
                origin=f"{picture.get('cocoid', name)}/{place}",
                origin_split=picture["split"],
            )


SPEC = SourceSpec(
    name="coco",
    task="captioning",
    language="en",
    pool="captioning/coco",
    drafts=drafts,
    rows={},
    licence="Custom (pictures: Flickr terms; annotations: CC BY 4.0)",
    citation="Lin et al., Microsoft COCO, ECCV 2014; Karpathy and Fei-Fei, CVPR 2015",
    url="https://cocodataset.org",
    known_problems="A caption that stands twice under one picture is kept once.",
    published=Published(
        held_out=False,
        counts={"train": 566_747, "validation": 25_010, "test": 25_010},
        raw=(
            RawFile(
                ANNOTATIONS,
                "Karpathy's split: {images: [{filepath, filename, cocoid, split, sentences: [{raw}]}]}",
                url="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            ),
            RawFile("train2014/", "82,783 JPEGs", url="http://images.cocodataset.org/zips/train2014.zip"),
            RawFile("val2014/", "40,504 JPEGs", url="http://images.cocodataset.org/zips/val2014.zip"),
        ),
        selection="All pictures of Karpathy's train and restval, val and test; one row for each reference caption.",
        known_from=(
            "cs.stanford.edu/people/karpathy/deepimagesent (dataset_coco.json)",
            "M3IT paper, Table 7: 566,747 rows are 113,287 pictures with about five captions each",
        ),
    ),
)
