"""One request: what is asked, about which pictures, and how the answer is to be decoded."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import errors, schema


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How an answer is decoded. The defaults are the greedy decoding of YING-VLM's inference_example.py.

    Attributes:
      max_new_tokens: Most tokens of an answer, its end mark included.
      min_new_tokens: Fewest tokens before the end mark.
      temperature: 0 is greedy; above, scores are divided by it and a token is drawn.
      top_k: Only so many likeliest tokens are drawn from; 0 means all.
      top_p: Only the likeliest tokens that together have this probability are drawn from.
      repetition_penalty: Above 1, tokens that the text has already become less likely.
      num_beams: Above 1, beam search with so many beams.
      length_penalty: Beam search divides log-probabilities by (number of tokens) ** this: above 0 favours long answers.
      early_stopping: When beam search has enough answers. False: as soon as no beginning, at its length so far, beats
        the worst of `num_beams` answers (transformers' default; a beginning that would still improve is given up).
        "never": as soon as no beginning can become better, which loses nothing. True: with `num_beams` answers.
      stop: Texts that end an answer when it has one of them, wherever tokens are cut; the answer ends before it.
      seed: Of the draws; the same request and seed give the same answer in any batch.
    """

    max_new_tokens: int = 32
    min_new_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    stop: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses values that mean nothing.

        Raises:
          ConfigError: the message names the field, its value and what is allowed.
        """
        for name, (kind, least, most) in _ALLOWED.items():
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            known = whole or (kind is float and isinstance(value, float) and math.isfinite(value))
            if not known or not least <= value <= most:
                noun = "a whole number" if kind is int else "a number"
                raise errors.ConfigError(f"{name}={value!r:.40}: must be {noun} from {least} to {most}")
        if self.early_stopping not in EARLY_STOPPING:
            raise errors.ConfigError(
                f"early_stopping={self.early_stopping!r:.40}: must be one of {', '.join(map(repr, EARLY_STOPPING))}"
            )
        _check_stop(self.stop)
        object.__setattr__(self, "stop", tuple(self.stop))
        if self.min_new_tokens > self.max_new_tokens:
            raise errors.ConfigError(
                f"min_new_tokens={self.min_new_tokens}: must not be above max_new_tokens={self.max_new_tokens}"
            )
        if self.num_beams > 1 and self.temperature > 0:
            raise errors.ConfigError(
                f"num_beams={self.num_beams}: beam search draws nothing; set temperature to 0 or num_beams to 1"
            )


def check_text(name: str, value: Any) -> None:
    """Refuses what no tokenizer can read.

    Raises:
      ConfigError: it is no text, or one with lone surrogates, as bytes that are no UTF-8 become.
    """
    if not isinstance(value, str):
        raise errors.ConfigError(f"{name}: must be text, it is {type(value).__name__}")
    if not schema.encodable(value):
        raise errors.ConfigError(f"{name}: holds bytes that are no UTF-8; convert the text to UTF-8")


def _check_stop(stop: Any) -> None:
    if isinstance(stop, str) or not isinstance(stop, Sequence):
        raise errors.ConfigError(f"stop={stop!r:.40}: must be a list of texts; write stop=[...]")
    for number, text in enumerate(stop):
        check_text(f"stop[{number}]", text)
    if not all(stop) or sum(len(text.encode("utf-8")) for text in stop) > _MOST_STOP_BYTES:
        raise errors.ConfigError(
            f"stop: {len(stop)} texts; none may be empty, and together they may have {_MOST_STOP_BYTES} bytes at most"
        )


# Rules of beam search by transformers' names and values -> the number that the device tells them by.
EARLY_STOPPING: dict[bool | str, int] = {False: 0, True: 1, "never": 2}

_MOST_STOP_BYTES = 256  # CHOICE: the table of as many states takes 40 MB with 39,424 tokens
_LEAST_PENALTY = 1e-3  # a score is divided by it
_MOST = 2**31 - 1  # whole numbers go to the device as int32
_LARGEST = 1e30  # CHOICE: far from float32's 3.4e38, so that a product with a score stays finite

_ALLOWED: dict[str, tuple[type, float, float]] = {
    "max_new_tokens": (int, 1, _MOST),
    "min_new_tokens": (int, 0, _MOST),
    "temperature": (float, 0, _LARGEST),
    "top_k": (int, 0, _MOST),
    "top_p": (float, 0, 1),
    "repetition_penalty": (float, _LEAST_PENALTY, _LARGEST),
    "num_beams": (int, 1, _MOST),
    "length_penalty": (float, -_LARGEST, _LARGEST),
    "seed": (int, 0, 2**63 - 1),
}

_FIELDS = ("instruction", "inputs", "images", "video", "turns", "new_pictures", "system", "answer_begin")
_SAMPLING_FIELDS = tuple(field.name for field in dataclasses.fields(SamplingConfig))


@dataclasses.dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
      instruction: What to do; not empty.
      inputs: The text that the instruction is about; may be empty.
      images: Pictures in order, in any form that `pictures.read` takes; a video is its frames. With `turns`, those of
        all turns: pictures that no turn says to be new are shown in the first.
      video: A film whose frames follow the images: a path that `pictures.read_video` takes; None if there is none.
      turns: The turns before this one, with their answers.
      new_pictures: How many pictures this turn is the first to show, where there are turns before it.
      system: What was said before all turns; empty takes the family's own words.
      answer_begin: How the answer begins: it is set before the model goes on, and is no part of what comes back.
      sampling: How the answer is decoded.
    """

    instruction: str
    inputs: str = ""
    images: Sequence[Any] = ()
    video: Any = None
    turns: Sequence[schema.Turn] = ()
    new_pictures: int = 0
    system: str = ""
    answer_begin: str = ""
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Request":
        """Returns the request of a flat dict: the fields above, and those of `SamplingConfig` in place of `sampling`.

        Each of `turns` is a dict of the fields of `schema.Turn`, as in a record's `meta.turns`.

        Raises:
          ConfigError: a key is unknown, the instruction is missing or empty, or a value is not allowed.
        """
        if not isinstance(values, Mapping):
            raise errors.ConfigError(f"request: must be a dict with an instruction, it is {type(values).__name__}")
        values = dict(values)
        sampling = {name: values.pop(name) for name in _SAMPLING_FIELDS if name in values}
        text = {name: values.pop(name) for name in _FIELDS if name in values}
        if values:
            allowed = ", ".join((*_FIELDS, *_SAMPLING_FIELDS))
            raise errors.ConfigError(f"request: unknown field {min(values)!r}; the fields are {allowed}")
        for name in ("instruction", "inputs", "system", "answer_begin"):
            check_text(name, text.get(name, ""))
        if not text.get("instruction", "").strip():
            raise errors.ConfigError("instruction: is empty; say what to do, for instance 'What is in the picture?'")
        if not isinstance(text.get("video"), str | os.PathLike | None):
            raise errors.ConfigError(
                f"video: must be a path, it is {type(text['video']).__name__}; give frames that are decoded as images"
            )
        new = text.get("new_pictures", 0)
        if type(new) is not int or new < 0:
            raise errors.ConfigError(f"new_pictures={new!r:.40}: must be a whole number, 0 or more")
        for _, problem in schema.turn_problems(text.get("turns", ()), "turns"):
            raise errors.ConfigError(problem)
        text["turns"] = tuple(map(schema.Turn.of, text.get("turns", ())))
        return cls(**text, sampling=SamplingConfig(**sampling))

    def conversation(self, num_images: int) -> tuple[schema.Turn, ...]:
        """Returns all turns, this one last and to be answered, with `num_images` pictures in them.

        Raises:
          ConfigError: the turns say that more are new.
        """
        turns = (*self.turns, schema.Turn(self.instruction, self.inputs, "", self.new_pictures))
        new = sum(turn.new_pictures for turn in turns)
        if new > num_images:
            raise errors.ConfigError(f"new_pictures: the turns show {new} in all, there are {num_images} images")
        return schema.placed(turns, num_images)
