"""Caption files of the Renmin University group: `<picture>#<number> <sentence>` a line, and a list of each split."""

import collections
import re
from collections.abc import Callable, Iterator

from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Draft, Rejected, RowError

# COCO-CN: `COCO_val2014_000000000042#0<tab>...`; Flickr8k-CN: `667626_18933d713e.jpg#zhc#0 ...`.
_LINE = re.compile(r"(?P<picture>[^\s#]+?)(?:\.jpg)?#(?:zhc#)?\d+\s+(?P<text>\S.*)")


def drafts(
    folder: raw.RawFolder, name: str, *, captions: str, split: str, path: Callable[[str], str]
) -> Iterator[Draft | Rejected]:
    """Yields a draft for each picture that the file `split` lists: its first caption, and all as references.

    `name` is the source's; `path` turns a picture's id into its place in the raw folder.
    """
    found: dict[str, list[str]] = collections.defaultdict(list)
    for place, line in folder.lines(captions):
        match = _LINE.fullmatch(line.strip())
        if match:
            found[match["picture"]].append(match["text"])
        else:
            yield Rejected(place, "bad-line", f"{line[:80]!r} is not a picture, # with a number, and a sentence")
    for place, line in folder.lines(split):
        picture = line.strip().removesuffix(".jpg")
        try:
            if picture not in found:
                raise RowError("missing-caption", f"{captions} has no caption of {picture!r}")
            where = path(picture)
        except RowError as error:
            yield Rejected(place, error.reason, str(error))
            continue
        yield Draft(
            skill=name,
            inputs="",
            outputs=found[picture][0],
            images=(folder.picture(where),),
            group=where.rsplit("/", 1)[-1],
            references=tuple(dict.fromkeys(found[picture])),
            origin=picture,
            origin_split=split.rsplit("/", 1)[-1].removesuffix(".txt"),
        )
