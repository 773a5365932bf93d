import dataclasses

import numpy as np
import pytest

from m3it_jax import config, errors, prompts, records, schema
from m3it_jax.input_pipeline import batch_checks
from m3it_jax.input_pipeline.order import packed_plan
from m3it_jax.input_pipeline.pixels import preprocessing
from m3it_jax.input_pipeline.rows import transforms

PACKED = {"packing": "rows", "row_len": 300, "row_images": 10}
AUGMENT = config.AugmentConfig(shift=0.1, jitter=0.2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.fixture
def shared_folder(tmp_path, tiny):
    """Two sources about the same ten pictures, three records of one and one of the other for each."""

    def about(source, number):
        record = tiny.instance("ones", number % 10)
        return dataclasses.replace(record, id=f"{source}-{number}", source=source, inputs=f"hint {number}")

    sources = {"ones": [about("ones", n) for n in range(30)], "more-ones": [about("more-ones", n) for n in range(10)]}
    return tiny.write_folder(tmp_path / "shared", sources)


def test_a_step_has_one_shape_and_seeking_equals_streaming(make_pipeline, tiny):
    made = make_pipeline(augment=AUGMENT, **PACKED)
    streamed = list(made.batches(0, 6))
    shapes = {tuple((name, batch[name].shape) for name in sorted(batch)) for batch in streamed}
    assert len(shapes) == 1
    batch = streamed[0]
    assert batch["images"].shape == (8 * 10, tiny.SIZE, tiny.SIZE, 3) and batch["images"].dtype == np.uint8
    assert batch["source_index"].shape == batch["parent_ids"].shape == (8, 300)
    assert batch["num_records"].shape == (8,) and batch["num_records"].min() > 1
    for start in (0, 4):
        for late, wanted in zip(
            make_pipeline(augment=AUGMENT, **PACKED).batches(start, 2), streamed[start:], strict=False
        ):
            same(late, wanted)
    for name in batch:
        np.testing.assert_array_equal(made.batch(3)[name], streamed[3][name])


def test_hosts_share_each_step_and_nothing_else_changes(make_pipeline):
    whole = make_pipeline(**PACKED)
    for step in range(3):
        alone = whole.batch(step)
        for count in (2, 4, 8):
            parts = [whole.batch(step, process_index=host, process_count=count) for host in range(count)]
            same({name: np.concatenate([part[name] for part in parts]) for name in alone}, alone)
            ids = [
                name
                for host in range(count)
                for name in whole.record_ids(step, process_index=host, process_count=count)
            ]
            assert ids == whole.record_ids(step)
    with pytest.raises(errors.ConfigError, match="3 hosts"):
        whole.batch(0, process_count=3)


def test_rows_hold_the_rows_of_their_records(make_pipeline, layout, words, tiny):
    made = make_pipeline(redraw_instructions=False, **PACKED | {"packing": "records"})
    batch = made.batch(0)
    for place, ids in enumerate(made.row_ids(0)):
        row = {name: array[place] for name, array in batch.items() if len(array) == 8}
        assert len(ids) == row["num_records"]
        slot, first = 0, 0
        for segment, name in enumerate(ids, 1):
            record = tiny.named(name)
            here = row["segment_ids"] == segment
            alone = transforms.make_row(
                layout,
                transforms.fit(layout, words, [tiny_turn(record)]),
                num_images=len(record.images),
            )
            assert np.flatnonzero(here)[0] == first
            np.testing.assert_array_equal(row["token_ids"][here], alone["token_ids"])
            np.testing.assert_array_equal(row["positions"][here], alone["positions"])
            np.testing.assert_array_equal(row["loss_mask"][here], alone["loss_mask"])
            shown = alone["image_token_index"]
            np.testing.assert_array_equal(
                row["image_token_index"][here], np.where(shown >= 0, shown + slot * layout.picture_len, -1)
            )
            assert made.source_names[row["source_index"][here][0]] == record.source
            for number, image in enumerate(record.images):
                np.testing.assert_array_equal(
                    batch["images"][place * 10 + slot + number], preprocessing.decode_image(image, tiny.SIZE)
                )
            slot, first = slot + len(record.images), first + here.sum()
        assert not batch["images"][place * 10 + slot : (place + 1) * 10].any()


def tiny_turn(record):
    return schema.Turn(record.instruction, record.inputs, record.outputs, len(record.images))


def test_records_about_one_picture_share_it_across_sources(make_pipeline, shared_folder, monkeypatch):
    made = make_pipeline(data_folder=shared_folder, global_batch_size=2, **PACKED)
    decoded = []
    monkeypatch.setattr(preprocessing, "decode_image", lambda data, *_, out, **__: decoded.append(data) or out.fill(1))
    batch = made.batch(0)
    ids = made.record_ids(0)
    assert len(decoded) < 0.5 * len(ids)
    assert (batch["parent_ids"] != batch["segment_ids"]).any()
    for row, names in enumerate(made.row_ids(0)):
        sources = {name.rsplit("-", 1)[0] for name in names}
        counted = batch["source_index"][row][batch["loss_mask"][row] > 0]
        assert {made.source_names[index] for index in counted} == sources
    alone = make_pipeline(data_folder=shared_folder, global_batch_size=2, **PACKED | {"packing": "records"})
    batch = alone.batch(0)
    assert (batch["parent_ids"] == batch["segment_ids"]).all()


def test_pictures_as_captions_are_packed_without_pictures(make_pipeline):
    made = make_pipeline(picture_as="captions", **PACKED)
    batch = next(iter(made.batches(0, 1)))
    assert "images" not in batch and (batch["image_token_index"] == -1).all()
    assert batch["num_records"].min() > 1


def test_text_alone_is_packed_beside_pictures(make_pipeline, tiny, tmp_path):
    words = [
        dataclasses.replace(
            tiny.instance("ones", n), source="more-ones", id=f"w-{n}", images=(), meta={"text_only": True}
        )
        for n in range(20)
    ]
    data = {"ones": [tiny.instance("ones", n) for n in range(20)], "more-ones": words}
    made = make_pipeline(data_folder=tiny.write_folder(tmp_path / "data", data), **PACKED)
    first, second = made.batches(0, 2)
    assert {name: array.shape for name, array in first.items()} == {name: array.shape for name, array in second.items()}
    kinds = {name[:2] for row in made.row_ids(0) for name in row}
    assert kinds == {"w-", "on"}
    alone = make_pipeline(
        data_folder=made_folder(tiny, tmp_path / "words", words), mixture={"more-ones": 1.0}, **PACKED
    ).batch(0)
    assert (alone["image_token_index"] == -1).all() and not alone["images"].any()
    assert alone["images"].shape == first["images"].shape  # nothing new to compile


def made_folder(tiny, path, records):
    return tiny.write_folder(path, {"more-ones": records})


def test_what_the_qformer_reads_stands_beside_each_slot(make_pipeline, words, monkeypatch, tiny):
    own = transforms.Layout.of(
        words, prompts.FORMATS["instructblip"], picture_len=4, max_text_len=80, max_response_len=40, qformer_text_len=30
    )
    made = make_pipeline(layout=own, qformer_tokenizer=words, **PACKED)
    batch = next(iter(made.batches(0, 1)))
    assert batch["text_ids"].shape == batch["text_mask"].shape == (80, 30)
    assert (batch["parent_ids"] == batch["segment_ids"]).all()
    used = (batch["image_token_index"] >= 0).sum(axis=1) // 4
    for row, count in enumerate(used):
        real = batch["text_mask"][row * 10 : row * 10 + 10].any(axis=1)
        assert real.tolist() == [True] * count + [False] * (10 - count)


def test_the_first_batch_is_checked(make_pipeline, layout):
    made = make_pipeline(**PACKED)
    names = [" + ".join(row) for row in made.row_ids(0)]

    def check(**changes):
        batch = made.batch(0)
        for name, change in changes.items():
            change(batch[name])
        batch_checks.check_first_batch(batch, layout, vocab_size=400, record_ids=names)

    check()
    with pytest.raises(errors.UserError, match="1 of 8 rows hold token ids outside"):
        check(token_ids=lambda array: array.__setitem__((2, 5), 400))
    with pytest.raises(errors.UserError, match="1 of 8 rows have no token to learn from"):
        check(loss_mask=lambda array: array[3].fill(0))
    with pytest.raises(errors.UserError, match="1 of 8 rows have lost image tokens"):
        check(image_token_index=lambda array: array[1].__setitem__(slice(0, 3), -1))


def test_lengths_of_other_records_are_told(make_pipeline, monkeypatch):
    made = make_pipeline(**PACKED)
    monkeypatch.setattr(packed_plan.PackedPlan, "tokens", lambda *_: 7)
    with pytest.raises(errors.UserError, match=r"record .*: has \d+ tokens, the lengths beside the data say 7"):
        made.batch(0)


def test_packing_is_off_by_default_and_off_is_none(make_pipeline):
    plain, off = make_pipeline(), make_pipeline(packing="off")
    assert plain.fingerprint == off.fingerprint
    same(plain.batch(3), off.batch(3))
    assert make_pipeline(**PACKED).fingerprint != plain.fingerprint


def test_a_record_that_cannot_be_read_is_left_out_of_its_row(make_pipeline, tiny, tmp_path, capfd):
    cut_off = tiny.instance("ones", 3).images[0][:200]
    made = [tiny.instance("ones", n, images=(cut_off,)) if n == 3 else tiny.instance("ones", n) for n in range(30)]
    folder = tiny.write_folder(tmp_path / "data", {"ones": made})
    settings = PACKED | {"global_batch_size": 2, "max_bad_share": 0.1}
    packed = make_pipeline(data_folder=folder, **settings)
    (shard,) = (tmp_path / "data").rglob("*-train.tfrecord-00000-of-00001")
    data = bytearray(shard.read_bytes())
    data[int(records.load_index(shard).offsets[7]) + 100] ^= 1
    shard.write_bytes(bytes(data))
    for step in range(6):
        ids, batch = packed.row_ids(step), packed.batch(step)
        kept = [[name for name in row if name not in ("ones-3", "ones-7")] for row in ids]
        assert batch["num_records"].tolist() == list(map(len, kept))
        same(make_pipeline(data_folder=folder, **settings).batch(step), batch)
    assert set(packed.bad_records) == {"ones-3", "ones-7"}
    assert "its row goes without it (1 so far, more than 3 stop the run)" in capfd.readouterr().err
    with pytest.raises(errors.UserError, match=r"record ones-\d: .*data.max_bad_share=0.001"):
        list(make_pipeline(data_folder=folder, **settings | {"max_bad_share": 0.001}).batches(0, 6))
