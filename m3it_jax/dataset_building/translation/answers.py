"""From what a translator said about segments to a whole text, by the store alone: nothing is asked here.

A segment whose marks did not survive is not lost: what stands between its marks is translated on its own (`pieces`).
So what has to be asked comes in two rounds, `wanted` and, of what was said to those, `wanted_pieces`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping

from m3it_jax.dataset_building.translation import masking

KEPT, PIECES = "kept", "pieces"

_BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


@dataclasses.dataclass(frozen=True)
class Said:
    """What became of one segment.

    Attributes:
      text: Its translation; empty if there is none.
      marks: `kept` where what must survive came back in its place, `pieces` where it was put around translated pieces,
        empty where there was nothing to keep.
      reason: Why there is no translation.
    """

    text: str
    marks: str = ""
    reason: str = ""


@functools.lru_cache(maxsize=1 << 12)  # instructions and short answers come again and again
def _asked(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, masking.Masked], ...]]:
    """Returns the masked segments of a text, and those segments that have marks with what they are masked as."""
    masked = [(segment, masking.mask(segment)) for segment in masking.cut(text).segments]
    return tuple(each.text for _, each in masked), tuple(pair for pair in masked if pair[1].kept)


def wanted(texts: Iterable[str]) -> list[str]:
    """Returns the masked segments of texts, some of them several times."""
    return [segment for text in texts for segment in _asked(text)[0]]


def wanted_pieces(texts: Iterable[str], said: Mapping[str, str]) -> Iterator[str]:
    """Yields what is asked in the second round: the pieces of segments whose marks got lost in `said`."""
    for text in texts:
        for segment, masked in _asked(text)[1]:
            answer = said.get(masked.text)
            if answer is not None and masking.restored(answer, masked) is None:
                yield from masking.pieces(segment).segments


def of_segment(segment: str, said: Mapping[str, str]) -> Said:
    """Returns what becomes of a segment, given what was said to masked segments and to pieces."""
    masked = masking.mask(segment)
    answer = said.get(masked.text)
    if answer is None:
        return Said("", reason="no-answer")
    if not masked.kept:
        return _checked(answer, marks="", invented=masking.restored(answer, masked) is None)
    text = masking.restored(answer, masked)
    if text is not None:
        return _checked(text, marks=KEPT)
    cut = masking.pieces(segment)
    parts = [said.get(piece) for piece in cut.segments]
    if None in parts:
        return Said("", reason="no-answer")
    problem = next((found.reason for part in parts if (found := _checked(part or "", marks="")).reason), "")
    return Said("", reason=problem) if problem else Said(cut.joined([(part or "").strip() for part in parts]), PIECES)


def _checked(text: str, *, marks: str, invented: bool = False) -> Said:
    line = text.strip()
    if not line:
        return Said("", reason="empty")
    if not _BREAKS.isdisjoint(line):
        return Said("", reason="more-lines")
    if invented:
        return Said("", reason="mark-invented")
    return Said(line, marks)
