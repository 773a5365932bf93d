"""Emoji: Noto pictures, their names from Unicode CLDR in many languages, and their groups."""

import dataclasses
import functools
import io
import json
import pathlib
from collections.abc import Iterator

from PIL import Image

from m3it_jax import rng
from m3it_jax.dataset_building.specification import Assets, Draft

PICTURES, NAMES = "emoji-datasource-google", "cldr-annotations-full"
NUM_TEST, NUM_VALIDATION = 196, 100
_LONGEST_NAME = 21  # bytes of UTF-8 of a name that is asked for: longer ones are phrases, or take too many byte pieces

# Category of emoji-datasource -> (group in English, in Chinese). Flags are a source of their own; the five
# components are no pictures of anything.
GROUPS = {
    "Activities": ("activities", "活动"),
    "Animals & Nature": ("animals and nature", "动物与自然"),
    "Food & Drink": ("food and drink", "食物与饮料"),
    "Objects": ("objects", "物品"),
    "People & Body": ("people and body", "人物与身体"),
    "Smileys & Emotion": ("smileys and emotion", "笑脸与情感"),
    "Symbols": ("symbols", "符号"),
    "Travel & Places": ("travel and places", "旅行与地点"),
}

# Locale of CLDR -> name of the language in English.
LANGUAGES = {
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "pt": "Portuguese",
    "ru": "Russian",
    "ja": "Japanese",
    "ko": "Korean",
    "ar": "Arabic",
    "hi": "Hindi",
    "sw": "Swahili",
    "tr": "Turkish",
}

_GROUP_QUESTIONS = ("which group does it belong to?", "what kind of symbol is this?")
_GROUP_QUESTIONS_ZH = ("它属于哪一类？", "这个图案是哪一类？")
_NAME_QUESTIONS_ZH = ("它叫什么？", "这个图案叫什么名字？")


@dataclasses.dataclass(frozen=True)
class Emoji:
    """One emoji: encoded PNG, its group in English and Chinese, and its names by locale."""

    data: bytes
    code: str
    group: str
    group_zh: str
    names: dict[str, str]

    def draft(self, skill: str, inputs: str, outputs: str, *, language: str = "") -> Draft:
        """Returns a record about this emoji."""
        return Draft(
            skill=skill,
            inputs=inputs,
            outputs=outputs,
            images=(self.data,),
            group=f"emoji-{self.code}",
            captions=(f"{self.names['en']}, {self.group}",),
            attributes={"emoji_group": self.group},
            language=language,
        )


def on_white(data: bytes) -> Image.Image:
    """Returns an encoded picture of any mode as RGB, its transparent parts white."""
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def encode(picture: Image.Image) -> bytes:
    """Returns a picture as PNG; level 1 is twice as fast as the default and little larger at this size."""
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _names(folder: pathlib.Path, locale: str) -> dict[str, str]:
    table = json.loads((folder / "annotations" / locale / "annotations.json").read_text(encoding="utf-8"))
    entries = table["annotations"]["annotations"]
    return {text: entry["tts"][0] for text, entry in entries.items() if entry.get("tts")}


@functools.lru_cache(maxsize=1)
def _all(pictures: pathlib.Path, names: pathlib.Path) -> tuple[Emoji, ...]:
    """Returns every emoji of the eight groups that has a name in all languages, each drawing once."""
    locales = ("en", "zh", *LANGUAGES)
    tables = {locale: _names(names, locale) for locale in locales}
    found: dict[bytes, Emoji] = {}
    for entry in json.loads((pictures / "emoji.json").read_text(encoding="utf-8")):
        text = "".join(chr(int(code, 16)) for code in entry["unified"].split("-"))
        bare = text.replace("\ufe0f", "")  # CLDR leaves the variation selector out
        called = {locale: table.get(text) or table.get(bare) for locale, table in tables.items()}
        named = {locale: name for locale, name in called.items() if name}
        if entry["category"] in GROUPS and len(named) == len(locales):
            data = encode(on_white((pictures / "img" / "google" / "64" / entry["image"]).read_bytes()))
            # Some emoji share one drawing, which must not be in two splits: the first keeps it.
            found.setdefault(data, Emoji(data, entry["unified"].lower(), *GROUPS[entry["category"]], named))
    return tuple(found.values())


def emoji(assets: Assets, split: str, seed: int) -> list[Emoji]:
    """Returns the emoji of a split in shuffled order: 196 for test, 100 for validation, the rest for train."""
    found = _all(assets[PICTURES], assets[NAMES])
    order = rng.generator(seed, "emoji", "split").permutation(len(found))
    ends = {"test": (0, NUM_TEST), "validation": (NUM_TEST, NUM_TEST + NUM_VALIDATION)}
    first, last = ends.get(split, (NUM_TEST + NUM_VALIDATION, len(found)))
    return [found[i] for i in order[first:last]]


def captions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the English name."""
    for found in emoji(assets, split, seed):
        yield found.draft("emoji-name", "", found.names["en"])


def groups(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the group in English; twice, in other words, for train."""
    for question in _GROUP_QUESTIONS[: 2 if split == "train" else 1]:
        for found in emoji(assets, split, seed):
            yield found.draft("emoji-group", question, found.group)


def chinese(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields group and name in Chinese."""
    generator = rng.generator(seed, "emoji-zh", split)
    for found in emoji(assets, split, seed):
        wording = int(generator.integers(2))
        yield found.draft("emoji-group-zh", _GROUP_QUESTIONS_ZH[wording], found.group_zh)
        if len(found.names["zh"].encode()) <= _LONGEST_NAME:
            yield found.draft("emoji-name-zh", _NAME_QUESTIONS_ZH[wording], found.names["zh"])


def languages(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the name in a language that the inputs ask for, every pair of emoji and language at most once."""
    found = emoji(assets, split, seed)
    locales = tuple(LANGUAGES)
    order = rng.generator(seed, "emoji-languages", split).permutation(len(found) * len(locales))
    for number in order:
        chosen, locale = found[number // len(locales)], locales[number % len(locales)]
        if len(chosen.names[locale].encode()) <= _LONGEST_NAME:
            yield chosen.draft("emoji-languages", f"in {LANGUAGES[locale]}", chosen.names[locale], language=locale)
