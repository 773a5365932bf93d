"""MiniGPT-4's `cc_sbu_align`: 3,500 detailed captions for its second stage, `filter_cap.json` beside `image/<id>.jpg`.

Known from the repository Vision-CAIR/MiniGPT-4 (minigpt4/datasets/datasets/cc_sbu_dataset.py).
"""

import functools
import json
import pathlib
from collections.abc import Iterator

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import file_forms, picture_values, request, splits
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Assets, Draft, Rejected, RowError, SourceSpec

CAPTIONS = "filter_cap.json"
PICTURES = "image"

# CHOICE: the released file has 2 MB; it is one object and is read whole.
MAX_FILE_BYTES = 256 << 20


def specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the source of the folder, or of the caption file itself.

    Raises:
      UserError: the captions are missing or too large.
    """
    found = []
    for path in asked.paths:
        file = path / CAPTIONS if path.is_dir() else path
        if not file.is_file():
            raise errors.UserError(f"{file}: is missing; give the folder cc_sbu_align with {CAPTIONS} and {PICTURES}/")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise errors.UserError(f"{file}: has more than {MAX_FILE_BYTES} bytes, so it is not MiniGPT-4's")
        told = splits.of([file.name], above=splits.above(path))
        found.append(request.File(file, splits.chosen(told, file, given=asked.split, default="train")))
    make = functools.partial(drafts, files=tuple(found), folder=asked.images)
    return [request.spec(asked, found, make, task="captioning", pool="interchange/detailed", citation=_CITATION)]


_CITATION = "Zhu et al., MiniGPT-4, arXiv 2304.10592"


def drafts(
    assets: Assets,
    split: str,
    seed: int,
    *,
    files: tuple[request.File, ...],
    folder: pathlib.Path | None,
) -> Iterator[Draft | Rejected]:
    """Yields one draft for each annotation.

    Raises:
      UserError: the file is no JSON object with a list of annotations.
    """
    del assets, seed
    for file in files:
        if file.split != split:
            continue
        file_forms.check_text(file.path)
        try:
            annotations = json.loads(file.path.read_text("utf-8-sig"))["annotations"]
            assert isinstance(annotations, list)
        except (OSError, ValueError, TypeError, KeyError, AssertionError, RecursionError) as error:
            told = f" ({error})" if isinstance(error, ValueError) else ""
            raise errors.UserError(
                f"{file.path}: is no JSON object with a list `annotations`{told}; get it again"
            ) from error
        pictures = folder or file.path.parent / PICTURES
        for number, row in enumerate(annotations):
            place = f"{file.path.name}: annotations[{number}]"
            try:
                image_id = str(raw.field(row, "image_id", (str, int)))
                caption = raw.field(row, "caption").strip()
                images = picture_values.named(f"{image_id}.jpg", pictures)
            except RowError as error:
                yield Rejected(place, error.reason, str(error))
                continue
            yield Draft("detailed-caption", "", caption, images, image_id, origin=place, origin_split=split)
