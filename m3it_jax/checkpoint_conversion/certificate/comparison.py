"""Two models side by side, a layer at a time: the plain one of HF_DIR and ours.

At each layer both get the plain model's state, so that a difference is that layer's own; our states also go on by
themselves, and what has added up at the end shows in the scores.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from m3it_jax.checkpoint_conversion.certificate.layerwise import LayerwiseModel, Step
from m3it_jax.checkpoint_conversion.certificate.plain.joined import PlainModel

# Stands for a difference that cannot be given: JSON has neither infinity nor "not a number".
NO_NUMBER = sys.float_info.max


@dataclasses.dataclass(frozen=True)
class Probe:
    """What both models are shown.

    Attributes:
      pixels: A normalised picture float32 [3, h, w], None where the models take none.
      row: Token ids of the row, -1 for each position of the picture.
      given: The same row as the processor of HF_DIR writes it; empty: as `row`.
      image_id: What HF_DIR's model looks for in it; None: -1.
      text_ids: The instruction in the Q-Former's vocabulary; empty where it reads none.
      written: Token ids that a T5 has written, its start id first; empty for other models.
    """

    pixels: np.ndarray | None
    row: Sequence[int]
    given: Sequence[int] = ()
    image_id: int | None = None
    text_ids: Sequence[int] = ()
    written: Sequence[int] = ()


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of the next token [T, V] after each position of the text."""

    reference: np.ndarray
    ours: np.ndarray


@dataclasses.dataclass
class _Pair:
    """A state of the plain model, and the one that ours has come to by itself."""

    plain: Any = None  # float64 [T, D]
    ours: Any = None  # float32 [T, D]


class Comparison:
    """Walks through both models with one probe and notes how far apart they are.

    Attributes:
      layers: {part: [{"layer", "max_abs_diff", "scale", "added_up"}]}; `scale` is the largest value of the reference.
    """

    def __init__(self, plain: PlainModel, ours: LayerwiseModel, on_layer: Callable[[], None] = lambda: None):
        """Takes the models and what is called after each layer."""
        self._plain, self._ours, self._on_layer = plain, ours, on_layer
        self.layers: dict[str, list[dict[str, Any]]] = {}

    def run(self, probe: Probe) -> Scores:
        """Returns the scores of both models."""
        plain, ours = self._plain, self._ours
        pictures = _Pair() if probe.pixels is None else self._picture(probe.pixels, probe.text_ids)
        embedded = plain.embedded(probe.given or probe.row, pictures.plain, image_id=probe.image_id)
        if plain.is_encoder_decoder:
            encoded = self._walk(
                "encoder", plain.encoder_states(embedded), ours.encoder_steps(probe.row), context=pictures
            )
            states = plain.decoder_states(plain.embedded(probe.written), encoded.plain)
            hidden = self._walk("decoder", states, ours.decoder_steps(probe.written), context=encoded)
        else:
            hidden = self._walk(
                "decoder", plain.decoder_states(embedded), ours.decoder_steps(probe.row), context=pictures
            )
        scores = self._walk("head", [plain.logits(hidden.plain)], [ours.logits_step()], context=_Pair(), start=hidden)
        return Scores(scores.plain, scores.ours)

    def _picture(self, pixels: np.ndarray, text_ids: Sequence[int]) -> _Pair:
        """Returns what the language models see of a picture [Q, D]."""
        plain, ours = self._plain, self._ours
        steps = ours.vit_steps(np.moveaxis(pixels, 0, -1))
        last = self._walk("vit", plain.vision_states(pixels), steps, context=_Pair())
        read = _Pair(plain.patches(last.plain), ours.patches(last.ours))
        if plain.has_qformer:
            states = plain.qformer_states(read.plain, text_ids)
            last = self._walk("qformer", states, ours.qformer_steps(text_ids), context=read)
            read = _Pair(*(state[: plain.num_picture_tokens] for state in (last.plain, last.ours)))
        return self._walk(
            "projection", [plain.projected(read.plain)], [ours.projection_step()], context=_Pair(), start=read
        )

    def _walk(
        self,
        part: str,
        states: Iterable[np.ndarray],
        steps: Iterable[Step],
        *,
        context: _Pair,
        start: _Pair | None = None,
    ) -> _Pair:
        """Returns the last states of a part."""
        at = start or _Pair()
        rows = self.layers.setdefault(part, [])
        for number, (state, step) in enumerate(zip(states, steps, strict=True)):
            same_input = step(at.plain, context.plain)
            at = _Pair(state, step(at.ours, context.ours))
            rows.append(
                {
                    "layer": number,
                    "max_abs_diff": _difference(state, same_input),
                    "scale": largest(state),
                    "added_up": _difference(state, at.ours),
                }
            )
            self._on_layer()
        return at


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the largest absolute difference."""
    return largest(first - second) if first.shape == second.shape else NO_NUMBER


def largest(array: np.ndarray) -> float:
    """Returns the largest absolute value, `NO_NUMBER` if one is infinite or not a number."""
    value = float(np.abs(array).max())
    return value if np.isfinite(value) else NO_NUMBER
