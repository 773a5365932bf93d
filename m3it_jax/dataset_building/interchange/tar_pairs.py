"""WebDataset tars -> drafts of captions; or records, where `m3it export webdataset` wrote them."""

import functools
from collections.abc import Iterator, Mapping
from typing import IO, Any

from m3it_jax import schema
from m3it_jax.dataset_building.interchange import captions, image_endings, json_rows, own, request, tars
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Assets, Draft, Rejected, RowError, SourceSpec


def specs(asked: request.Request, files: list[request.File]) -> list[SourceSpec]:
    """Returns a source for all tars of others, and one for each source in tars of our own."""
    mine: dict[str, list[request.File]] = {}
    first: dict[str, Mapping[str, Any]] = {}
    others = []
    for file in files:
        if row := _first_own(file):
            first.setdefault(str(row["source"]), row)
            mine.setdefault(str(row["source"]), []).append(file)
        else:
            others.append(file)
    found = [
        request.own_spec(
            asked,
            inside,
            functools.partial(drafts, files=tuple(inside), source=name, given=asked.split),
            row=first[name],
        )
        for name, inside in mine.items()
    ]
    if others:
        make = functools.partial(drafts, files=tuple(others), source="", given=asked.split)
        found.append(request.spec(asked, others, make, task="captioning", pool=captions.POOL))
    return found


def _first_own(file: request.File) -> Mapping[str, Any]:
    """Returns the texts of the first record of a tar that this program exported, nothing for other tars."""
    for found in tars.Reader(file, given=file.split).read():
        if isinstance(found, Rejected):
            return {}
        try:
            about = _about(*found)
        except (RowError, OSError, EOFError):
            return {}
        return about if own.is_own(about) else {}
    return {}


def drafts(
    assets: Assets, split: str, seed: int, *, files: tuple[request.File, ...], source: str, given: str
) -> Iterator[Draft | schema.Instance | Rejected]:
    """Yields the pairs of a split; `source` is that of our own records, `given` the split that the user gave."""
    del assets, seed
    for file in files:
        if file.split != split:
            continue
        for found in tars.Reader(file, given=given).read():
            if isinstance(found, Rejected):
                yield found
                continue
            tar, pair = found
            place = f"{file.name}:{pair.place()}"
            try:
                yield _record(tar, pair, source) if source else _pair(tar, pair, place=place, split=split)
            except RowError as error:
                yield Rejected(place, error.reason, str(error))
            except EOFError as error:
                yield Rejected(place, "broken-tar", f"is cut off ({error}); get the tar again")
            except UnicodeDecodeError as error:  # which has a `reason` too, a sentence
                yield Rejected(place, "not-utf8", str(error))


def _pair(tar: IO[bytes], pair: tars.Pair, *, place: str, split: str) -> Draft:
    pictures = pair.pictures()
    endings = ", ".join(sorted(each.ending for each in pair.members))
    if not pictures:
        others = [each.name for each in pair.members if each.ending in image_endings.OTHERS]
        if others:
            raise RowError("picture-format", f"{others[0]} is of a form that is not read; make it JPEG or PNG")
        raise RowError("text-only", f"has {endings} and no picture")
    if len(pictures) > 1:
        raise RowError("several-pictures", f"has {endings} for one caption")
    if pictures[0].size > raw.MAX_PICTURE_BYTES:
        raise RowError("picture-too-large", f"has more than {raw.MAX_PICTURE_BYTES} bytes")
    about = _about(tar, pair)
    text = pair.text(".txt")
    caption = _content(tar, text).decode("utf-8") if text is not None else about.get("caption")
    if not isinstance(caption, str) or not caption.strip():
        raise RowError("caption-missing", "has neither .txt nor a caption in .json")
    image, url = _content(tar, pictures[0]), about.get("url")
    group = request.group_of([image])
    url = url if isinstance(url, str) else ""
    return captions.draft(caption.strip(), image, group=group, origin=place, split=split, url=url)


def _record(tar: IO[bytes], pair: tars.Pair, source: str) -> schema.Instance:
    about = _about(tar, pair)
    if not own.is_own(about):
        raise RowError("missing-field", f"is no record of ours; its .json has {', '.join(about) or 'nothing'}")
    numbered = sorted(pair.pictures(), key=_number)
    return own.instance(about, tuple(_content(tar, each) for each in numbered), source=source)


def _number(member: tars.Member) -> int:
    """Returns the number of a picture in `<id>.<number>.<ending>`."""
    number = member.name.split(".")[-2]
    return int(number) if number.isdecimal() else 0


def _about(tar: IO[bytes], pair: tars.Pair) -> dict[str, Any]:
    member = pair.text(".json")
    value = json_rows.parse(_content(tar, member)) if member is not None and member.size else {}
    return value if isinstance(value, dict) else {}


def _content(tar: IO[bytes], member: tars.Member) -> bytes:
    if member.size > tars.limit(member):
        raise RowError("line-too-long", f"{member.name} has {member.size} bytes, at most {tars.limit(member)} are read")
    return tars.content(tar, member)
