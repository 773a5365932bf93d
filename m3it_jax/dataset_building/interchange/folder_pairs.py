"""A folder of pictures with a `.txt` beside each, sub-folders too -> drafts of captions."""

import dataclasses
import os
import pathlib
import unicodedata
from collections.abc import Iterator, Mapping

from m3it_jax import errors, schema
from m3it_jax.dataset_building.interchange import captions, image_endings, json_rows, picture_values, request, splits
from m3it_jax.dataset_building.specification import Draft, Rejected, RowError

_TEXT = ".txt"
# What people lay into such folders and is no caption.
_ABOUT = ("readme", "license", "licence", "requirements", "classes", "labels", "metadata", "notice", "copying")


@dataclasses.dataclass(frozen=True)
class Rule:
    """What decides the split of a pair: the split that the user gave, or the names.

    Attributes:
      given: The given split, or empty.
      by_pictures: Names of the pictures tell it: each of them does, and no folder.
    """

    given: str = ""
    by_pictures: bool = False

    def told(self, above: str, relative: pathlib.PurePath) -> set[str]:
        """Returns the splits that are told for a picture, by its path inside of the given folder, called `above`."""
        if self.given:
            return {self.given}
        return splits.words(relative.stem) if self.by_pictures else splits.of(relative.parent.parts, above=above)

    def split(self, above: str, relative: pathlib.PurePath) -> str:
        """Returns the split of a picture.

        Raises:
          UserError: its folders tell two.
        """
        return splits.chosen(self.told(above, relative), relative.parent, default="train")


def files(asked: request.Request) -> tuple[list[request.File], dict[pathlib.Path, Rule]]:
    """Returns an entry for each given folder and each of its splits, and what decides the split in each folder.

    Raises:
      UserError: a folder tells two splits, or holds no picture.
    """
    found: list[request.File] = []
    rules: dict[pathlib.Path, Rule] = {}
    for path in asked.paths:
        rules[path] = rule = _rule(path, asked.split)
        folders: dict[str, dict[str, None]] = {}
        for relative in _pictures(path):
            folders.setdefault(rule.split(path.name, relative), {})[relative.parent.as_posix()] = None
        if not folders:
            raise errors.UserError(
                f"{path}: holds no picture; give tars, a TSV or a folder of pictures with .txt captions"
            )
        for split in (each for each in schema.SPLITS if each in folders):
            found.append(request.File(path, split, _name(path, list(folders[split]))))
    return found, rules


def _rule(path: pathlib.Path, given: str) -> Rule:
    """Returns the rule of a folder: a name such as `test_drive.jpg` counts only if all pictures' names tell a split."""
    if given or any(Rule().told(path.name, each) for each in _pictures(path)):
        return Rule(given)
    by_pictures = Rule(by_pictures=True)
    return by_pictures if all(len(by_pictures.told("", each)) == 1 for each in _pictures(path)) else Rule()


def _pictures(path: pathlib.Path) -> Iterator[pathlib.PurePath]:
    """Yields the pictures under a folder, relative to it."""
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            if _is_picture(name):
                yield pathlib.PurePath(os.path.relpath(os.path.join(folder, name), path))


def _is_picture(name: str) -> bool:
    return name.lower().endswith(image_endings.PICTURES) and not request.is_of_macos(name)


def _name(path: pathlib.Path, folders: list[str]) -> str:
    inside = f"/{folders[0]}" if len(folders) == 1 and folders[0] != "." else ""
    return json_rows.spelled(f"{path.resolve().name}{inside}")


def read(file: request.File, *, rules: Mapping[pathlib.Path, Rule]) -> Iterator[Draft | Rejected]:
    """Yields the pairs of a folder that are of the file's split, in order of their names; no link is followed.

    A text without a picture and a folder that is a link are told with the train split, or the only one.
    """
    path, rule = file.path, rules[file.path]
    for folder, folders, names in os.walk(path):
        folders.sort()
        relative = pathlib.PurePath(os.path.relpath(folder, path))
        stems = {_stem(name) for name in names if _is_picture(name)}
        for name in sorted(names):
            inside = relative / name
            if _is_picture(name):
                if rule.split(path.name, inside) == file.split:
                    yield _pair(path, inside, split=file.split)
            elif rejected := _alone(inside, names, stems):
                if _split_of_others(rule, path.name, inside) == file.split:
                    yield rejected
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                inside = relative / name
                if _split_of_others(rule, path.name, inside / name) == file.split:
                    yield Rejected(_place(inside), "path-outside", "is a link to a folder, and no link is followed")


def _split_of_others(rule: Rule, above: str, inside: pathlib.PurePath) -> str:
    told = rule.told(above, inside)
    return told.pop() if len(told) == 1 else "train"


def _pair(path: pathlib.Path, inside: pathlib.PurePath, *, split: str) -> Draft | Rejected:
    place = _place(inside)
    caption = _caption(path, str(inside.with_suffix(_TEXT)))
    if isinstance(caption, RowError):
        return Rejected(place, caption.reason, str(caption))
    image = picture_values.Named(path, os.path.normpath(inside))
    return captions.draft(caption, image, group=place.replace("+", "_"), origin=place, split=split)


def _stem(name: str) -> str:
    """Returns a name without its ending, in one of its Unicode forms: `é` is one character or two."""
    return unicodedata.normalize("NFC", os.path.splitext(name)[0])


def _place(inside: pathlib.PurePath) -> str:
    return json_rows.spelled(str(inside))


def _alone(inside: pathlib.PurePath, names: list[str], stems: set[str]) -> Rejected | None:
    """Returns what is told of a text without a picture; None for every other file."""
    is_caption = (
        inside.suffix.lower() == _TEXT and _stem(inside.name) not in stems and not request.is_of_macos(inside.name)
    )
    if not is_caption or inside.stem.lower().startswith(_ABOUT):
        return None
    for name in names:
        stem, ending = os.path.splitext(name)
        if stem == inside.stem and ending.lower() in image_endings.OTHERS:
            place = _place(inside.parent / name)
            return Rejected(place, "picture-format", f"is a {ending} file, which is not read; make it JPEG or PNG")
    return Rejected(_place(inside), "text-only", "there is no picture of its name beside it")


def _caption(root: pathlib.Path, name: str) -> str | RowError:
    try:
        path = picture_values.Named(root, os.path.normpath(name)).place()
        if path is None or not os.path.isfile(path):
            return RowError("caption-missing", f"there is no {os.path.basename(name)} beside it")
        with open(path, "rb") as file:
            data = file.read(captions.MAX_TEXT_BYTES + 1)
        if len(data) > captions.MAX_TEXT_BYTES:
            return RowError("line-too-long", f"its caption has more than {captions.MAX_TEXT_BYTES} bytes")
        return data.decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        return RowError("not-utf8", f"its caption cannot be read ({error})")
