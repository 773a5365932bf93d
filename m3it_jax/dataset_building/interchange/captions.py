"""A picture and its caption -> a draft, for each kind of files with pairs."""

from m3it_jax.dataset_building.specification import Draft, PictureSource

POOL = "captioning/coco"  # as in stage I of the paper (arXiv 2306.04387, on LAION-400M)

# CHOICE: a caption is a sentence or a page; the longest of LAION are a few kilobytes.
MAX_TEXT_BYTES = 1 << 20


def draft(caption: str, image: bytes | PictureSource, *, group: str, origin: str, split: str, url: str = "") -> Draft:
    """Returns the draft of a pair; its instruction is drawn from the pool."""
    extra = {"url": url[:2000]} if url else {}
    return Draft("caption", "", caption, (image,), group, origin=origin, origin_split=split, extra=extra)
