"""MS COCO captions in Karpathy's split: one record for each reference caption."""

from collections.abc import Iterator

from m3it_jax.dataset_building.publishers import coco_files, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, Rejected, SourceSpec


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each caption of the pictures of a split."""
    del seed
    folder = raw.RawFolder(SPEC, assets)
    for picture in coco_files.captioned(folder, split):
        if isinstance(picture, Rejected):
            yield picture
            continue
        for place, caption in enumerate(picture.captions):
            yield Draft(
                skill="coco",
                inputs="",
                outputs=caption,
                images=(folder.picture(picture.path),),
                group=picture.name,
                references=picture.captions,
                origin=f"{picture.coco_id}/{place}",
                origin_split=picture.split,
            )


SPEC = SourceSpec(
    name="coco",
    task="captioning",
    language="en",
    pool="captioning/coco",
    drafts=drafts,
    rows={},
    licence=coco_files.LICENCE,
    citation="Lin et al., Microsoft COCO, ECCV 2014; Karpathy and Fei-Fei, CVPR 2015",
    url="https://cocodataset.org",
    known_problems="A caption that stands twice under one picture is kept once.",
    published=Published(
        held_out=False,
        counts={"train": 566_747, "validation": 25_010, "test": 25_010},
        raw=(coco_files.CAPTIONS, *coco_files.PICTURES),
        selection="All pictures of Karpathy's train and restval, val and test; one row for each reference caption.",
        known_from=(
            "cs.stanford.edu/people/karpathy/deepimagesent (dataset_coco.json)",
            "M3IT paper, Table 7: 566,747 rows are 113,287 pictures with about five captions each",
        ),
    ),
)
