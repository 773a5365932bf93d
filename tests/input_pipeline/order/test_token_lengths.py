import dataclasses

import numpy as np
import pytest

from m3it_jax import errors
from m3it_jax.input_pipeline.order import token_lengths
from m3it_jax.input_pipeline.rows import packing, record_rows

FITS = token_lengths.FITS


@pytest.fixture
def rules(layout, words):
    return token_lengths.Rules(
        layout=layout,
        tokenizer=words,
        row_len=400,
        picture_as="embeddings",
        supervised_answers="all",
        redraws=True,
    )


def test_lengths_are_those_of_the_rows(rules, tiny):
    for source in ("ones", "pairs"):
        record = tiny.instance(source, 1)
        tokens, targets, shared, key, verdict = token_lengths.measure(rules, record, tiny.POOL)
        for column, instruction in zip(tokens, [record.instruction, *tiny.POOL], strict=True):
            row = rules.row(record, rules.text(record, instruction))
            assert len(row["token_ids"]) == column
        assert targets == row["loss_mask"].sum() and shared == packing.shared_len(row)
        assert key and FITS[verdict] == "whole"
    assert len(set(tokens)) > 1


def test_keys_are_of_the_pictures_and_what_stands_before_them(rules, tiny):
    def key(record):
        return token_lengths.measure(rules, record, ())[3]

    record = tiny.instance("ones", 1)
    same = dataclasses.replace(record, id="x", source="more-ones", instruction="What?", inputs="", outputs="no")
    assert key(record) == key(same)
    assert key(record) != key(tiny.instance("ones", 2))
    pair = tiny.instance("pairs", 1)
    assert key(pair) != key(dataclasses.replace(pair, images=pair.images[::-1]))
    assert key(dataclasses.replace(record, images=(), meta={"text_only": True})) == 0
    captions = dataclasses.replace(rules, picture_as="captions")
    assert token_lengths.measure(captions, record, ())[2:4] == (0, 0)


def test_a_picture_behind_a_text_that_changes_is_not_shared(rules, tiny, words):
    """In a later turn the picture stands behind that turn's instruction in no format; behind earlier turns it may."""
    from m3it_jax import prompts
    from m3it_jax.input_pipeline.rows import transforms

    llava = transforms.Layout.of(words, prompts.FORMATS["llava"], picture_len=4, max_text_len=300, max_response_len=40)
    meta = {"turns": [{"instruction": "What?", "outputs": "a", "new_pictures": 0}], "new_pictures": 1}
    later = dataclasses.replace(tiny.instance("ones", 1), meta=meta)
    told = dataclasses.replace(later, meta={"turns": [{"instruction": "Who?", "outputs": "a"}], "new_pictures": 1})
    inside = dataclasses.replace(rules, layout=llava)
    assert token_lengths.measure(inside, later, ())[3] != token_lengths.measure(inside, told, ())[3]
    asked = [later.instruction, "Name the picture."]
    rows = [inside.row(later, inside.text(later, instruction)) for instruction in asked]
    assert token_lengths._shared(rows, later)[1]
    rows[1]["token_ids"][0] += 1
    assert token_lengths._shared(rows, later) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "limits", "verdict"),
    [
        ({}, {}, "whole"),
        ({"inputs": "hint " * 60}, {}, "cut"),
        ({"meta": {"turns": [{"instruction": "hint " * 8, "outputs": "a"}] * 4}}, {}, "cut"),
        ({"outputs": "number " * 60}, {}, "cut"),  # data.max_response_len says so
        ({"instruction": "hint " * 60}, {}, "answer"),
        ({"instruction": "hint " * 10, "outputs": "number " * 12}, {"row_len": 36}, "answer"),
        ({}, {"row_len": 9}, "pictures"),
    ],
)
def test_what_does_not_fit_is_told_apart(rules, tiny, changes, limits, verdict):
    record = dataclasses.replace(tiny.instance("ones", 1), **changes)
    found = token_lengths.measure(dataclasses.replace(rules, **limits), record, ())
    assert FITS[found[4]] == verdict


def test_lengths_are_counted_once(folder, rules, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = token_lengths.load(folder, "pairs", "train", rules=rules)
    assert first.tokens.shape == (24, 4) and first.tokens.dtype == np.uint16
    monkeypatch.setattr(record_rows, "fitted", lambda *_, **__: pytest.fail("counted anew"))
    again = token_lengths.load(folder, "pairs", "train", rules=rules)
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(first, field.name))


def test_other_texts_limits_and_tokenizers_have_files_of_their_own(folder, rules, layout):
    source = folder.sources["pairs"]
    others = [
        dataclasses.replace(rules, row_len=300),
        dataclasses.replace(rules, redraws=False),
        dataclasses.replace(rules, supervised_answers="last"),
        dataclasses.replace(rules, layout=dataclasses.replace(layout, max_text_len=50)),
    ]
    prints = {made.fingerprint(source, "train") for made in [rules, *others]}
    prints |= {rules.fingerprint(dataclasses.replace(source, fingerprint="new"), "train")}
    assert len(prints | {rules.fingerprint(source, "validation")}) == 7


def test_a_damaged_or_stale_file_is_told_and_made_again(rules, tiny, tmp_path, capsys):
    folder = tiny.write_folder(tmp_path / "data", {"ones": [tiny.instance("ones", number) for number in range(5)]})
    wanted = token_lengths.load(folder, "ones", "train", rules=rules)
    (file,) = (folder.path / token_lengths.FOLDER).iterdir()
    sound = file.read_bytes()
    place = sound.index(wanted.tokens.tobytes())
    flipped = sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :]
    for damage in (sound[: len(sound) // 2], flipped, b"junk"):
        file.write_bytes(damage)
        found = token_lengths.load(folder, "ones", "train", rules=rules)
        np.testing.assert_array_equal(found.tokens, wanted.tokens)
        assert f"{file}: is damaged" in capsys.readouterr().err
        assert file.read_bytes() == sound
    columns = dict(np.load(file))
    np.savez(file, **columns | {"fingerprint": np.array("another")})
    token_lengths.load(folder, "ones", "train", rules=rules)
    assert "belongs to other records" in capsys.readouterr().err
    np.savez(file, **columns | {"targets": columns["targets"][:3]})
    token_lengths.load(folder, "ones", "train", rules=rules)
    assert "its columns do not fit" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_has_its_lengths_in_the_cache(rules, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tiny.write_folder(tmp_path / "data", {"ones": [tiny.instance("ones", 0)]})
    (folder.path / token_lengths.FOLDER).write_text("in the way")
    token_lengths.load(folder, "ones", "train", rules=rules)
    assert len(list((tmp_path / "cache" / "m3it_jax" / token_lengths.FOLDER).iterdir())) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.path / token_lengths.FOLDER))
    token_lengths.load(folder, "ones", "train", rules=rules)
    assert "no folder to keep the lengths in" in capsys.readouterr().err


def test_what_no_row_can_be_made_of_is_named(rules, tiny, tmp_path):
    record = dataclasses.replace(tiny.instance("pairs", 3), meta={"captions": ["one"]})
    folder = tiny.write_folder(tmp_path / "data", {"pairs": [record]})
    with pytest.raises(errors.UserError, match="record pairs-3: has 1 captions for 2 pictures"):
        token_lengths.load(folder, "pairs", "train", rules=dataclasses.replace(rules, picture_as="captions"))
