"""Image-text matching on MS COCO: one of five captions belongs to the picture."""

from collections.abc import Iterator, Sequence

from m3it_jax import rng
from m3it_jax.dataset_building.publishers import adapters, coco_files, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, Rejected, SourceSpec

CANDIDATES = 5
_MARKS = tuple(f"({adapters.letter(place)})" for place in range(CANDIDATES))
# Other pictures looked at for a wrong caption; more than are needed, since one may bear the right one's words.
_LOOKED_AT = 3 * CANDIDATES


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields a picture with five captions, the right one at a random place; the others are of the same split."""
    folder = raw.RawFolder(SPEC, assets)
    pictures: list[coco_files.Captioned] = []
    for row in coco_files.captioned(folder, split):
        if isinstance(row, Rejected):
            yield row
        elif row.captions:
            pictures.append(row)
    for picture in adapters.drawn(pictures, SPEC, split, seed=seed, key=lambda row: row.name):
        place = adapters.choice_place(len(picture.captions), seed=seed, name=SPEC.name, key=picture.name)
        right = picture.captions[place]
        options = [right, *_others(picture, pictures, seed=seed)]
        if len(options) < CANDIDATES:
            yield Rejected(picture.name, "too-few-options", f"only {len(options)} different captions were found")
            continue
        shown = adapters.shuffled(options, seed=seed, name=SPEC.name, key=picture.name)
        mark = _MARKS[shown.index(right)]
        yield Draft(
            skill="coco-itm",
            inputs=adapters.options_text(shown),
            outputs=mark,
            images=(folder.picture(picture.path),),
            group=picture.name,
            options=_MARKS,
            references=(mark, f"{mark} {right}"),
            origin=str(picture.coco_id),
            origin_split=picture.split,
        )


def _others(picture: coco_files.Captioned, pictures: Sequence[coco_files.Captioned], *, seed: int) -> list[str]:
    """Returns at most four different captions of other pictures, none of them one of the picture's own."""
    generator = rng.generator(seed, "other captions", SPEC.name, picture.name)
    places = generator.choice(len(pictures), size=min(_LOOKED_AT, len(pictures)), replace=False)
    found: list[str] = []
    for place in places:
        captions = pictures[place].captions
        caption = captions[int(generator.integers(len(captions)))]
        if caption and caption not in (*picture.captions, *found):
            found.append(caption)
    return found[: CANDIDATES - 1]


SPEC = SourceSpec(
    name="coco-itm",
    task="classification",
    language="en",
    pool="classification/coco-itm",
    drafts=drafts,
    rows={},
    licence=coco_files.LICENCE,
    citation="Lin et al., Microsoft COCO, ECCV 2014; Karpathy and Fei-Fei, CVPR 2015",
    url="https://cocodataset.org",
    known_problems="A wrong caption is drawn at random, so now and then it fits the picture too.",
    published=Published(
        held_out=False,
        counts={"train": 30_000, "validation": 5_000, "test": 5_000},
        raw=(coco_files.CAPTIONS, *coco_files.PICTURES),
        borrows=("coco",),
        selection=(
            "30,000 pictures drawn from Karpathy's train and restval, and all 5,000 of val and of test; one of the "
            "picture's captions, drawn, among four of other pictures of the split."
        ),
        known_from=(
            "cs.stanford.edu/people/karpathy/deepimagesent (dataset_coco.json)",
            "M3IT's loading script: five candidates, the answer is a letter in brackets",
            "VT-NLP/MultiInstruct, data_preprocessor/mscoco2014+ITM.py: four captions of other pictures, drawn",
        ),
        unverified=(
            "That the split is Karpathy's: his val and test have 5,000 pictures each, as Table 7 has rows.",
            "How the wrong captions were drawn, and what stands between the candidates.",
        ),
    ),
)
