"""What sources made from MS COCO 2014 share: Karpathy's split of the captions, the names of pictures, boxes."""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Box, RawFile, Rejected, RowError

KARPATHY = "dataset_coco.json"
CAPTIONS = RawFile(
    KARPATHY,
    "Karpathy's split: {images: [{filepath, filename, cocoid, split, sentences: [{raw}]}]}",
    url="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
)
PICTURES = (
    RawFile("train2014/", "82,783 JPEGs", url="http://images.cocodataset.org/zips/train2014.zip"),
    RawFile("val2014/", "40,504 JPEGs", url="http://images.cocodataset.org/zips/val2014.zip"),
)
LICENCE = "Custom (pictures: Flickr terms; annotations: CC BY 4.0)"

# Karpathy moved 30,504 pictures of val2014 to `restval`; the paper's 113,287 training pictures hold them.
_SPLITS = {"train": ("train", "restval"), "validation": ("val",), "test": ("test",)}
_NAME = re.compile(r"COCO_(train2014|val2014)_\d{12}\.jpg")


@dataclasses.dataclass(frozen=True)
class Captioned:
    """One picture of Karpathy's file.

    Attributes:
      path: Where the picture lies in the raw folder.
      captions: Its reference captions.
      coco_id: COCO's number of the picture.
      split: Karpathy's own split of it.
    """

    path: str
    captions: tuple[str, ...]
    coco_id: int
    split: str

    @property
    def name(self) -> str:
        """The picture's file name."""
        return self.path.rsplit("/", 1)[-1]


def captioned(folder: raw.RawFolder, split: str) -> Iterator[Captioned | Rejected]:
    """Yields the pictures of a split by Karpathy's file, with their captions, and the rows that are damaged."""
    for place, row in folder.json_elements(KARPATHY, "images"):
        try:
            if raw.field(row, "split") in _SPLITS[split]:
                yield _captioned(row)
        except RowError as error:
            yield Rejected(place, error.reason, str(error))


def _captioned(row: Any) -> Captioned:
    return Captioned(
        f"{raw.field(row, 'filepath')}/{raw.field(row, 'filename')}",
        tuple(raw.field(sentence, "raw").strip() for sentence in raw.field(row, "sentences", list)),
        raw.field(row, "cocoid", int),
        row["split"],
    )


def path_of(name: str) -> str:
    """Returns where a picture lies: `COCO_val2014_000000000042.jpg` is in `val2014/`.

    Raises:
      RowError: `bad-name`: it is no name of COCO 2014.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise RowError("bad-name", f"{name!r} is no picture of COCO 2014")
    return f"{found[1]}/{name}"


def box(row: Any) -> Box:
    """Returns the pixels that a row's `bbox` (left, top, width, height, in fractions of pixels) touches.

    Raises:
      RowError: there is no such field, or it is no box.
    """
    values = raw.field(row, "bbox", list)
    # No picture has a billion pixels on a side; the comparison is false for what is not a number, too.
    if len(values) != 4 or not all(isinstance(value, int | float) and -1e9 < value < 1e9 for value in values):
        raise RowError("bad-box", f"bbox {str(values)[:80]} is not four numbers")
    left, top, width, height = values
    if width <= 0 or height <= 0:
        raise RowError("bad-box", f"bbox {values} has no area")
    return math.floor(left), math.floor(top), math.ceil(left + width), math.ceil(top + height)
