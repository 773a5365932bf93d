import io
import json

import numpy as np
import pytest
from PIL import Image

from m3it_jax.dataset_building.mini import emoji, flags

SPLITS = ("train", "validation", "test")
NUM = 310


def picture(colour, alpha=255, size=(64, 64)):
    file = io.BytesIO()
    Image.new("RGBA", size, (*colour, alpha)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """Stand-ins for the packages: 310 emoji with two alike, three countries of which two fly the same flag."""
    root = tmp_path_factory.mktemp("assets")
    pictures, names, flat, facts = (root / name for name in ("pictures", "names", "flat", "facts"))
    images = pictures / "img" / "google" / "64"
    images.mkdir(parents=True)
    entries, codes = [], [f"{0x1F300 + number:X}" for number in range(NUM)]
    for number, code in enumerate(codes):
        group = list(emoji.GROUPS)[number % 8]
        entries.append({"unified": code, "image": f"{code}.png", "category": group})
        (images / f"{code}.png").write_bytes(picture((number % 250 if number else 1, number // 250, 7)))
    entries.append({"unified": "1F9FF", "image": f"{codes[0]}.png", "category": "Component"})
    for code, colour in {"fr": (9, 9, 200), "gp": (9, 9, 200), "se": (200, 200, 9)}.items():
        unified = "-".join(f"{0x1F1E6 + ord(letter) - ord('a'):X}" for letter in code)
        entries.append({"unified": unified, "image": f"flag-{code}.png", "category": "Flags"})
        (images / f"flag-{code}.png").write_bytes(picture(colour, 200))
        (flat / "png100px").mkdir(parents=True, exist_ok=True)
        (flat / "png100px" / f"{code}.png").write_bytes(picture(colour, size=(100, 60)))
    (pictures / "emoji.json").write_text(json.dumps(entries))
    for locale in ("en", "zh", *emoji.LANGUAGES):
        folder = names / "annotations" / locale
        folder.mkdir(parents=True)
        called = {chr(int(code, 16)): {"tts": [f"{locale} {code}"]} for code in codes}
        if locale == "sw":
            del called[chr(int(codes[5], 16))]  # no name in one language
        (folder / "annotations.json").write_text(json.dumps({"annotations": {"annotations": called}}))
    facts.mkdir()
    countries = {
        "FR": {"name": "France", "continent": "EU", "capital": "Paris"},
        "GP": {"name": "Guadeloupe", "continent": "NA", "capital": "Basse-Terre"},
        "SE": {"name": "Sweden", "continent": "EU", "capital": "Stockholm"},
        "XX": {"name": "Nowhere", "continent": "EU", "capital": ""},
    }
    (facts / "countries.min.json").write_text(json.dumps(countries))
    return {emoji.PICTURES: pictures, emoji.NAMES: names, flags.FLAT: flat, flags.FACTS: facts}


def test_no_drawing_is_in_two_splits(assets):
    drawings = [{found.data for found in emoji.emoji(assets, split, 0)} for split in SPLITS]
    assert [len(found) for found in drawings[1:]] == [100, 196]
    assert sum(map(len, drawings)) == len(set.union(*drawings))


def test_an_emoji_without_a_name_in_one_language_is_left_out(assets):
    codes = {found.code for split in SPLITS for found in emoji.emoji(assets, split, 0)}
    assert f"{0x1F305:x}" not in codes and "1f9ff" not in codes
    assert f"{0x1F304:x}" in codes


def test_transparent_parts_are_white():
    shown = np.asarray(emoji.on_white(picture((0, 0, 0), alpha=0)))
    assert shown.shape == (64, 64, 3) and (shown == 255).all()


def test_names_and_groups_are_those_of_the_packages(assets):
    for draft in emoji.captions(assets, "test", 0):
        code = draft.group.removeprefix("emoji-").upper()
        assert draft.outputs == f"en {code}"
        group = list(emoji.GROUPS.values())[(int(code, 16) - 0x1F300) % 8]
        assert draft.captions == (f"en {code}, {group[0]}",)
        assert draft.attributes == {"emoji_group": group[0]}
    for draft in emoji.languages(assets, "test", 0):
        assert draft.inputs == f"in {emoji.LANGUAGES[draft.language]}"
        assert draft.outputs.startswith(f"{draft.language} ")


def test_train_asks_for_the_group_in_two_ways(assets):
    drafts = list(emoji.groups(assets, "train", 0))
    assert len({draft.inputs for draft in drafts}) == 2
    assert len(drafts) == 2 * len({draft.group for draft in drafts})


def test_flags_that_look_the_same_have_all_right_answers(assets):
    found = {country.code: country for country in flags.countries(assets)}
    assert set(found) == {"FR", "GP", "SE"}
    assert found["FR"].answers("flag-country") == ("France", "Guadeloupe")
    assert found["GP"].answers("flag-country") == ("Guadeloupe", "France")
    assert found["SE"].answers("flag-capital") == ("Stockholm",)


def test_each_split_has_its_own_drawing_of_every_flag(assets):
    kinds = {split: {draft.group.split("-")[-1] for draft in flags.captions(assets, split, 0)} for split in SPLITS}
    assert kinds == {"train": {"flat"}, "validation": {"waved"}, "test": {"noto"}}


def test_questions_have_the_country_in_their_caption_and_sometimes_all_facts(assets):
    drafts = list(flags.questions(assets, "train", 0))
    assert len(drafts) == 3 * 3 * 3
    for draft in drafts:
        assert draft.attributes["country"] in draft.captions[0]
    spelled = [draft for draft in drafts if "," in draft.captions[0]]
    assert len(spelled) == 9 and all(draft.outputs in draft.captions[0] for draft in spelled)


def test_a_flat_flag_is_letterboxed_and_a_waved_one_is_bent(assets):
    country = next(country for country in flags.countries(assets) if country.code == "SE")
    flat = flags.flat_drawing(country, np.random.default_rng(0), 0)
    assert flat.shape == (64, 64, 3)
    assert (flat[:13] == 255).all() and (flat[14:50] != 255).any(-1).all() and (flat[51:] == 255).all()
    waved = flags.waved_drawing(country, np.random.default_rng(0))
    tops = (waved != 255).any(-1).argmax(0)
    assert np.ptp(tops) >= 2
