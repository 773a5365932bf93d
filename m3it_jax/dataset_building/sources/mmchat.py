"""MMChat: the last reply of a Chinese conversation about a shared picture."""

import hashlib
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

_SPLITS = {"train": "train", "validation": "dev", "test": "test"}
_PICTURES = "weibo_img/image/"
_URL = "https://huggingface.co/datasets/silver/mmchat/resolve/main/mmchat/{}.gz"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each conversation drawn of which a picture is there."""
    folder = raw.RawFolder(SPEC, assets)
    key = adapters.publisher_id("line")
    rows = list(_conversations(folder, _SPLITS[split]))

    def draft(row: Any) -> Draft:
        turns = [turn.strip() for turn in raw.field(row, "dialog", list) if isinstance(turn, str) and turn.strip()]
        if len(turns) < 2:
            raise RowError("too-short", f"the conversation has {len(turns)} turns, at least 2 are needed")
        picture = _first_fetched(folder, row["urls"])
        return Draft(
            skill="mmchat",
            inputs="\n".join(turns[:-1]),
            outputs=turns[-1],
            images=(folder.picture(f"{_PICTURES}{picture}"),),
            group=picture,
            origin=row["line"],
            origin_split=_SPLITS[split],
        )

    yield from adapters.usable(rows, draft, SPEC, split=split, seed=seed, key=key)


def _conversations(folder: raw.RawFolder, name: str) -> Iterator[adapters.Placed]:
    """Yields (place, {dialog, urls, line}): two files side by side, of which each line belongs to the other's."""
    urls = {place.rpartition(":")[2]: line.split(";") for place, line in folder.lines(f"img_url_{name}.jsonl")}
    for row in folder.json_lines(f"dialog_{name}.jsonl"):
        if isinstance(row, Rejected):
            yield row
            continue
        place, dialog = row
        number = place.rpartition(":")[2]
        yield place, {"dialog": dialog, "urls": urls.get(number, []), "line": number}


def picture_name(url: str) -> str:
    """Returns the file name that the publisher's own downloader (url2imgid.py) gives a picture."""
    _, dot, suffix = urllib.parse.urlsplit(url).path.rpartition(".")
    return f"{hashlib.sha256(url.encode('utf-8')).hexdigest()}.{suffix if dot else 'jpg'}"


def _first_fetched(folder: raw.RawFolder, urls: Sequence[str]) -> str:
    names = [picture_name(url.strip()) for url in urls if url.strip()]
    for name in names:
        if folder.exists(f"{_PICTURES}{name}"):
            return name
    raise RowError("picture-missing", f"none of its {len(names)} pictures is there: {', '.join(names[:2])}")


SPEC = SourceSpec(
    name="mmchat",
    task="chinese",
    language="zh",
    pool="chinese/mmchat",
    drafts=drafts,
    rows={},
    licence="Unknown (conversations: MIT; pictures: their owners on Weibo)",
    citation="Zheng et al., MMChat: Multi-Modal Chat Dataset on Social Media, LREC 2022",
    url="https://github.com/silverriver/MMChat",
    known_problems="Pictures disappear from Weibo's servers: conversations without one are named and others take their "
    "place; raise --max-bad if many are gone.",
    published=Published(
        held_out=True,
        counts={"train": 3_000, "validation": 1_000, "test": 1_000},
        raw=(
            *(
                RawFile(f"dialog_{name}.jsonl", 'a line for each conversation: ["turn", "turn", ...]', url, split=split)
                for split, name in _SPLITS.items()
                for url in (_URL.format(f"dialog_{name}.jsonl"),)
            ),
            *(
                RawFile(
                    f"img_url_{name}.jsonl",
                    "a line for each conversation: its pictures, `url;url;...`",
                    url,
                    split=split,
                )
                for split, name in _SPLITS.items()
                for url in (_URL.format(f"img_url_{name}.jsonl"),)
            ),
            RawFile(_PICTURES, "pictures under the names of the publisher's download_weibo_img_2.py"),
        ),
        selection="Conversations at random among those of which a picture is there; the last turn is the reply, the "
        "turns before it, one a line, are the input; the first picture that is there.",
        known_from=(
            "Hugging Face: silver/mmchat (the publisher's files and their lines, as its loading script reads them)",
            "github.com/silverriver/MMChat (weibo_image_crawler: names of the pictures)",
            "M3IT paper, Table 7: one picture a row (modality `image`)",
        ),
        unverified=(
            "How the paper splits a conversation into input and reply, and which picture of up to nine it takes.",
            "Whether it used MMChat or the smaller MMChat-hf, whose pictures people judged to be related.",
        ),
    ),
)
