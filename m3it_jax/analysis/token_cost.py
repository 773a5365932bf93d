"""What a language costs under a tokenizer: tokens a character, and how many tokens are mere parts of characters."""

import dataclasses
import html
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import babel

from m3it_jax import errors, languages, tokenizer

BEGIN, END = "<!-- m3it languages tokens: begin -->", "<!-- m3it languages tokens: end -->"

# CLDR has Nigerian Fulfulde under the tag of all Fulah.
_LOCALES: Mapping[str, str] = {"fuv": "ff"}

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_ROW, _NAME, _PLOT, _TOP = 13, 150, 520, 34  # pixels: height of a bar, widths of names and plot, room for the heading
_DARK = "#1a202c"
_COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the text of a language takes.

    Attributes:
      characters: Characters of the text.
      tokens: Tokens of it.
      byte_tokens: How many of these are no whole character: byte fallback, or a part of one in a vocabulary of bytes.
      unknown: How many stand for what the vocabulary cannot write.
    """

    characters: int
    tokens: int
    byte_tokens: int
    unknown: int

    @property
    def per_character(self) -> float:
        """Tokens for one character."""
        return self.tokens / self.characters

    @property
    def byte_share(self) -> float:
        """Share of tokens, 0..1, that are parts of characters."""
        return self.byte_tokens / max(1, self.tokens)


def texts(language: languages.Language) -> list[str]:
    """Returns words that people wrote in a language: names of countries, languages, months and days in Unicode CLDR.

    They are the only text of nearly all 80 languages that the installed packages hold; names are no sentences, so the
    figures compare languages and are not those of running text. Nothing where CLDR has fewer than 100 names.
    """
    try:
        locale = babel.Locale.parse(_LOCALES.get(language.code, language.bcp47), sep="-")
    except (babel.UnknownLocaleError, ValueError):
        return []
    months = locale.months["format"]["wide"].values()
    days = locale.days["format"]["wide"].values()
    # What a locale lacks, CLDR takes from `root`, where a code stands for a name.
    names = [*locale.territories.values(), *locale.languages.values(), *months, *days]
    found = [str(name) for name in names if not re.fullmatch(r"[A-Za-z0-9_-]{1,4}", str(name))]
    return found if len(found) >= 100 else []


def cost(vocabulary: tokenizer.Tokenizer, lines: Sequence[str]) -> Cost:
    """Returns what lines of text take."""
    ids = [index for line in lines for index in vocabulary.encode(line)]
    kinds = {index: _kind(vocabulary, index) for index in set(ids)}
    byte_tokens = sum(kinds[index] == "byte" for index in ids)
    unknown = sum(kinds[index] == "unknown" for index in ids)
    return Cost(sum(map(len, lines)), len(ids), byte_tokens, unknown)


def _kind(vocabulary: tokenizer.Tokenizer, index: int) -> str:
    if _BYTE.fullmatch(vocabulary.piece(index)):
        return "byte"
    data = vocabulary.token_bytes(index)
    if not data:
        return "unknown"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "byte"
    return "text"


Costs = Mapping[str, Mapping[str, Cost | None]]  # name of a tokenizer -> code of a language -> its cost


def told(costs: Costs) -> dict[str, Any]:
    """Returns the costs as JSON; null where there is no text."""
    return {
        name: {
            code: None
            if one is None
            else {**dataclasses.asdict(one), "per_character": one.per_character, "byte_share": one.byte_share}
            for code, one in by_code.items()
        }
        for name, by_code in costs.items()
    }


def markdown(costs: Costs) -> str:
    """Returns the table of the 80 languages with the costs of each tokenizer."""
    heads = ["code", "NLLB", "BCP-47", "language", "script"]
    heads += [head for name in costs for head in (f"{name}: tokens a character", "bytes")]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for each in languages.M3IT_80:
        written = f"{each.script}, right to left" if each.is_right_to_left else each.script
        cells = [each.code, each.nllb, each.bcp47, each.name, written]
        for by_code in costs.values():
            one = by_code.get(each.code)
            cells += ["no text", ""] if one is None else [f"{one.per_character:.2f}", f"{100 * one.byte_share:.0f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(costs: Costs) -> str:
    """Returns an SVG: a bar for each language and tokenizer, the dearest first; the dark part is bytes."""
    first = next(iter(costs.values()))
    known = [each for each in languages.M3IT_80 if first.get(each.code) is not None]
    known.sort(key=lambda each: -_per_character(first, each.code))
    most = max((_per_character(by_code, each.code) for by_code in costs.values() for each in known), default=1.0)
    height, width = _TOP + _ROW * len(costs) * len(known) + 10, _NAME + _PLOT + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="10" role="img">',
        "<title>Tokens for one character, by language</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, name in enumerate(costs):
        at = _NAME + number * 170
        parts.append(f'<rect x="{at}" y="8" width="9" height="9" fill="{_COLOURS[number % len(_COLOURS)]}"/>')
        parts.append(f'<text x="{at + 13}" y="16">{html.escape(name)}</text>')
    at = _NAME + len(costs) * 170
    parts.append(f'<rect x="{at}" y="8" width="9" height="9" fill="{_DARK}"/><text x="{at + 13}" y="16">bytes</text>')
    for row, each in enumerate(known):
        for number, by_code in enumerate(costs.values()):
            one = by_code.get(each.code)
            y = _TOP + _ROW * (row * len(costs) + number)
            if number == 0:
                parts.append(f'<text x="{_NAME - 6}" y="{y + 9}" text-anchor="end">{html.escape(each.name)}</text>')
            if one is not None:
                long = _PLOT * one.per_character / most
                colour = _COLOURS[number % len(_COLOURS)]
                parts.append(f'<rect x="{_NAME}" y="{y}" width="{long:.1f}" height="{_ROW - 3}" fill="{colour}"/>')
                dark = long * one.byte_share
                parts.append(f'<rect x="{_NAME}" y="{y}" width="{dark:.1f}" height="{_ROW - 3}" fill="{_DARK}"/>')
                parts.append(f'<text x="{_NAME + long + 4:.1f}" y="{y + 9}">{one.per_character:.2f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _per_character(by_code: Mapping[str, Cost | None], code: str) -> float:
    one = by_code.get(code)
    return 0.0 if one is None else one.per_character


def page(text: str, table: str) -> str:
    """Returns a page with the table between its marks.

    Raises:
      UserError: the page has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise errors.UserError(f"--page: has no lines {BEGIN} and {END}; put them where the table belongs")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def name_of(path: pathlib.Path) -> str:
    """Returns what a tokenizer is called in a table: its folder for files of the usual names."""
    return path.parent.name if path.stem in ("tokenizer", "sentencepiece.bpe") and path.parent.name else path.stem
