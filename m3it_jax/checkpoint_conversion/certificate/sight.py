"""Does the folder, opened as transformers opens it, see the picture, and the same in it as we do?

A certificate that put the picture's vectors where they belong would compare us with ourselves. So the row of ids is the
one that the folder's processor writes, the vectors go where the folder's model looks for them, and a second picture has
to change the scores:

    processor      <image> <image> ... <s> Describe the picture.      ids of the tokenizer: 2560 2560 ... 1 77 301
    model          puts vectors where ids == image_token_index        0 where the two ids differ: a blind model
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m3it_jax.checkpoint_conversion.certificate import findings
from m3it_jax.checkpoint_conversion.certificate.comparison import Scores, largest
from m3it_jax.checkpoint_conversion.certificate.plain import placeholders
from m3it_jax.checkpoint_conversion.certificate.plain.joined import PlainModel
from m3it_jax.checkpoint_conversion.certificate.plain.placeholders import Placeholders

# Their classes look for placeholders; a class of a publisher's own may put the picture before the text without.
_CLASSES = ("Blip2ForConditionalGeneration", "InstructBlipForConditionalGeneration", "LlavaForConditionalGeneration")


@dataclasses.dataclass(frozen=True)
class Look:
    """How a folder's processor writes a picture, and how its model finds it.

    Attributes:
      placeholders: What the processor writes.
      image_id: What the model looks for, None for a model that looks for nothing.
      problems: Why the two do not fit, a line each.
      left_out: Why nothing can be said; empty if something can.
    """

    placeholders: Placeholders
    image_id: int | None
    problems: tuple[str, ...]
    left_out: str

    def given(self, row: Sequence[int]) -> list[int]:
        """Returns a row of our ids, -1 for a position of the picture, as the folder's processor writes it."""
        if self.image_id is None:
            return list(row)
        written = self.placeholders.token_id
        return [index if index >= 0 or written is None else written for index in row]


def look(folder: Path, plain: PlainModel) -> Look:
    """Returns what the files of a folder say about its pictures.

    Raises:
      UserError: a file is no JSON object.
    """
    found = placeholders.read(folder, plain.config)
    token, image_id = found.token_id, plain.image_id
    if image_id is None:
        classes = plain.config.get("architectures") or _CLASSES
        if found.count is None or classes[0] not in _CLASSES:
            return Look(found, None, (), "config.json names no image_token_index: the picture stands before the text")
        return Look(found, None, (f"config.json has no image_token_index, {found.token} is {token}",), "")
    if token is None:
        return Look(found, None, (), "there is no tokenizer")
    problems = []
    if token != image_id:
        problems.append(
            f"config.json has image_token_index {image_id}, but the tokenizer's {found.token} is {token}: "
            "transformers would not see the picture"
        )
    if token >= plain.text["vocab_size"]:
        problems.append(f"{found.token} is {token}, and the embedding has {plain.text['vocab_size']} rows")
    if found.count not in (None, plain.num_picture_tokens):
        problems.append(
            f"the processor writes {found.count} times {found.token}, a picture takes {plain.num_picture_tokens}"
        )
    is_lost = token >= plain.text["vocab_size"]
    return Look(found, None if is_lost else image_id, tuple(problems), "")


def judge(seen: Look, *, first: Scores, second: Scores) -> dict[str, Any]:
    """Returns the answer about two pictures that both sides were shown beside the same text.

    Args:
      seen: What the files say.
      first: Scores beside the first picture.
      second: Scores beside the second.
    """
    scale = largest(second.reference)
    tolerance = findings.LOGITS * max(1.0, scale)
    difference = largest(second.reference - second.ours)
    # After all of the text, where an answer begins.
    theirs, ours = (largest(getattr(first, side)[-1] - getattr(second, side)[-1]) for side in ("reference", "ours"))
    problems = list(seen.problems)
    if theirs <= tolerance < ours:
        problems.append(f"another picture changes HF_DIR's scores by {theirs:.1e}, and CHECKPOINT's by {ours:.1e}")
    told = {"left_out": seen.left_out} if seen.left_out else {}
    return {
        "ok": not problems and difference <= tolerance,
        "token": seen.placeholders.token,
        "token_id": seen.placeholders.token_id,
        "image_token_index": seen.image_id,
        "count": seen.placeholders.count,
        "placeholder": told,
        "between_pictures": theirs,
        "between_pictures_ours": ours,
        "max_abs_diff": difference,
        "scale": scale,
        "problems": problems,
    }
