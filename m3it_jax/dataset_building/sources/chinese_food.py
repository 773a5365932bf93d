"""ChineseFoodNet: which of ten Chinese dishes a photograph shows."""

import importlib.util
import itertools
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax import errors
from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

NAMES = "class_names.xlsx"
TEST = "release_data/test_truth_list.txt"
NUM_OPTIONS = 10  # arXiv 2306.04387, Figure 7

_PICTURES = "release_data/test/"
_MAX_NAMES = 10_000


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each photograph drawn; the paper has a test split alone."""
    folder = raw.RawFolder(SPEC, assets)
    names = dish_names(folder)
    rows = ((place, dict(zip(("picture", "dish"), line.split(), strict=False))) for place, line in folder.lines(TEST))
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=adapters.publisher_id("picture"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row, names, seed=seed))


def _draft(folder: raw.RawFolder, row: Any, names: Mapping[str, str], *, seed: int) -> Draft:
    picture, number = raw.field(row, "picture"), raw.field(row, "dish")
    if number not in names:
        raise RowError("unknown-class", f"{number!r} is no number of {NAMES}")
    dish = names[number]
    options = adapters.among_others(dish, names.values(), NUM_OPTIONS, seed=seed, name=SPEC.name, key=picture)
    return Draft(
        skill="chinese-food",
        inputs=adapters.options_text(options),
        outputs=adapters.lettered(options)[options.index(dish)],
        images=(folder.picture(f"{_PICTURES}{picture}"),),
        group=picture,
        options=options,
        origin=picture,
        origin_split="test",
        extra={"class": number},
    )


def dish_names(folder: raw.RawFolder) -> dict[str, str]:
    """Returns the Chinese name of each dish by its number: the second and first column of the publisher's table.

    Raises:
      UserError: openpyxl is not installed; the table is missing, damaged, or has too few names.
    """
    if importlib.util.find_spec("openpyxl") is None:
        raise errors.UserError(
            "package openpyxl is needed to read names of dishes: pip install -e '.[build]' in the repository"
        )
    import openpyxl

    path = folder.path(NAMES)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > raw.MAX_LINE_BYTES:
            raise errors.UserError(f"{path}: unpacks to {unpacked} bytes, at most {raw.MAX_LINE_BYTES} are read")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = list(itertools.islice(book.worksheets[0].iter_rows(max_col=2, values_only=True), _MAX_NAMES))
        book.close()
        found = {str(int(number)): str(dish).strip() for number, dish in rows if number is not None and dish}
    except errors.UserError:
        raise
    except Exception as error:  # a damaged table makes openpyxl raise whatever it meets: KeyError, ParseError, ...
        raise errors.UserError(f"{path}: cannot be read ({error}); get the file again") from error
    if len({*found.values()}) < NUM_OPTIONS:
        raise errors.UserError(f"{path}: names {len(found)} dishes, at least {NUM_OPTIONS} are needed")
    return found


SPEC = SourceSpec(
    name="chinese-food",
    task="chinese",
    language="zh",
    pool="chinese/chinese-food",
    drafts=drafts,
    rows={},
    licence="Unknown (publisher: for research only)",
    citation="Chen et al., ChineseFoodNet: A Large-scale Image Dataset for Chinese Food Recognition, arXiv 1705.02743",
    url="https://sites.google.com/view/chinesefoodnet",
    published=Published(
        held_out=True,
        counts={"train": 0, "validation": 0, "test": 1_100},
        raw=(
            RawFile(NAMES, "table without a head: number, Chinese name, English name; 208 rows"),
            RawFile(TEST, "lines `<picture> <number>`"),
            RawFile(_PICTURES, "JPEGs"),
        ),
        selection="1,100 test pictures at random. Ten options: the dish and nine others drawn at random.",
        known_from=(
            "arXiv 1705.02743 (208 dishes; a test set of its own)",
            "github.com/powerli2002/ChineseFoodNet-Resnet50 (utils/getNamePathLabel.py: files, columns, folders)",
            "M3IT paper, Figure 7 (ten lettered names) and Table 7 (a test split alone)",
        ),
        unverified=(
            "Which pictures the paper drew; 1,100 may stand for ten dishes with 110 pictures each (its folder is named "
            "chinesefoodnet-10), and then all rows would have the same ten options.",
            "That numbers in the lists begin at 0 as in the table; public code reads them so.",
        ),
    ),
)
