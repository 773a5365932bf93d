"""TextCaps: captions of photographs that name what is written in them."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

# Test captions are not public.
_FILES = {"train": "TextCaps_0.1_train.json", "validation": "TextCaps_0.1_val.json"}
_URL = "https://dl.fbaipublicfiles.com/textvqa"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each drawn caption of a split."""
    if split not in _FILES:
        return
    folder = raw.RawFolder(SPEC, assets)
    rows = folder.json_elements(_FILES[split], "data")
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=adapters.publisher_id("caption_id"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row))


def _draft(folder: raw.RawFolder, row: Any) -> Draft:
    name = f"{raw.field(row, 'image_id')}.jpg"
    caption = raw.field(row, "caption_str").strip()
    others = [text.strip() for text in row.get("reference_strs") or () if isinstance(text, str)]
    return Draft(
        skill="textcap",
        inputs="",
        outputs=caption,
        images=(folder.picture(f"train_images/{name}"),),
        group=name,
        references=tuple(dict.fromkeys((caption, *others))),
        origin=str(raw.field(row, "caption_id", int)),
        origin_split=raw.field(row, "set_name"),
    )


SPEC = SourceSpec(
    name="textcap",
    task="captioning",
    language="en",
    pool="captioning/textcap",
    drafts=drafts,
    rows={},
    licence="Unknown (publisher: CC BY 4.0; pictures: Open Images, CC BY 2.0)",
    citation="Sidorov et al., TextCaps: a Dataset for Image Captioning with Reading Comprehension, ECCV 2020",
    url="https://textvqa.org/textcaps/",
    published=Published(
        held_out=False,
        counts={"train": 97_765, "validation": 13_965, "test": 0},
        raw=(
            *(
                RawFile(
                    path,
                    "{data: [{image_id, caption_id, caption_str, reference_strs, set_name}]}, a row for each caption",
                    url=f"{_URL}/data/textcaps/{path}",
                    split=split,
                )
                for split, path in _FILES.items()
            ),
            RawFile(
                "train_images/", "<image_id>.jpg, of train and validation", url=f"{_URL}/images/train_val_images.zip"
            ),
        ),
        borrows=("text-vqa",),
        selection=(
            "97,765 of the publisher's 109,765 training captions and 13,965 of its 15,830 validation captions, drawn."
        ),
        known_from=(
            "textvqa.org/textcaps/dataset",
            "google-research/big_vision, datasets/textcaps: file names, and that validation pictures are in "
            "train_images",
        ),
        unverified=(
            "Which captions the paper left out; 12,000 fewer for training look like a rule that it does not tell.",
            "That `caption_id` differs for each row of a file: it is the key by which captions are drawn.",
        ),
    ),
)
