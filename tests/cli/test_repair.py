import json

import pytest

from m3it_jax import records
from m3it_jax.cli import main


def m3it(*words: object) -> int:
    return main.main([str(word) for word in words])


def test_what_is_no_data_folder_is_told(tmp_path, capsys):
    assert m3it("repair", tmp_path / "nothing", "--out", tmp_path / "out") == 1
    assert "is no folder" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_but_the_damaged_record_is_saved_and_the_loss_named(small_folder, tmp_path, capsys):
    shard = small_folder / "digits-vqa" / "1.0.0" / "m3it-test.tfrecord-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[30] ^= 1
    shard.write_bytes(bytes(data))
    out = tmp_path / "out"
    assert m3it("repair", small_folder, "--out", out, "--dry-run") == 0 and not out.exists()
    assert m3it("repair", small_folder, "--out", out, "--jobs", 1, "--json", tmp_path / "lost.json") == 0
    assert "lost: digits-vqa," in capsys.readouterr().out
    splits = records.DataFolder.open(out).sources["digits-vqa"].splits
    assert splits == {"train": 4, "validation": 4, "test": 3}
    (row,) = json.loads((tmp_path / "lost.json").read_text())["lost"]
    assert row["split"] == "test" and "m3it-test.tfrecord-00000-of-00001" in row["place"]
    assert m3it("check", out) == 0
