"""Flags and facts: trained on flat drawings, validated on our own waved ones, tested on another artist's."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from m3it_jax import rng
from m3it_jax.dataset_building.mini import drawing, emoji
from m3it_jax.dataset_building.specification import Assets, Draft

FLAT, FACTS = "svg-country-flags", "countries-list"

# Codes of countries-list.
CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

_QUESTIONS = {
    "flag-country": ("which country is this?", "whose flag is this?", "which country has this flag?"),
    "flag-continent": ("on which continent is it?", "which continent is it on?", "where in the world is it?"),
    "flag-capital": ("what is its capital?", "what is the capital city?", "which city is the capital?"),
}
_NUM_COPIES = 4  # drawings of each flat flag in the captions
_NUM_VALIDATION = 120  # countries asked about for validation, by each question
_WAVE = (1.5, 3.5)  # amplitude of the validation drawings, pixels of 64
_WAVES_ACROSS = (0.8, 1.6)  # periods over the width
_SHADE = 0.15  # largest darkening or lightening along the wave


@dataclasses.dataclass(frozen=True)
class Country:
    """A country with its facts and its two drawings."""

    code: str
    name: str
    continent: str
    capital: str
    flat: Image.Image
    noto: bytes
    alike: tuple["Country", ...] = ()

    def answers(self, skill: str) -> tuple[str, ...]:
        """Returns the right answers, this country's first: territories may fly the flag of another country."""
        fields = {"flag-country": "name", "flag-continent": "continent", "flag-capital": "capital"}
        return tuple(dict.fromkeys(getattr(country, fields[skill]) for country in (self, *self.alike)))

    def draft(self, skill: str, inputs: str, outputs: str, *, picture: bytes | np.ndarray, kind: str) -> Draft:
        """Returns a record about one drawing (`kind`) of the flag."""
        return Draft(
            skill=skill,
            inputs=inputs,
            outputs=outputs,
            images=(picture,),
            group=f"flag-{self.code.lower()}-{kind}",
            captions=(f"the flag of {self.name}",),
            attributes={"country": self.name, "continent": self.continent},
        )


@functools.lru_cache(maxsize=1)
def _countries(flat: pathlib.Path, facts: pathlib.Path, noto: pathlib.Path) -> tuple[Country, ...]:
    """Returns the countries that have a capital and both drawings, in order of their code."""
    flags = {e["unified"].lower(): e["image"] for e in json.loads((noto / "emoji.json").read_text(encoding="utf-8"))}
    found = []
    for code, entry in sorted(json.loads((facts / "countries.min.json").read_text(encoding="utf-8")).items()):
        drawn = flat / "png100px" / f"{code.lower()}.png"
        # Two regional indicator symbols spell the country's code.
        image = flags.get("-".join(f"{0x1F1E6 + ord(letter) - ord('A'):x}" for letter in code))
        if entry["capital"] and drawn.exists() and image:
            picture = emoji.encode(emoji.on_white((noto / "img" / "google" / "64" / image).read_bytes()))
            continent = CONTINENTS[entry["continent"]]
            flag = emoji.on_white(drawn.read_bytes())
            found.append(Country(code, entry["name"], continent, entry["capital"], flag, picture))
    return tuple(
        dataclasses.replace(one, alike=tuple(two for two in found if two is not one and _same_flag(one, two)))
        for one in found
    )


def _same_flag(one: Country, two: Country) -> bool:
    return one.noto == two.noto or one.flat.tobytes() == two.flat.tobytes()


def countries(assets: Assets) -> tuple[Country, ...]:
    """Returns the 245 countries that have a capital and both drawings."""
    return _countries(assets[FLAT], assets[FACTS], assets[emoji.PICTURES])


def flat_drawing(country: Country, generator: np.random.Generator, copy: int) -> np.ndarray:
    """Returns the flat flag on white, uint8 [64, 64, 3]: copy 0 in its own proportions, others slightly stretched."""
    width, height = (float(side) for side in country.flat.size)
    scale = 1.0
    if copy:
        width, height = width * generator.uniform(0.85, 1.15), height * generator.uniform(0.85, 1.15)
        scale = generator.uniform(0.8, 1.0)
    scale *= drawing.SIDE / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    flag = country.flat.resize(size, Image.Resampling.BICUBIC)
    left, top = ((drawing.SIDE - side) // 2 for side in size)
    if copy:
        left, top = (int(generator.integers(0, drawing.SIDE - side + 1)) for side in size)
    picture = Image.new("RGB", (drawing.SIDE, drawing.SIDE), "white")
    picture.paste(flag, (left, top))
    return np.asarray(picture)


def waved_drawing(country: Country, generator: np.random.Generator) -> np.ndarray:
    """Returns the flat flag bent by a sine and shaded along it, uint8 [64, 64, 3]."""
    flat = flat_drawing(country, generator, 0)
    amplitude, periods = generator.uniform(*_WAVE), generator.uniform(*_WAVES_ACROSS)
    phase = 2 * np.pi * (periods * np.arange(drawing.SIDE) / drawing.SIDE + generator.uniform())
    rows = np.arange(drawing.SIDE)[:, None] + np.round(amplitude * np.sin(phase)).astype(int)[None]
    inside = (rows >= 0) & (rows < drawing.SIDE)
    bent = flat[np.clip(rows, 0, drawing.SIDE - 1), np.arange(drawing.SIDE)[None]]
    bent = np.where(inside[..., None], bent, 255)
    paper = (bent == 255).all(-1, keepdims=True)
    shaded = np.clip(bent * (1 + _SHADE * np.cos(phase))[None, :, None], 0, 255)
    return np.where(paper, bent, np.round(shaded)).astype(np.uint8)


def _drawings(
    assets: Assets, split: str, generator: np.random.Generator
) -> Iterator[tuple[Country, bytes | np.ndarray, str]]:
    """Yields (country, picture, kind) of one copy each without end; the kind names the drawing."""
    found = countries(assets)
    copy = 0
    while True:
        for i in generator.permutation(len(found)):
            if split == "train":
                yield found[i], flat_drawing(found[i], generator, copy), "flat"
            elif split == "validation":
                yield found[i], waved_drawing(found[i], generator), "waved"
            else:
                yield found[i], found[i].noto, "noto"
        copy += 1


def captions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields `the flag of France`; four drawings of each for train, one otherwise."""
    generator = rng.generator(seed, "flags-caption", split)
    rows = len(countries(assets)) * (_NUM_COPIES if split == "train" else 1)
    for _, (country, picture, kind) in zip(range(rows), _drawings(assets, split, generator), strict=False):
        references = tuple(f"the flag of {name}" for name in country.answers("flag-country"))
        found = country.draft("flag-caption", "", references[0], picture=picture, kind=kind)
        yield dataclasses.replace(found, references=references)


def questions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields country, continent and capital of each flag, asked in three ways for train."""
    generator = rng.generator(seed, "flags", split)
    num_countries = _NUM_VALIDATION if split == "validation" else len(countries(assets))
    drawings = _drawings(assets, split, generator)
    for turn in range(3 if split == "train" else 1):
        for skill, wordings in _QUESTIONS.items():
            for _, (country, picture, kind) in zip(range(num_countries), drawings, strict=False):
                answers = country.answers(skill)
                found = country.draft(skill, wordings[turn], answers[0], picture=picture, kind=kind)
                found = dataclasses.replace(found, references=answers)
                # One third of the captions spell every fact out, for the others a reader has to know the country.
                facts = (f"{country.name}, {country.continent}, {country.capital}",)
                yield dataclasses.replace(found, captions=facts) if turn == 1 else found
