"""Beam's records are those of a build in one process, bytes and all, whatever the number of workers."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from m3it_jax import errors, records
from m3it_jax.dataset_building.specification import Draft, Rejected, SourceSpec
from m3it_jax.dataset_building.steps import pipeline
from m3it_jax.dataset_building.writing import builder, rejections

pytest.importorskip("apache_beam")


def drafts(assets, split, seed):
    """Fifty rows: every tenth is there twice, every seventh has no answer, one has no picture that can be read."""
    if split == "test":
        return
    for number in range(50):
        picture = np.full((8, 8, 3), number, np.uint8)
        row = Draft("grey", "how bright?", str(number), (picture,), f"g{number}", origin=f"{split}-{number}")
        yield dataclasses.replace(row, outputs=" ") if number % 7 == 3 else row
        if number % 10 == 5:
            yield dataclasses.replace(row, origin=f"{split}-{number} again")
    yield dataclasses.replace(row, images=(b"GIF",))
    yield Rejected("list:9", "not-json", "broken")


SPEC = SourceSpec("toys", "vqa", "en", "vqa/question", drafts, {}, licence="MIT")


def build(out: pathlib.Path, beam_options=None, **options):
    stream = pipeline.Stream(SPEC, {}, 0, **options)
    return builder.build(stream, out, decided_by={"seed": 0, "limit": None}, beam_options=beam_options)


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    out = tmp_path_factory.mktemp("direct")
    build(out)
    return out


def files(out: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_beam_gives_the_same_bytes(direct, tmp_path, workers):
    build(tmp_path, [f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading"])
    wanted, found = files(direct), files(tmp_path)
    assert wanted.keys() == found.keys()
    assert [name for name in wanted if wanted[name] != found[name]] == []


@pytest.mark.slow
def test_beam_stops_when_too_much_is_bad(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "FEW_BAD", 5)
    with pytest.raises(errors.UserError, match="toys, split train: .* rows are bad"):
        build(tmp_path, [], max_bad=0.0)


def test_what_is_left_out_is_written_down_split_by_split(direct):
    folder = direct / "toys" / "1.0.0"
    rows = list(rejections.read(folder))
    assert [line["split"] for line, _ in rows] == ["train"] * 13 + ["validation"] * 13
    reasons = json.loads((folder / "provenance.json").read_text())["rejected"]
    assert reasons == {"duplicate-id": 8, "empty-output": 14, "picture-format": 2, "not-json": 2}
    kept = [record for _, record in rows if record is not None]
    assert len(kept) == 14 and {record.outputs for record in kept} == {" "}
    assert len(records.load_index(folder / "m3it-train.tfrecord-00000-of-00001").ids) == 44
