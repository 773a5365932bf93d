"""ImageNet (ILSVRC 2012): which of ten classes a picture shows, the right one at a random place."""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax import errors, rng
from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

MAPPING = "LOC_synset_mapping.txt"
TRAIN = "ILSVRC/ImageSets/CLS-LOC/train_cls.txt"
VALIDATION = "LOC_val_solution.csv"
PICTURES = "ILSVRC/Data/CLS-LOC"
NUM_OPTIONS = 10  # nine distractors and the class, as M3IT.py of the released data set draws them

_FOLDERS = {"train": "train", "validation": "val"}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each picture drawn."""
    if split not in _FOLDERS:
        return
    folder = raw.RawFolder(SPEC, assets)
    classes = _classes(folder)
    rows = _train_rows(folder) if split == "train" else folder.table(VALIDATION)
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=adapters.publisher_id("ImageId"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row, classes, split=split, seed=seed))


def _classes(folder: raw.RawFolder) -> dict[str, str]:
    """Returns the first name of each class by its synset.

    Raises:
      UserError: a line is no class, or there are too few to choose from.
    """
    found = {}
    for place, line in folder.lines(MAPPING):
        synset, _, names = line.partition(" ")
        if not names.strip():
            raise errors.UserError(f"imagenet/{place}: {line!r} is no synset with its names; get the file again")
        found[synset] = names.split(",")[0].strip()
    if len(set(found.values())) < NUM_OPTIONS:
        raise errors.UserError(f"imagenet/{MAPPING}: names {len(found)} classes; at least {NUM_OPTIONS} are needed")
    return found


def _train_rows(folder: raw.RawFolder) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the training list in the form of the validation file: a training picture lies in its class's folder."""
    for place, line in folder.lines(TRAIN):
        picture = line.split()[0]
        yield place, {"ImageId": picture, "PredictionString": picture.partition("/")[0]}


def _draft(folder: raw.RawFolder, row: Any, classes: Mapping[str, str], *, split: str, seed: int) -> Draft:
    picture = raw.field(row, "ImageId")
    synset = raw.field(row, "PredictionString").partition(" ")[0]
    if synset not in classes:
        raise RowError("unknown-class", f"{synset!r} is no synset of {MAPPING}")
    # Two synsets are cranes: a name that means both classes is offered once.
    others = sorted({*classes.values()} - {classes[synset]})
    draws = rng.generator(seed, "distractors", SPEC.name, picture).choice(len(others), NUM_OPTIONS - 1, replace=False)
    options = [others[number] for number in draws]
    place = adapters.choice_place(NUM_OPTIONS, seed=seed, name=SPEC.name, key=picture)
    options.insert(place, classes[synset])
    lines = adapters.lettered(options)
    return Draft(
        skill="imagenet",
        inputs="\n".join(lines),
        outputs=lines[place],
        images=(folder.picture(f"{PICTURES}/{_FOLDERS[split]}/{picture}.JPEG"),),
        group=f"{picture.rsplit('/', 1)[-1]}.JPEG",
        options=tuple(options),
        origin=picture,
        origin_split=_FOLDERS[split],
        extra={"synset": synset},
    )


SPEC = SourceSpec(
    name="imagenet",
    task="classification",
    language="en",
    pool="classification/imagenet",
    drafts=drafts,
    rows={},
    licence="Non-commercial (image-net.org: research and education only)",
    citation="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
    url="https://www.image-net.org",
    known_problems="Two names (crane, maillot) stand for two classes each; only one of the two is ever an option.",
    published=Published(
        held_out=False,
        counts={"train": 30_000, "validation": 50_000, "test": 0},
        raw=(
            RawFile(MAPPING, "1,000 lines `<synset> <names, separated by commas>`"),
            RawFile(TRAIN, "1,281,167 lines `<synset>/<picture> <number>`", split="train"),
            RawFile(
                VALIDATION,
                "50,000 rows `ImageId,PredictionString`; the second begins with the synset",
                split="validation",
            ),
            RawFile(f"{PICTURES}/train/", "a folder of JPEGs for each synset", split="train"),
            RawFile(f"{PICTURES}/val/", "50,000 JPEGs", split="validation"),
        ),
        selection="30,000 training pictures drawn at random and the whole validation set. Ten options, one a line: "
        "the class at a random place among nine others drawn at random.",
        known_from=(
            "kaggle.com/c/imagenet-object-localization-challenge (files and columns), to which image-net.org leads",
            "M3IT.py of the released data set (ten lines `(A) name`, the class put in at random)",
            "M3IT paper, section 3.1 (options are cut down) and Table 7 (counts)",
        ),
        unverified=(
            "How the paper drew its training pictures: it speaks of a 1 % sample, Table 7 has 2.3 %.",
            "Which name the authors' mapping.txt gives a class; we take the first of the publisher's.",
        ),
    ),
)
