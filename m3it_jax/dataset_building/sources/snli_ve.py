"""e-SNLI-VE: does a picture bear out a sentence? It stands inside the instruction, and the answer has a reason."""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

FILES = {"train": "esnlive_train.csv", "validation": "esnlive_dev.csv", "test": "esnlive_test.csv"}
# M3IT.py of the released data set.
ANSWERS: Mapping[str, str] = {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}
_URL = "https://raw.githubusercontent.com/maximek3/e-ViL/main/data"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each pair of picture and sentence drawn."""
    folder = raw.RawFolder(SPEC, assets)
    drawn = adapters.drawn(folder.table(FILES[split]), SPEC, split, seed=seed, key=adapters.publisher_id("pairID"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row, split))


def _draft(folder: raw.RawFolder, row: Any, split: str) -> Draft:
    label = raw.field(row, "gold_label")
    if label not in ANSWERS:
        raise RowError("unknown-label", f"gold_label is {label!r}, must be one of {', '.join(ANSWERS)}")
    explanation = raw.field(row, "explanation").strip()
    if not explanation:
        raise RowError("no-explanation", "explanation is empty")
    picture = raw.field(row, "Flickr30kID")
    return Draft(
        skill="snli-ve",
        inputs="",
        outputs=f"{ANSWERS[label]}\n{explanation}",
        images=(folder.picture(f"flickr30k-images/{picture}"),),
        group=picture,
        options=tuple(ANSWERS.values()),
        slots={"HYPO": raw.field(row, "hypothesis").strip()},
        origin=raw.field(row, "pairID"),
        origin_split=FILES[split].removeprefix("esnlive_").removesuffix(".csv"),
        extra={"label": label},
    )


SPEC = SourceSpec(
    name="snli-ve",
    task="classification",
    language="en",
    pool="classification/snli-ve",
    drafts=drafts,
    rows={},
    licence="Unknown (pictures: Flickr terms, by Flickr30k on request)",
    citation="Kayser et al., e-ViL, ICCV 2021; Young et al., From image descriptions to visual denotations, TACL 2014",
    url="https://github.com/maximek3/e-ViL",
    known_problems="The explanations were written for SNLI's texts, not for the pictures; some speak of the text. "
    "The answer has a line break before the explanation.",
    published=Published(
        held_out=False,
        counts={"train": 20_000, "validation": 14_339, "test": 14_740},
        raw=(
            *(
                RawFile(
                    name,
                    "columns (number),pairID,Flickr30kID,hypothesis,gold_label,explanation",
                    url=f"{_URL}/{name}",
                    split=split,
                )
                for split, name in FILES.items()
            ),
            RawFile("flickr30k-images/", "31,783 JPEGs of Flickr30k, by its publisher on request"),
        ),
        borrows=("multi30k",),
        selection="20,000 training pairs drawn at random, all of dev and test. entailment is yes, neutral maybe, "
        "contradiction no; the explanation stands on the next line.",
        known_from=(
            "github.com/maximek3/e-ViL, data/ (dev has 14,339 rows and test 14,740, as in Table 7)",
            "M3IT.py of the released data set ([HYPO], yes and maybe, the line break)",
        ),
        unverified=(
            "The columns of esnlive_train.csv, which we could not open; the other two files have those named.",
            "That contradiction is `no`: the released code was only seen to name yes and maybe.",
            "How the paper drew its 20,000 training rows.",
        ),
    ),
)
