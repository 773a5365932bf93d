import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

import pytest
from built_folder import row

from m3it_jax import errors, records, schema
from m3it_jax.dataset_building.inspection import verification
from m3it_jax.dataset_building.rewriting import copying
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.writing import edition

NUMBERS = ("one", "two", "three", "four")


def shouted(instance: schema.Instance) -> schema.Instance | Rejected:
    if "one" in instance.outputs.split():
        return Rejected(instance.id, "is-one", instance.outputs, instance)
    return dataclasses.replace(instance, outputs=instance.outputs.upper())


def again(data: pathlib.Path, source: str, split: str):
    for record in copying.stored(data, source, split):
        yield record
        yield dataclasses.replace(record, id=f"{record.id}-again")


def order(path, out, change=shouted, **settings):
    settings = {"step": "shout", "about": "answers in capitals"} | settings
    return copying.order(records.DataFolder.open(path), out, change, **settings)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder, source, split):
    table = folder.table(source, split)
    return [table.read(number) for number in range(len(table))]


@pytest.fixture(scope="module")
def original(build_folder, tmp_path_factory):
    sources = {
        "counts": {
            split: [
                row("counts", f"how many {split} {number}", number, meta={"attributes": {"n": number}})
                for number in NUMBERS
            ]
            for split in schema.SPLITS
        },
        "names": {"train": [row("names", "who", "Ann"), row("names", "whose", "Bob's")]},
    }
    folder = build_folder(tmp_path_factory.mktemp("original") / "data", sources)
    (folder / "tokenizer.model").write_bytes(b"pieces")
    manifest = json.loads((folder / "m3it.json").read_text())
    manifest["tokenizer"] = {"file": "tokenizer.model", "sha256": hashlib.sha256(b"pieces").hexdigest()}
    (folder / "m3it.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return pathlib.Path(shutil.copytree(original, tmp_path / "broken"))


@pytest.fixture(scope="module")
def copied(original, tmp_path_factory):
    out = tmp_path_factory.mktemp("copied") / "data"
    edition.build(order(original, out, sources=["counts"], settings={"loudness": 3}), jobs=1)
    return out


def test_the_asked_source_is_changed_and_its_rows_keep_ids_and_splits(original, copied):
    old, new = records.DataFolder.open(original), records.DataFolder.open(copied)
    for split in schema.SPLITS:
        before, after = rows(old, "counts", split), rows(new, "counts", split)
        assert len(before) == 4 and len(after) == 3
        kept = [row for row in before if "one" not in row.outputs.split()]
        assert [row.id for row in after] == [row.id for row in kept]
        assert [row.outputs for row in after] == [row.outputs.upper() for row in kept]
        assert [row.images for row in after] == [row.images for row in kept]


def test_all_other_sources_are_the_same_bytes(original, copied):
    for name in records.DataFolder.open(original).sources:
        if name != "counts":
            assert files(original / name) == files(copied / name)
    assert (original / "tokenizer.model").read_bytes() == (copied / "tokenizer.model").read_bytes()


def test_the_copy_is_sound_and_says_what_the_original_said(original, copied):
    problems = verification.check_folder(copied, on_record=lambda: None)
    assert [problem["file"] for problem in problems] == ["tokenizer.model"]  # no real one
    old, new = records.DataFolder.open(original), records.DataFolder.open(copied)
    assert new.manifest["tokenizer"] == old.manifest["tokenizer"]
    assert (new.manifest["name"], new.manifest["edition"]) == (old.manifest["name"], old.manifest["edition"])
    for name in ("version", "task", "language", "licence", "citation", "url", "instructions"):
        assert getattr(new.sources["counts"], name) == getattr(old.sources["counts"], name)
    assert new.fingerprint != old.fingerprint


def test_the_chain_of_steps_grows(original, copied, tmp_path):
    old = records.DataFolder.open(original)
    made = json.loads((copied / "counts" / "1.0.0" / "provenance.json").read_text())
    first = {"step": "shout", "loudness": 3, "name": "toys", "edition": "small", "seed": 0, "limit": None}
    assert made["made_from"] == [first | {"fingerprint": old.sources["counts"].fingerprint}]
    specs = order(copied, tmp_path / "out", step="whisper").specs
    chains = {spec.name: spec.settings["made_from"] for spec in specs}
    assert [entry["step"] for entry in chains["counts"]] == ["shout", "whisper"]
    assert [entry["step"] for entry in chains["names"]] == ["whisper"]


def test_the_card_tells_the_steps_in_their_order(original, copied, tmp_path):
    text = (copied / "README.md").read_text()
    assert text.splitlines()[0] == (original / "README.md").read_text().splitlines()[0]
    assert text.count("## How it was made") == 1 and text.endswith("## Steps since\n\n- shout: answers in capitals\n")
    later = order(copied, tmp_path / "out", step="whisper", about="softly").introduction
    assert later.endswith("## Steps since\n\n- shout: answers in capitals\n- whisper: softly\n")


def test_a_second_run_changes_nothing_and_another_step_is_refused(original, copied):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file() and path.name != ".lock"}
    same = {"sources": ["counts"], "settings": {"loudness": 3}}
    edition.build(order(original, copied, **same), jobs=1)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(errors.UserError, match="was built with made_from .*loudness.*choose another folder"):
        edition.build(order(original, copied, **same | {"settings": {"loudness": 4}}), jobs=1)
    provenance = copied / "names" / "1.0.0" / "provenance.json"
    was = provenance.read_text()
    provenance.write_text(was.replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(errors.UserError, match="is another than"):
        edition.build(order(original, copied, **same), jobs=1)
    provenance.write_text(was)


def test_a_copy_that_was_cut_off_is_not_taken_for_one(original, tmp_path, monkeypatch):
    out = tmp_path / "data"
    asked = order(original, out, sources=["counts"])
    with monkeypatch.context() as patch:
        patch.setattr(edition.os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            edition._take_over(asked, "names", asked.kept["names"])
    assert not (out / "names" / "1.0.0").exists()
    shutil.rmtree(out / ".building")  # as `edition.build` begins
    edition._take_over(asked, "names", asked.kept["names"])
    assert files(out / "names") == files(original / "names")


def test_rows_may_come_from_elsewhere_and_a_limit_holds_for_every_source(original, tmp_path):
    asked = order(original, tmp_path / "out", sources=["counts"], rows=again, limit=3)
    assert not asked.kept and len(asked.specs) == len(records.DataFolder.open(original).sources)
    (changed,) = (spec for spec in asked.specs if spec.name == "counts")
    found = list(changed.drafts(asked.folders, "test", 0))
    assert len(found) == 8 and found[3].id == f"{found[2].id}-again"
    assert {row.outputs for row in found if not isinstance(row, Rejected)} == {"TWO", "THREE", "FOUR"}
    (other,) = (spec for spec in asked.specs if spec.name == "names")
    assert {row.outputs for row in other.drafts(asked.folders, "train", 0)} == {"Ann", "Bob's"}
    assert list(other.drafts(asked.folders, "test", 0)) == []


def test_the_folder_itself_is_never_written_into(original, tmp_path):
    (tmp_path / "link").symlink_to(original)
    for out in (original, original / "counts", tmp_path / "link"):
        with pytest.raises(errors.UserError, match="lies in the data folder"):
            order(original, out)


def test_a_source_that_is_not_there_is_refused(original, tmp_path):
    with pytest.raises(errors.UserError, match="has no source 'nothing'"):
        order(original, tmp_path / "out", sources=["nothing"])


@pytest.mark.parametrize(("name", "version"), [("../../evil", "1.0.0"), ("counts", "../../evil"), (".", "1.0.0")])
def test_a_manifest_cannot_lead_out_of_the_folder(folder, tmp_path, name, version):
    manifest = json.loads((folder / "m3it.json").read_text())
    info = manifest["sources"].pop("counts")
    manifest["sources"][name] = info | {"version": version}
    (folder / "m3it.json").write_text(json.dumps(manifest))
    for sources in (None, ["names"]):
        with pytest.raises(errors.UserError, match="no name of a source or a version"):
            order(folder, tmp_path / "out", sources=sources)


@pytest.mark.parametrize("text", ["{", "[]", '{"made_from": 7}'])
def test_a_damaged_provenance_is_told(folder, tmp_path, text):
    file = folder / "counts" / "1.0.0" / "provenance.json"
    file.write_text(text)
    with pytest.raises(errors.UserError, match=r"provenance\.json"):
        order(folder, tmp_path / "out")


def test_a_vocabulary_that_is_missing_is_told(folder, tmp_path):
    os.unlink(folder / "tokenizer.model")
    with pytest.raises(errors.UserError, match="tokenizer.model: is missing"):
        order(folder, tmp_path / "out")
