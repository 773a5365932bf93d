import shutil

from m3it_jax.dataset_building import sources


def test_the_original_answer_is_the_output_and_its_aliases_are_references(instances, raw):
    (record,) = instances("viquae", "train")
    assert (record.inputs, record.outputs) == ("in which city was this painter born?", "Porto")
    assert record.meta["references"] == ["Porto", "Oporto", "Porto, Portugal"]
    assert record.images == ((raw / "viquae/images/512px-Figure_2001.jpg").read_bytes(),)
    assert (record.meta["origin"], record.meta["kilt_id"], record.meta["wikidata_id"]) == (
        "b7f1c0de2001",
        "qw_2001",
        "Q2001",
    )


def test_the_original_answer_is_a_reference_though_no_alias(instances):
    (record,) = instances("viquae", "validation")
    assert record.meta["references"] == ["The Loire", "Loire", "Loire River"]


def test_each_split_is_a_file_and_the_set_is_held_out(instances):
    (record,) = instances("viquae", "test")
    assert (record.outputs, record.meta["origin_split"]) == ("a lock", "test")
    assert sources.load("viquae").published.held_out


def test_damaged_lines_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "viquae", tmp_path / "viquae")
    file = tmp_path / "viquae" / "train.jsonl"
    sound = file.read_text()
    file.write_text('{"id": \n' + sound.replace('"original_answer"', '"answers"') + sound + "3\n")
    broken, lacking, good, number = drafts("viquae", "train", raw=tmp_path)
    assert (broken.place, broken.reason) == ("train.jsonl:1", "not-json")
    assert (lacking.place, lacking.reason, lacking.text.split(";")[0]) == (
        "train.jsonl:2",
        "missing-field",
        "has no field 'original_answer'",
    )
    assert good.outputs == "Porto" and (number.place, number.reason) == ("train.jsonl:4", "wrong-type")
