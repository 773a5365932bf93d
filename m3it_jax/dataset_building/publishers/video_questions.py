"""What the four sets of questions about videos do alike: one question of each video, files as the web has them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from m3it_jax.dataset_building.publishers import adapters, raw, video
from m3it_jax.dataset_building.specification import Draft, RowError, SourceSpec

# Containers that the usual programs write when they fetch a video from YouTube, which is where these videos come from.
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")


def one_each(
    rows: Iterable[adapters.Placed], spec: SourceSpec, split: str, *, seed: int, field: str
) -> Iterator[adapters.Placed]:
    """Yields one row, at random by the seed, of all that have the same value in `field`; values as they first appear.

    Table 7 of the paper has as many rows as the publishers have videos, with ten and more questions each.
    """
    video_of = adapters.publisher_id(field)
    groups: dict[str, list[adapters.Placed]] = {}
    for row in rows:
        groups.setdefault(video_of(row), []).append(row)
    for name, group in groups.items():
        yield group[adapters.choice_place(len(group), seed=seed, name=f"{spec.name}/{split}", key=name)]


def fetched(folder: raw.RawFolder, stems: Sequence[str], span: tuple[float, float] | None = None) -> video.VideoFile:
    """Returns the video of the first of the names that is there, whatever container it came in.

    Raises:
      RowError: `picture-missing`: there is none; `path-outside`.
    """
    for stem in stems:
        for suffix in SUFFIXES:
            if folder.exists(f"{stem}{suffix}"):
                return video.VideoFile(folder.roots, f"{stem}{suffix}", span)
    raise RowError("picture-missing", f"there is no {' nor '.join(stems)} ({', '.join(SUFFIXES)})")


def draft(
    spec: SourceSpec,
    clip: video.VideoFile,
    *,
    question: str,
    answers: Sequence[str],
    group: str,
    origin: str,
    origin_split: str,
) -> Draft:
    """Returns the draft of a question; of several answers the one most often given is wanted, and all are right.

    Raises:
      RowError: `empty-question` or `empty-answer`.
    """
    given = Counter(answer.strip() for answer in answers if answer.strip())
    if not question.strip():
        raise RowError("empty-question", "the question is empty")
    if not given:
        raise RowError("empty-answer", "every answer is empty")
    ordered = tuple(answer for answer, _ in given.most_common())  # equally frequent ones as they stand
    return Draft(
        skill=spec.name,
        inputs=question.strip(),
        outputs=ordered[0],
        images=(clip,),
        group=group,
        references=ordered,
        origin=origin,
        origin_split=origin_split,
    )
