"""Image paragraph captioning (Stanford): a whole paragraph about a picture of Visual Genome."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

PARAGRAPHS = "paragraphs_v1.json"
_FILES = {"train": "train_split.json", "validation": "val_split.json", "test": "test_split.json"}
_FOLDERS = ("VG_100K", "VG_100K_2")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each picture of a split; of ten pictures that stand there twice the first row counts."""
    del seed
    folder = raw.RawFolder(SPEC, assets)
    wanted = {number for _, number in folder.json_elements(_FILES[split]) if isinstance(number, int)}

    def rows() -> Iterator[adapters.Placed]:
        for place, row in folder.json_elements(PARAGRAPHS):
            try:
                number = raw.field(row, "image_id", int)
            except RowError as error:
                yield Rejected(place, error.reason, str(error))
                continue
            if number in wanted:
                wanted.remove(number)
                yield place, row

    yield from adapters.converted(rows(), lambda row: _draft(folder, row, split))


def _draft(folder: raw.RawFolder, row: Any, split: str) -> Draft:
    path = "/".join(raw.field(row, "url").split("/")[-2:])
    where, _, name = path.partition("/")
    if where not in _FOLDERS or not name:
        raise RowError("bad-name", f"url {row['url'][:80]!r} does not end in {' or '.join(_FOLDERS)} and a file")
    return Draft(
        skill="image-paragraph-captioning",
        inputs="",
        # The publisher's paragraphs hold line breaks and double spaces by accident.
        outputs=" ".join(raw.field(row, "paragraph").split()),
        images=(folder.picture(path),),
        group=name,
        origin=str(row["image_id"]),
        origin_split=_FILES[split].removesuffix("_split.json"),
    )


SPEC = SourceSpec(
    name="image-paragraph-captioning",
    task="captioning",
    language="en",
    pool="captioning/image-paragraph-captioning",
    drafts=drafts,
    rows={},
    licence="Custom (pictures and texts of Visual Genome: CC BY 4.0)",
    citation="Krause et al., A Hierarchical Approach for Generating Descriptive Image Paragraphs, CVPR 2017",
    url="https://cs.stanford.edu/people/ranjaykrishna/im2p/index.html",
    published=Published(
        held_out=False,
        counts={"train": 14_575, "validation": 2_487, "test": 2_489},
        raw=(
            RawFile(PARAGRAPHS, "[{url, image_id, paragraph}]; url ends in the picture's folder and name"),
            *(RawFile(path, "[image_id]", split=split) for split, path in _FILES.items()),
            RawFile("VG_100K/", "JPEGs", url="https://cs.stanford.edu/people/rak248/VG_100K_2/images.zip"),
            RawFile("VG_100K_2/", "JPEGs", url="https://cs.stanford.edu/people/rak248/VG_100K_2/images2.zip"),
        ),
        selection="All pictures of the publisher's three splits, one paragraph each.",
        known_from=(
            "cs.stanford.edu/people/ranjaykrishna/im2p",
            "lukemelas/image-paragraph-captioning, scripts/prepro_text.py: keys, and pictures that stand there twice",
        ),
        unverified=("That white space was made even in the released rows as it is here.",),
    ),
)
