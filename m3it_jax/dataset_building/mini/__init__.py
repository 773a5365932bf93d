"""The small edition, m3it-mini: real pictures that come inside packages, for every task family of the paper."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from m3it_jax.dataset_building.mini import digits, emoji, flags, pairs, shapes, videos
from m3it_jax.dataset_building.specification import SourceSpec
from m3it_jax.dataset_building.writing.order import Order

NAME = "m3it-mini"

CARD = """\
This is m3it-mini, a small stand-in: it is NOT the 2.4-million-instance M3IT (arXiv 2306.04387).

## How it was made

Every picture comes from a package that can be installed, or is drawn from such pictures; every question, answer and
instruction that a package does not hold was written by templates. Instructions are our own, at least ten for each
source. The text of the train split trained the vocabulary in `tokenizer.model`.

**Split by picture, never by question.** `meta.group` names the pictures a record is made of (several joined by `+`);
no part of a group is in two splits. easy-VQA's own test pictures are the test split. A pair, scene or video is of a
split only if all its digits are. Flags are split by drawing: train has flat ones, validation waved ones of our own,
test those of another artist; every country is in train.

`meta.captions` describes each picture for pre-training; `meta.attributes` labels the first one; the label tables in
`m3it.json` come from the train split alone. `meta.references` lists every right answer: countries that fly the same
flag stand together there.

Read it with `tfds.builder_from_directory("<this folder>/<source>/<version>")`; `m3it check` verifies every byte of it.
"""

_SHAPES = {
    "licence": "MIT",
    "citation": "Victor Zhou, easy-VQA, 2019",
    "url": "https://github.com/vzhou842/easy-VQA",
    "known_problems": "Pictures whose colour or shape the questions do not tell (one in ten) are left out.",
}
_DIGITS = {
    "licence": "BSD-3-Clause (scikit-learn); data: CC BY 4.0",
    "citation": "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
    "url": "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    "known_problems": "The digits have 8 x 8 pixels and are enlarged; size, place and colours are drawn by us.",
}
_EMOJI = {
    "licence": "pictures Apache-2.0 (Noto), code MIT; names Unicode-3.0",
    "citation": "Google, Noto Emoji; Unicode CLDR 48 annotations",
    "url": "https://github.com/iamcal/emoji-data",
    "packages": (emoji.PICTURES, emoji.NAMES),
    "known_problems": "One drawing style; emoji without a name in one of the 14 languages are left out.",
}
_FLAGS = {
    "licence": "flat flags public domain; Noto flags Apache-2.0; facts MIT",
    "citation": "Hampus Nilsson, SVG country flags; Annexare, countries-list; Google, Noto Emoji",
    "url": "https://github.com/hampusborgos/country-flags",
    "packages": (flags.FLAT, flags.FACTS, emoji.PICTURES),
    "known_problems": "Split by drawing: every country is in train, the drawings of validation and test are not.",
}


def _rows(train: int, validation: int = 120, test: int = 360) -> Mapping[str, int]:
    return {"train": train, "validation": validation, "test": test}


# What is said about the source, then its own fields: name, task, language, pool, drafts, rows.
# fmt: off
_FROM_PYTHON = (
    (_SHAPES, "shapes-caption", "captioning", "en", "captioning/shape", shapes.captions, _rows(3229)),
    (_SHAPES, "shapes-caption-zh", "chinese", "zh", "chinese/caption", shapes.captions_zh, _rows(3229)),
    (_SHAPES, "shapes-vqa", "vqa", "en", "vqa/question", shapes.questions, _rows(14000)),
    (_SHAPES, "shapes-options", "classification", "en", "classification/options", shapes.options, _rows(5000)),
    (_SHAPES, "shapes-vqa-zh", "chinese", "zh", "chinese/question", shapes.facts_zh, _rows(6000)),
    (_DIGITS, "digits-caption", "captioning", "en", "captioning/digit", digits.captions, _rows(6000)),
    (_DIGITS, "digits-vqa", "vqa", "en", "vqa/question", digits.questions, _rows(9000, 240, 720)),
    (_DIGITS, "digits-zh", "chinese", "zh", "chinese/question", digits.questions_zh, _rows(4000)),
    (_DIGITS, "digits-facts", "knowledge_vqa", "en", "knowledge_vqa/facts", digits.months, _rows(3000)),
    (_DIGITS, "digits-region", "classification", "en", "classification/options", digits.boxed, _rows(3000)),
    (_DIGITS, "digits-dialogue", "generation", "en", "generation/dialogue", digits.dialogues, _rows(3000)),
    (_DIGITS, "pairs-caption", "captioning", "en", "captioning/pair", pairs.captions, _rows(6000)),
    (_DIGITS, "pairs-reasoning", "reasoning", "en", "reasoning/pair", pairs.questions, _rows(12000, 480, 1440)),
    (_DIGITS, "two-pictures", "reasoning", "en", "reasoning/pictures", pairs.two_pictures, _rows(5000, 240, 720)),
    (_DIGITS, "video-caption", "captioning", "en", "captioning/video", videos.captions, _rows(1500, 120, 300)),
    (_DIGITS, "video-digits", "video", "en", "video/question", videos.questions, _rows(3000, 240, 600)),
    (_DIGITS, "video-digits-zh", "video", "zh", "video/question-zh", videos.questions_zh, _rows(1500, 120, 300)),
)
_FROM_NPM = (
    (_EMOJI, "emoji-caption", "captioning", "en", "captioning/emoji", emoji.captions, _rows(1276, 100, 196)),
    (_EMOJI, "emoji-group", "classification", "en", "classification/group", emoji.groups, _rows(2552, 100, 196)),
    (_EMOJI, "emoji-zh", "chinese", "zh", "chinese/question", emoji.chinese, _rows(2552, 200, 392)),
    (_EMOJI, "emoji-languages", "generation", "mul", "generation/languages", emoji.languages, _rows(2500)),
    (_FLAGS, "flags-caption", "captioning", "en", "captioning/flag", flags.captions, _rows(980, 120, 245)),
    (_FLAGS, "flags", "knowledge_vqa", "en", "knowledge_vqa/facts", flags.questions, _rows(2205, 360, 735)),
)
# fmt: on


def _specs(table: Iterable[tuple[Any, ...]]) -> tuple[SourceSpec, ...]:
    return tuple(SourceSpec(*fields, **about) for about, *fields in table)


EDITIONS: Mapping[str, tuple[SourceSpec, ...]] = {
    "base": _specs(_FROM_PYTHON),
    "full": _specs((*_FROM_PYTHON, *_FROM_NPM)),
}
VOCAB_SIZE = 2560  # pieces of the vocabulary trained on the edition's training text: a soft limit


def order(out: pathlib.Path, edition: str, *, seed: int = 0, limit: int | None = None) -> Order:
    """Returns the order that builds an edition, `base` or `full`, into a folder."""
    specs = EDITIONS[edition]
    return Order(out, NAME, edition, specs, introduction=CARD, vocab_size=VOCAB_SIZE, seed=seed, limit=limit)
