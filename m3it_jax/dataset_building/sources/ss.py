"""Something-Something v2: which of ten templates says what the hands in a clip do."""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax import errors
from m3it_jax.dataset_building.publishers import adapters, raw, video
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

LABELS = "labels/labels.json"
TEST = "labels/test-answers.csv"
NUM_OPTIONS = 10  # CHOICE: as for ImageNet, whose options the paper cuts down because of their number (section 3.1)

_FILES = {"train": "labels/train.json", "validation": "labels/validation.json"}
_VIDEOS = "20bn-something-something-v2/"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each clip drawn."""
    folder = raw.RawFolder(SPEC, assets)
    labels = _labels(folder)
    if split == "test":
        rows: Iterator[adapters.Placed] = folder.table(TEST, delimiter=";", fields=("id", "template"))
    else:
        rows = folder.json_elements(_FILES[split])
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=adapters.publisher_id("id"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row, labels, split=split, seed=seed))


def _labels(folder: raw.RawFolder) -> Mapping[str, Any]:
    labels = folder.json(LABELS)
    if not isinstance(labels, dict) or len(labels) < NUM_OPTIONS:
        raise errors.UserError(f"ss/{LABELS}: must be an object with at least {NUM_OPTIONS} labels; get the file again")
    return labels


def _draft(folder: raw.RawFolder, row: Any, labels: Mapping[str, Any], *, split: str, seed: int) -> Draft:
    clip = raw.field(row, "id")
    # The brackets of a template mark what each video puts in; the labels stand without.
    label = raw.field(row, "template").replace("[", "").replace("]", "")
    if label not in labels:
        raise RowError("unknown-class", f"{label!r} is no label of {LABELS}")
    options = adapters.among_others(label, labels, NUM_OPTIONS, seed=seed, name=SPEC.name, key=clip)
    return Draft(
        skill="ss",
        inputs=adapters.options_text(options),
        outputs=adapters.lettered(options)[options.index(label)],
        images=(video.VideoFile(folder.roots, f"{_VIDEOS}{clip}.webm"),),
        group=clip,
        options=options,
        origin=clip,
        origin_split=split,
    )


SPEC = SourceSpec(
    name="ss",
    task="video",
    language="en",
    pool="video/ss",
    drafts=drafts,
    rows={},
    licence="Custom (Qualcomm's data licence agreement: research use)",
    citation="Goyal et al., The `something something` Video Database for Learning and Evaluating Visual Common Sense, "
    "ICCV 2017",
    url="https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    published=Published(
        held_out=True,
        counts={"train": 2_000, "validation": 2_000, "test": 2_000},
        raw=(
            RawFile(LABELS, "{label: number}, 174 labels such as `Holding something next to something`"),
            RawFile(_FILES["train"], "168,913 entries [{id, label, template, placeholders}]", split="train"),
            RawFile(_FILES["validation"], "24,777 entries of the same form", split="validation"),
            RawFile(TEST, "27,157 lines `id;label`", split="test"),
            RawFile(_VIDEOS, "220,847 clips, <id>.webm"),
        ),
        selection="2,000 clips of each split at random. Ten options: the label and nine others drawn at random.",
        known_from=(
            "Hugging Face: HuggingFaceM4/something_something_v2 (card: 174 labels, counts of the splits)",
            "public code that reads Qualcomm's labels/ folder (names, fields, template without brackets, `id;label`)",
            "M3IT paper, Table 7, and the released data set: candidates from labels.json",
        ),
        unverified=(
            "How many options the paper gives and whether they are lettered; we give ten, as for ImageNet.",
            "Which clips it drew.",
        ),
    ),
)
