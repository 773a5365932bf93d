"""Visual Storytelling (VIST): a story of five sentences about five photographs of one album."""

from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

NUM_PHOTOGRAPHS = 5  # of a story (arXiv 1604.03968, section 3)

_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_SUFFIXES = (".jpg", ".png", ".gif", ".jpeg")  # most are .jpg; the annotations name the photograph alone


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each story drawn whose photographs are all there."""
    folder = raw.RawFolder(SPEC, assets)
    name = _SPLITS[split]
    stories = _stories(folder, f"sis/{name}.story-in-sequence.json")
    told: dict[tuple[str, ...], list[str]] = {}  # the same photographs -> the stories that people told about them
    for _, story in stories:
        if story["text"]:
            told.setdefault(story["photographs"], []).append(story["text"])

    def draft(story: Mapping[str, Any]) -> Draft:
        if story["problem"]:
            raise RowError(*story["problem"])
        photographs = story["photographs"]
        return Draft(
            skill="vist",
            inputs="",
            outputs=story["text"],
            images=tuple(_photograph(folder, f"images/{name}/{photograph}") for photograph in photographs),
            group="+".join(photographs),
            references=tuple(dict.fromkeys((story["text"], *told[photographs]))),
            origin=story["story_id"],
            origin_split=name,
            extra={"album_id": story["album_id"]},
        )

    key = adapters.publisher_id("story_id")
    yield from adapters.usable(stories, draft, SPEC, split=split, seed=seed, key=key)


def _stories(folder: raw.RawFolder, file: str) -> list[tuple[str, dict[str, Any]]]:
    """Returns (place, story) in the file's order; the file has one entry for each sentence of a story."""
    sentences: dict[str, list[tuple[str, Any]]] = {}
    for place, entry in folder.json_elements(file, "annotations"):
        # Each sentence stands in a list of its own.
        row = entry[0] if isinstance(entry, list) and len(entry) == 1 else entry
        story_id = row["story_id"] if isinstance(row, dict) and isinstance(row.get("story_id"), str) else place
        sentences.setdefault(story_id, []).append((place, row))
    return [(rows[0][0], _story(story_id, rows)) for story_id, rows in sentences.items()]


def _story(story_id: str, rows: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a story's photographs and text, or its `problem`: (reason, text)."""
    story: dict[str, Any] = {"story_id": story_id, "photographs": (), "text": "", "album_id": "", "problem": ()}
    try:
        parts = sorted(
            (
                raw.field(row, "worker_arranged_photo_order", int),
                raw.field(row, "photo_flickr_id"),
                raw.field(row, "original_text").strip(),
                raw.field(row, "album_id"),
            )
            for _, row in rows
        )
        if len({order for order, *_ in parts}) != NUM_PHOTOGRAPHS or len(parts) != NUM_PHOTOGRAPHS:
            raise RowError("incomplete-story", f"story {story_id} must have {NUM_PHOTOGRAPHS} sentences in an order")
    except RowError as error:
        return {**story, "problem": (error.reason, str(error))}
    _, photographs, texts, albums = zip(*parts, strict=True)
    return {**story, "photographs": photographs, "text": " ".join(texts).strip(), "album_id": albums[0]}


def _photograph(folder: raw.RawFolder, stem: str) -> raw.PictureFile:
    for suffix in _SUFFIXES:
        if folder.exists(f"{stem}{suffix}"):
            return folder.picture(f"{stem}{suffix}")
    raise RowError("picture-missing", f"there is no {stem} ({', '.join(_SUFFIXES)})")


SPEC = SourceSpec(
    name="vist",
    task="generation",
    language="en",
    pool="generation/vist",
    drafts=drafts,
    rows={},
    licence="Unknown (photographs: Creative Commons licences of their Flickr owners)",
    citation="Huang et al., Visual Storytelling, NAACL 2016",
    url="https://visionandlanguage.net/VIST/",
    known_problems="About a seventh of the validation and test stories lack a photograph (the paper's counts say so "
    "too); each such story is named, so build with --max-bad 0.2.",
    published=Published(
        held_out=False,
        counts={"train": 5_000, "validation": 4_315, "test": 4_350},
        raw=(
            *(
                RawFile(
                    f"sis/{name}.story-in-sequence.json",
                    "{images, albums, annotations: [[{story_id, album_id, photo_flickr_id, original_text, text, "
                    "worker_arranged_photo_order}]]}, five annotations a story",
                    url="https://visionandlanguage.net/VIST/json_files/story-in-sequence/SIS-with-labels.tar.gz",
                    split=split,
                )
                for split, name in _SPLITS.items()
            ),
            *(
                RawFile(f"images/{name}/", "<photo_flickr_id>.jpg, .png or .gif", split=split)
                for split, name in _SPLITS.items()
            ),
        ),
        selection="Stories at random among those whose five photographs are there, up to the paper's number. The "
        "sentences as people wrote them, in the order of the photographs, joined by a space.",
        known_from=(
            "github.com/lichengunc/vist_api (README: archives; vist.py: fields, images/<split>/<id>.jpg)",
            "visionandlanguage.net/VIST (stories, albums, archives of the photographs)",
            "M3IT paper, Table 7, and the released data set: all pictures of a story, sentences joined by a space",
        ),
        unverified=(
            "Whether the paper took `original_text` or the publisher's tokenised `text` with [male] for names.",
            "Which stories it drew, and that its smaller counts come from missing photographs.",
            "The folders of the photographs: the publisher's archives unpack as one wishes.",
        ),
    ),
)
