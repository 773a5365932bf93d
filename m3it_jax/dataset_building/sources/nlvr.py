"""NLVR (2017): is a sentence true of a drawing with three boxes of shapes?"""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

FOLDERS = {"train": "train", "validation": "dev"}
NUM_PERMUTATIONS = 6  # the publisher drew each example in every order of its three boxes
# The repository as a whole: it holds the 74,460 and 5,934 drawings beside the two files.
_ARCHIVE = "https://github.com/lil-lab/nlvr/archive/refs/heads/master.zip"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each drawing drawn."""
    if split not in FOLDERS:
        return
    folder = raw.RawFolder(SPEC, assets)
    name = FOLDERS[split]
    rows = adapters.drawn(_rows(folder, name), SPEC, split, seed=seed, key=adapters.publisher_id("picture"))
    yield from adapters.converted(rows, lambda row: _draft(folder, row, name))


def _rows(folder: raw.RawFolder, name: str) -> Iterator[tuple[str, Any] | Rejected]:
    for row in folder.json_lines(f"{name}/{name}.json"):
        if isinstance(row, Rejected) or not isinstance(row[1], Mapping):
            yield row
            continue
        place, example = row
        for number in range(NUM_PERMUTATIONS):
            yield place, {**example, "picture": f"{name}-{example.get('identifier')}-{number}.png"}


def _draft(folder: raw.RawFolder, row: Any, name: str) -> Draft:
    identifier = raw.field(row, "identifier")
    picture = raw.field(row, "picture")
    label = raw.field(row, "label")
    if label not in ("true", "false"):
        raise RowError("unknown-label", f"label is {label!r}, must be true or false")
    return Draft(
        skill="nlvr",
        inputs=raw.field(row, "sentence").strip(),
        outputs=f"The answer is {label}.",
        images=(folder.picture(f"{name}/images/{raw.field(row, 'directory')}/{picture}"),),
        group=f"nlvr-{name}-{identifier}",
        origin=picture.removesuffix(".png"),
        origin_split=name,
        extra={"answer": label},
    )


SPEC = SourceSpec(
    name="nlvr",
    task="reasoning",
    language="en",
    pool="reasoning/nlvr",
    drafts=drafts,
    rows={},
    licence="Unknown by the paper; its publisher says CC BY 4.0",
    citation="Suhr et al., A Corpus of Natural Language for Visual Reasoning, ACL 2017",
    url="https://github.com/lil-lab/nlvr",
    known_problems="Drawings of one example differ only in the order of their boxes; meta.group keeps them together. "
    "Some sentences are misspelt.",
    published=Published(
        held_out=False,
        counts={"train": 29_372, "validation": 2_000, "test": 0},
        raw=tuple(
            file
            for split, name, examples in (("train", "train", "12,410"), ("validation", "dev", "989"))
            for file in (
                RawFile(
                    f"{name}/{name}.json",
                    f"{examples} lines {{sentence, identifier, directory, label}}",
                    url=_ARCHIVE,
                    split=split,
                ),
                RawFile(
                    f"{name}/images/", "PNGs `<directory>/<split>-<identifier>-<0 to 5>.png`", url=_ARCHIVE, split=split
                ),
            )
        ),
        selection="29,372 of the 74,460 drawings of train and 2,000 of dev, drawn at random; the label becomes a "
        "sentence.",
        known_from=(
            "github.com/lil-lab/nlvr, nlvr/README.md (fields, file names), nlvr/dev/dev.json (read)",
            "M3IT.py of the released data set (`The answer is {answer}.`)",
        ),
        unverified=(
            "Which 29,372 and 2,000 drawings the authors took, and whether several orders of one example.",
            "Whether their sentence says true and false; some of their rows are broken (turingmotors/heron).",
        ),
    ),
)
