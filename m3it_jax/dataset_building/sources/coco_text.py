"""COCO-Text: whether the writing in the red box can be read."""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, coco_files, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

ANNOTATIONS = "COCO_Text.json"
OPTIONS = ("legible", "illegible")
_SPLITS = {"train": "train", "validation": "val"}  # the publisher keeps the annotations of its test pictures


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each text region of the pictures of a split."""
    if split not in _SPLITS:
        return
    folder = raw.RawFolder(SPEC, assets)
    content = folder.json(ANNOTATIONS)
    pictures = raw.part(content, "imgs", dict, file=ANNOTATIONS)
    regions = raw.part(content, "anns", dict, file=ANNOTATIONS)

    def rows() -> Iterator[adapters.Placed]:
        for number, region in regions.items():
            place = f"{ANNOTATIONS}: anns[{number!r}]"
            try:
                picture = raw.field(pictures, str(raw.field(region, "image_id", int)), dict)
                if raw.field(picture, "set") == _SPLITS[split]:
                    yield place, {"number": number, "region": region, "picture": picture}
            except RowError as error:
                yield Rejected(place, error.reason, str(error))

    def place_of(row: adapters.Placed) -> str:
        return row.place if isinstance(row, Rejected) else row[0]

    drawn = adapters.drawn(rows(), SPEC, split, seed=seed, key=place_of)
    yield from adapters.converted(drawn, lambda row: _draft(folder, **row))


def _draft(folder: raw.RawFolder, *, number: str, region: Any, picture: Mapping[str, Any]) -> Draft:
    name = raw.field(picture, "file_name")
    legibility = raw.field(region, "legibility")
    if legibility not in OPTIONS:
        raise RowError("unknown-label", f"legibility {legibility!r} is none of {', '.join(OPTIONS)}")
    written = region.get("utf8_string")
    return Draft(
        skill="coco-text",
        inputs=f"Options: {' or '.join(OPTIONS)}.",
        outputs=legibility,
        images=(folder.picture(coco_files.path_of(name)),),
        group=name,
        boxes=(coco_files.box(region),),
        options=OPTIONS,
        origin=number,
        origin_split=picture["set"],
        extra={"written": written} if isinstance(written, str) else {},
    )


SPEC = SourceSpec(
    name="coco-text",
    task="classification",
    language="en",
    pool="classification/coco-text",
    drafts=drafts,
    rows={},
    licence=coco_files.LICENCE,
    citation="Veit et al., COCO-Text: Dataset and Benchmark for Text Detection and Recognition, arXiv 1601.07140",
    url="https://vision.cornell.edu/se3/coco-text-2/",
    known_problems="Several boxes are a few pixels wide: drawing the border hides what is in them.",
    published=Published(
        held_out=False,
        counts={"train": 118_312, "validation": 27_550, "test": 0},
        raw=(
            RawFile(
                ANNOTATIONS,
                "version 1.4: {imgs: {id: {file_name, set}}, anns: {id: {image_id, bbox: [left, top, width, height], "
                "legibility, utf8_string where it is legible}}}",
                url="https://vision.cornell.edu/se3/wp-content/uploads/2019/05/COCO_Text.zip",
            ),
            *coco_files.PICTURES[:1],
        ),
        borrows=("coco",),
        selection="Every text region of the publisher's train and val pictures, all of which are of COCO's train2014.",
        known_from=(
            "vision.cornell.edu/se3/coco-text-2 (version 1.4: 118,309 regions for training, 27,550 for validation)",
            "andreasveit/coco-text, coco_text.py",
            "VT-NLP/MultiInstruct, data_preprocessor/mscoco_text.py (`text_legibility`)",
        ),
        unverified=(
            "Table 7 has 118,312 training rows, three more than version 1.4: they may stem from another version.",
            "The words of the two options; the publisher's own are taken.",
        ),
    ),
)
