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
    record, text = found["train"]
    assert (record.instruction, record.inputs, record.outputs, record.images) == ("Say.", "what?", "a ball", (jpeg(0),))
    assert (text.outputs, text.images, text.meta["text_only"]) == ("x", (), True)  # null says that there is no picture
    assert [row.reason for row in rejected][:2] == ["picture-format", "missing-field"]
    assert (rejected[2].reason, rejected[2].text) == (
        "picture-missing",
        "'/etc/passwd' is the name of a file; give --images FOLDER",
    )


def test_another_file_is_refused_and_damage_is_counted(imported, tmp_path, jpeg):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(errors.UserError, match="is no whole Parquet file"):
        imported("parquet", tmp_path / "train.parquet")
    write(tmp_path / "train.parquet", [{"text": "x"}])
    with pytest.raises(errors.UserError, match="has no column images or image; its columns: text"):
        imported("parquet", tmp_path / "train.parquet")
    rows = [{"image": {"bytes": jpeg(n), "path": None}, "instruction": "Say.", "outputs": str(n)} for n in range(64)]
    path = write(tmp_path / "train.parquet", rows, row_group_size=16, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    found, rejected = imported("parquet", path)
    assert len(found["train"]) == 48 and [row.reason for row in rejected] == ["broken-file"] * 16
    assert [row.place for row in rejected] == [f"train.parquet:{number}" for number in range(32, 48)]


def struct(data):
    return {"bytes": data, "path": "0.jpg"}


FORMS = {
    "LLaVA-OneVision": lambda data: {"image": struct(data), "conversations": [
        {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A ball."}]},
    "messages": lambda data: {"images": [struct(data)], "messages": [
        {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A ball."}]}]},
    "The Cauldron": lambda data: {"images": [struct(data)], "texts": [
        {"user": "What?", "assistant": "A ball.", "source": "x"}]},
    "bytes": lambda data: {"image": data, "question": "What?", "answer": "A ball."},
    "a list of bytes": lambda data: {"images": [data], "question": "What?", "answer": "A ball."},
    "a mark": lambda data: {"image": struct(data), "question": "<image>\nWhat?", "answer": "A ball."},
    "several answers": lambda data: {
        "image": struct(data), "question": "What?", "answers": ["A box.", "A ball.", "A ball."]},
    "VQA v2": lambda data: {"image": struct(data), "question": "What?", "multiple_choice_answer": "A ball.",
        "answers": [{"answer": "a toy", "answer_id": 1}, {"answer": "A ball.", "answer_id": 2}]},
    "numbered": lambda data: {"image_1": struct(data), "image_2": None, "question": "What?", "answer": "A ball."},
    "a name": lambda data: {"image": "0.jpg", "question": "What?", "answer": "A ball."},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_the_hub(imported, tmp_path, jpeg, name):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "0.jpg").write_bytes(jpeg(0))
    path = write(tmp_path / "rows.parquet", [FORMS[name](jpeg(0))])
    found, rejected = imported("parquet", path, images=tmp_path / "pics")
    (record,) = found["train"]
    assert (record.instruction, record.inputs, record.outputs, record.images) == ("What?", "", "A ball.", (jpeg(0),))
    assert rejected == []
    if name == "several answers":
        assert record.meta["references"] == ["A box.", "A ball.", "A ball."]


def test_captions_get_instructions_and_rows_without_a_picture_are_told(imported, tmp_path, jpeg):
    rows = [{"image": struct(jpeg(n)) if n else None, "caption": [f"ball {n}", "a toy"]} for n in range(3)]
    found, rejected = imported("parquet", write(tmp_path / "rows.parquet", rows))
    first = found["train"][0]
    assert (first.outputs, first.task, first.meta["references"]) == ("ball 1", "captioning", ["ball 1", "a toy"])
    assert first.instruction and [(row.place, row.reason) for row in rejected] == [("rows.parquet:0", "text-only")]


def test_columns_that_say_nothing_are_named(imported, tmp_path, jpeg):
    path = write(tmp_path / "rows.parquet", [{"image": struct(jpeg(0)), "label": 3}])
    with pytest.raises(
        errors.UserError, match="has no column with texts; give conversations.*its columns: image, label"
    ):
        imported("parquet", path)
