"""VisualMRC: questions about screenshots of web pages; the regions that hold the answer are outlined in red."""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
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

FILES = {"train": "data/train.jsonl", "validation": "data/dev.jsonl", "test": "data/test.jsonl"}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question drawn."""
    folder = raw.RawFolder(SPEC, assets)
    rows = _questions(folder, FILES[split])
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=adapters.publisher_id("question_id"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row, FILES[split]))


def _questions(folder: raw.RawFolder, name: str) -> Iterator[tuple[str, Any] | Rejected]:
    """Yields a row for each question of each page, without the page's words, which are most of the file."""
    for row in folder.json_lines(name):
        if isinstance(row, Rejected) or not isinstance(row[1], Mapping) or not isinstance(row[1].get("qa_data"), list):
            yield row
            continue
        place, page = row
        regions = page.get("bounding_boxes")
        if isinstance(regions, list):
            regions = [
                {key: region.get(key) for key in ("id", "shape")} if isinstance(region, Mapping) else region
                for region in regions
            ]
        for number, question in enumerate(page["qa_data"]):
            yield (
                f"{place}: qa_data[{number}]",
                {
                    "question_id": f"{page.get('id')}/{number}",
                    "image_filename": page.get("image_filename"),
                    "bounding_boxes": regions,
                    "qa_data": question,
                },
            )


def _draft(folder: raw.RawFolder, row: Any, name: str) -> Draft:
    question = raw.field(row, "qa_data", Mapping)
    answer = raw.field(question, "answer", Mapping)
    picture = raw.field(row, "image_filename")
    regions = {str(raw.field(region, "id", (str, int))): region for region in raw.field(row, "bounding_boxes", list)}
    return Draft(
        skill="visual-mrc",
        inputs=raw.field(raw.field(question, "question", Mapping), "text").strip(),
        outputs=raw.field(answer, "text").strip(),
        images=(folder.picture(picture),),
        group=picture.rsplit("/", 1)[-1],
        boxes=tuple(
            _box(regions, str(region)) for region in dict.fromkeys(map(str, raw.field(answer, "relevant", list)))
        ),
        origin=raw.field(row, "question_id"),
        origin_split=name.removeprefix("data/").removesuffix(".jsonl"),
    )


def _box(regions: Mapping[str, Any], name: str) -> Box:
    """Returns (left, top, right, bottom) of a region in pixels."""
    if name not in regions:
        raise RowError("bad-box", f"the answer names region {name}, which the page does not have")
    shape = raw.field(regions[name], "shape", Mapping)
    left, top, width, height = (round(raw.field(shape, key, (int, float))) for key in ("x", "y", "width", "height"))
    return left, top, left + width, top + height


SPEC = SourceSpec(
    name="visual-mrc",
    task="reasoning",
    language="en",
    pool="reasoning/visual-mrc",
    drafts=drafts,
    rows={},
    licence="Unknown by the paper; its publisher gives it on request, against name, institution and purpose",
    citation="Tanaka et al., VisualMRC, AAAI 2021",
    url="https://github.com/nttmdlab-nlp/VisualMRC",
    known_problems="Screenshots are large and their text small: a model that sees 224 x 224 pixels cannot read it.",
    published=Published(
        held_out=False,
        counts={"train": 15_000, "validation": 2_500, "test": 5_000},
        raw=(
            *(
                RawFile(
                    name,
                    "lines {id, image_filename, bounding_boxes: [{id, shape: {x, y, width, height}, ...}], "
                    "qa_data: [{question: {text}, answer: {text, relevant}}]}",
                    split=split,
                )
                for split, name in FILES.items()
            ),
            RawFile("images/", "the screenshots, named by image_filename"),
        ),
        selection="Questions drawn at random from the publisher's train, dev and test down to the paper's counts. The "
        "regions relevant to the answer are outlined in red.",
        known_from=(
            "github.com/nttmdlab-nlp/VisualMRC, README.md until May 2021 (fields; the data come on request)",
            "the publisher's InstructDoc code (data/<split>.jsonl, image_filename relative to the folder)",
            "the hub's instructions for visual_mrc (they speak of relevant bounded objects)",
        ),
        unverified=(
            "That the released pictures outline the relevant regions: only the instructions say so.",
            "The name of the picture folder, and the types of a region's id and coordinates.",
            "How the paper drew its questions.",
        ),
    ),
)
