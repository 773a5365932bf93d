import json

import pytest

from m3it_jax import errors

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402


def write(path, rows, **columns):
    pq.write_table(pa.Table.from_pylist(rows), path, **columns)
    return path


def test_the_copy_on_the_hub_has_one_picture_a_row(imported, tmp_path, jpeg):
    rows = [
        {"image": {"bytes": jpeg(0), "path": None}, "instruction": "Say.", "inputs": "what?", "outputs": "a ball"},
        {"image": {"bytes": b"no picture", "path": None}, "instruction": "Say.", "inputs": "", "outputs": "x"},
        {"image": None, "instruction": "Say.", "inputs": "", "outputs": "x"},
        {"image": {"bytes": jpeg(1), "path": "../a.jpg"}, "instruction": "Say.", "inputs": "", "outputs": None},
        {"image": {"bytes": None, "path": "/etc/passwd"}, "instruction": "Say.", "inputs": "", "outputs": "x"},
    ]
    found, rejected = imported("parquet", write(tmp_path / "train-00000.parquet", rows), source="m3it-copy")
    (record,) = found["train"]
    assert (record.instruction, record.inputs, record.outputs, record.images) == ("Say.", "what?", "a ball", (jpeg(0),))
    assert [row.reason for row in rejected][:3] == ["picture-format", "no-image", "missing-field"]
    assert len(rejected) == 4 and "passwd" not in json.dumps([row.text for row in rejected])


def test_another_file_is_refused_and_damage_is_counted(imported, tmp_path, jpeg):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(errors.UserError, match="is no whole Parquet file"):
        imported("parquet", tmp_path / "train.parquet")
    write(tmp_path / "train.parquet", [{"text": "x"}])
    with pytest.raises(errors.UserError, match="has no column images or image"):
        imported("parquet", tmp_path / "train.parquet")
    rows = [{"image": {"bytes": jpeg(n), "path": None}, "instruction": "Say.", "outputs": str(n)} for n in range(64)]
    path = write(tmp_path / "train.parquet", rows, row_group_size=16, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    found, rejected = imported("parquet", path)
    assert len(found["train"]) == 32 and [row.reason for row in rejected] == ["broken-file"]
    assert "32 rows cannot be read" in rejected[0].text
