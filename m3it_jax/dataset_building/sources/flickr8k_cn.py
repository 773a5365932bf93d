"""Flickr8k-CN: Chinese captions, written by native speakers, of the pictures of Flickr8k."""

from collections.abc import Iterator

from m3it_jax.dataset_building.publishers import chinese_captions, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

CAPTIONS = "data/flickr8kzhc.caption.txt"
_SPLITS = {
    "train": "data/flickr8ktrain.txt",
    "validation": "data/flickr8kval.txt",
    "test": "data/flickr8ktest.txt",
}
_PICTURES = "Flicker8k_Dataset"  # the publisher's spelling
_URL = "https://raw.githubusercontent.com/li-xirong/flickr8kcn/master"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each picture of a split."""
    del seed
    yield from chinese_captions.drafts(
        raw.RawFolder(SPEC, assets),
        SPEC.name,
        captions=CAPTIONS,
        split=_SPLITS[split],
        path=lambda picture: f"{_PICTURES}/{picture}.jpg",
    )


SPEC = SourceSpec(
    name="flickr8k-cn",
    task="chinese",
    language="zh",
    pool="chinese/flickr8k-cn",
    drafts=drafts,
    rows={},
    licence="CC BY 3.0 (captions; pictures: Flickr terms, by Flickr8k on request)",
    citation="Li et al., Adding Chinese Captions to Images, ICMR 2016; Hodosh et al., Flickr8k, JAIR 2013",
    url="https://github.com/li-xirong/flickr8kcn",
    published=Published(
        held_out=True,
        counts={"train": 6_000, "validation": 1_000, "test": 1_000},
        raw=(
            RawFile(
                CAPTIONS,
                "a line `<picture>.jpg#zhc#<number> <sentence>`, five for each of 8,091 pictures",
                url=f"{_URL}/{CAPTIONS}",
            ),
            *(
                RawFile(path, "a picture's name without .jpg on each line", url=f"{_URL}/{path}")
                for path in _SPLITS.values()
            ),
            RawFile(f"{_PICTURES}/", "8,091 JPEGs, by the publisher of Flickr8k on request (Flickr8k_Dataset.zip)"),
        ),
        selection="All pictures of the publisher's splits, the first written caption of each.",
        known_from=("li-xirong/flickr8kcn, folder data: read and counted",),
        unverified=(
            "Which of a picture's five captions was taken; Table 7 has one for each picture, the first is taken here.",
            "Whether the paper's captions are the written ones or translations.",
        ),
    ),
)
