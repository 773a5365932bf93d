"""Grounded object identification on MS COCO: which of the picture's classes is in the red box."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, coco_files, raw
from m3it_jax.dataset_building.specification import (
    Assets,
    Box,
    Draft,
    Published,
    RawFile,
    Rejected,
    RowError,
    SourceSpec,
)

_FILES = {
    "train": "annotations/instances_train2014.json",
    "validation": "annotations/instances_val2014.json",
}


@dataclasses.dataclass(frozen=True)
class _Region:
    number: int  # COCO's id of the annotation
    name: str  # of the class
    box: Box
    crowd: bool  # several objects in one outline: there is no single thing to name


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one region of each drawn picture, with the classes of all the picture's objects as options."""
    if split not in _FILES:
        return
    folder = raw.RawFolder(SPEC, assets)
    classes = dict(_numbered(folder, _FILES[split], key="categories", name="name"))
    regions: dict[str, list[_Region]] = collections.defaultdict(list)
    names = dict(_numbered(folder, _FILES[split], key="images", name="file_name"))
    for place, row in folder.json_elements(_FILES[split], "annotations"):
        try:
            name = _known(row, "image_id", names)
            regions[name].append(
                _Region(
                    raw.field(row, "id", int),
                    _known(row, "category_id", classes),
                    coco_files.box(row),
                    raw.field(row, "iscrowd", int) != 0,
                )
            )
        except RowError as error:
            yield Rejected(place, error.reason, str(error))
    usable = (name for name in regions if _asks_something(regions[name]))
    for name in adapters.drawn(usable, SPEC, split, seed=seed, key=str):
        try:
            yield _draft(folder, name, regions[name], split=split, seed=seed)
        except RowError as error:
            yield Rejected(name, error.reason, str(error))


def _numbered(folder: raw.RawFolder, file: str, *, key: str, name: str) -> Iterator[tuple[int, str]]:
    """Yields (id, name) of a file's classes or pictures; what is damaged is missed where it is asked for."""
    for _, row in folder.json_elements(file, key):
        if isinstance(row, Mapping) and isinstance(row.get("id"), int) and isinstance(row.get(name), str):
            yield row["id"], row[name]


def _known(row: Any, key: str, names: Mapping[int, str]) -> str:
    number = raw.field(row, key, int)
    if number not in names:
        raise RowError("unknown-id", f"{key} {number} is not in the file")
    return names[number]


def _asks_something(regions: list[_Region]) -> bool:
    """Returns whether there is an object to ask for and a second class to take it for."""
    return len({region.name for region in regions}) > 1 and not all(region.crowd for region in regions)


def _draft(folder: raw.RawFolder, name: str, regions: list[_Region], *, split: str, seed: int) -> Draft:
    single = [region for region in regions if not region.crowd]
    region = single[adapters.choice_place(len(single), seed=seed, name=SPEC.name, key=name)]
    classes = sorted({region.name for region in regions})
    options = adapters.shuffled(classes, seed=seed, name=SPEC.name, key=name)
    lines = adapters.lettered(options)
    return Draft(
        skill="coco-goi",
        inputs=adapters.options_text(options),
        outputs=f"The answer is {lines[options.index(region.name)]}.",
        images=(folder.picture(coco_files.path_of(name)),),
        group=name,
        boxes=(region.box,),
        options=lines,
        origin=str(region.number),
        origin_split={"train": "train2014", "validation": "val2014"}[split],
    )


SPEC = SourceSpec(
    name="coco-goi",
    task="classification",
    language="en",
    pool="classification/coco-goi",
    drafts=drafts,
    rows={},
    licence=coco_files.LICENCE,
    citation="Lin et al., Microsoft COCO, ECCV 2014",
    url="https://cocodataset.org",
    known_problems="The validation pictures are COCO's val2014, most of which Karpathy's split trains captions on.",
    published=Published(
        held_out=False,
        counts={"train": 30_000, "validation": 2_000, "test": 0},
        raw=(
            *(
                RawFile(
                    path,
                    "{images: [{id, file_name}], categories: [{id, name}], "
                    "annotations: [{id, image_id, category_id, bbox: [left, top, width, height], iscrowd}]}",
                    url="http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
                    split=split,
                )
                for split, path in _FILES.items()
            ),
            *(
                dataclasses.replace(folder, split=split)
                for folder, split in zip(coco_files.PICTURES, _FILES, strict=True)
            ),
        ),
        borrows=("coco",),
        selection=(
            "30,000 pictures drawn from train2014 and 2,000 from val2014, among those with objects of at least two "
            "classes; of each picture one object, drawn, that is no crowd."
        ),
        known_from=(
            "cocodataset.org, format of the object annotations",
            "M3IT's loading script: options one a line after `Options:`, the answer as `The answer is (X) name.`",
            "VT-NLP/MultiInstruct, data_preprocessor/mscoco2014+object_grounding.py: one object of a drawn picture",
        ),
        unverified=(
            "That the pictures are those of 2014 and not of 2017.",
            "That the options are the classes of the picture's objects, each once, and their order.",
            "That a picture whose objects are all of one class is left out: a single option asks nothing.",
        ),
    ),
)
