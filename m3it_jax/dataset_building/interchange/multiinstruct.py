"""MultiInstruct: `train.jsonl` and `test.jsonl` as its `build_dataset.py` writes them.

Known from the repository VT-NLP/MultiInstruct (README.md, build_dataset.py, train.jsonl): a row has `image_path`,
`prompt` (the instruction with question, regions and options filled in) and `target`, and keeps the fields that they
were made of. Regions are coordinates in the text and stay so.
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import picture_values, request
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Assets, Draft, RowError, Rows, SourceSpec

_KEPT = ("unique_id", "image_source", "region")
_OPTIONS = "[Options]:"  # instruction_templates.py: options_token


def specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the source of the files.

    Raises:
      UserError: a path is missing, or nothing says where the pictures are.
    """
    if asked.images is None:
        raise errors.UserError("format multiinstruct: give --images FOLDER, the folder that holds raw_datasets/")
    files = request.files(asked, suffixes=(".jsonl",))
    make = functools.partial(drafts, files=tuple(files), folder=asked.images)
    spec = request.spec(asked, files, make, task="generation", citation=_CITATION, url=_URL)
    return [spec]


_CITATION = "Xu et al., MultiInstruct, ACL 2023, arXiv 2212.10773"
_URL = "https://github.com/VT-NLP/MultiInstruct"


def drafts(assets: Assets, split: str, seed: int, *, files: tuple[request.File, ...], folder: pathlib.Path) -> Rows:
    """Yields the drafts of a split, in the files' order."""
    del assets, seed
    return request.converted(files, split, functools.partial(_drafts, folder=folder, split=split))


def _drafts(place: str, row: Any, *, folder: pathlib.Path, split: str) -> Iterator[Draft]:
    if isinstance(row, Mapping) and row.get("image_path") in (None, "") and "prompt" in row:
        raise RowError("text-only", "field 'image_path' is empty")
    name, prompt = raw.field(row, "image_path"), raw.field(row, "prompt")
    target = str(raw.field(row, "target", (str, int, float)))
    # What stands from the options on is what the instruction is about.
    instruction, mark, options = prompt.partition(_OPTIONS)
    listed = row.get("options")
    fine = isinstance(listed, list) and all(isinstance(each, str) and each for each in listed)
    chosen = tuple(listed) if fine and any(each in target for each in listed) else ()
    yield Draft(
        skill=str(raw.field(row, "task_name")),
        inputs=f"{mark}{options}".strip(),
        outputs=target.strip(),
        images=picture_values.named(name, folder),
        group=name,
        options=chosen,
        instruction=instruction.strip(),
        origin=place,
        origin_split=split,
        extra={key: row[key] for key in _KEPT if row.get(key)},
    )
