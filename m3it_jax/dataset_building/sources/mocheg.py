"""Mocheg: does a news picture, found as evidence, bear out a claim that was fact-checked?"""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

FOLDERS = {"train": "train", "validation": "val", "test": "test"}
# The publisher's `cleaned_truthfulness`; NEI is its short form of the third.
LABELS: Mapping[str, str] = {"supported": "supported", "refuted": "refuted", "NEI": "not enough information"}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each claim drawn among those with a picture as evidence."""
    folder = raw.RawFolder(SPEC, assets)
    name = FOLDERS[split]
    pictures = _pictures(folder, name)
    rows = _claims(folder, name, pictures)
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=adapters.publisher_id("claim_id"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row, pictures, name=name))


def _pictures(folder: raw.RawFolder, name: str) -> dict[str, str]:
    """Returns the first picture of evidence for each claim that has one."""
    found: dict[str, str] = {}
    for _, row in folder.table(f"{name}/img_evidence_qrels.csv"):
        claim, picture = row.get("TOPIC"), row.get("evidence_id")
        if claim and picture and row.get("RELEVANCY") == "1":
            found[claim] = min(picture, found.get(claim, picture))
    return found


def _claims(folder: raw.RawFolder, name: str, pictures: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yields the first row of each claim with a picture: the file has a row for each piece of written evidence."""
    seen: set[str] = set()
    for place, row in folder.table(f"{name}/Corpus2.csv"):
        claim = row.get("claim_id")
        if not claim:
            yield place, row  # told as damaged
        elif claim in pictures and claim not in seen:
            seen.add(claim)
            yield place, row


def _draft(folder: raw.RawFolder, row: Any, pictures: Mapping[str, str], *, name: str) -> Draft:
    claim_id = raw.field(row, "claim_id")
    if not claim_id:
        raise RowError("missing-field", "claim_id is empty")
    label = raw.field(row, "cleaned_truthfulness")
    if label not in LABELS:
        raise RowError("unknown-label", f"cleaned_truthfulness is {label!r}, must be one of {', '.join(LABELS)}")
    return Draft(
        skill="mocheg",
        inputs=raw.field(row, "Claim").strip(),
        outputs=LABELS[label],
        images=(folder.picture(f"{name}/images/{pictures[claim_id]}"),),
        group=pictures[claim_id],
        options=tuple(LABELS.values()),
        origin=claim_id,
        origin_split=name,
    )


SPEC = SourceSpec(
    name="mocheg",
    task="classification",
    language="en",
    pool="classification/mocheg",
    drafts=drafts,
    rows={},
    licence="CC BY 4.0 (the publisher's word for the data set; its pictures and articles are the press's)",
    citation="Yao et al., End-to-End Multimodal Fact-Checking and Explanation Generation, SIGIR 2023",
    url="https://github.com/VT-NLP/Mocheg",
    known_problems="A picture alone seldom decides a claim; the written evidence is not part of the record.",
    published=Published(
        held_out=False,
        counts={"train": 4_991, "validation": 180, "test": 466},
        raw=tuple(
            file
            for split, name in FOLDERS.items()
            for file in (
                RawFile(
                    f"{name}/Corpus2.csv",
                    "a row for each piece of evidence: claim_id, Claim, cleaned_truthfulness",
                    split=split,
                ),
                RawFile(
                    f"{name}/img_evidence_qrels.csv",
                    "columns TOPIC (claim), DOCUMENT#, RELEVANCY, evidence_id",
                    split=split,
                ),
                RawFile(f"{name}/images/", "pictures `<claim>-proof-<number>-<description>`", split=split),
            )
        ),
        selection="Claims with at least one picture of evidence, down to the paper's counts by random draw; the first "
        "such picture by name. The instruction names the three answers.",
        known_from=(
            "github.com/VT-NLP/Mocheg, document/MOCHEG_dataset_statement.pdf, section A.3 (files, columns, file names)",
            "github.com/VT-NLP/Mocheg, verification/util/data_util.py (the three labels)",
            "M3IT.py of the released data set (claim in, label out, options with the instruction)",
        ),
        unverified=(
            "Which claims are the paper's 4,991, 180 and 466; the publisher's splits have 11,669, 1,490 and 2,442.",
            "Which picture of several a record holds, and whether one.",
            "The wording of the three answers in the released rows.",
        ),
    ),
)
