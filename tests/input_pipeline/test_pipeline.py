import dataclasses
import pathlib
import threading

import numpy as np
import pytest

from m3it_jax import config, errors, prompts, tokenizer
from m3it_jax.input_pipeline import batch_checks
from m3it_jax.input_pipeline.order import held_pictures
from m3it_jax.input_pipeline.pixels import preprocessing
from m3it_jax.input_pipeline.rows import tower_rows, transforms

AUGMENT = config.AugmentConfig(shift=0.1, rotate=10.0, jitter=0.2)


def same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def prompt_text(words, row, loss_mask):
    return words.decode(row[: int(np.flatnonzero(loss_mask)[0])])


HF = pathlib.Path(__file__).parents[1] / "golden" / "hf"


@pytest.mark.parametrize("objective", ["response", "towers"])
def test_seeking_a_step_equals_streaming_to_it(make_pipeline, objective):
    streamed = list(make_pipeline(objective=objective, augment=AUGMENT).batches(0, 20))
    for start in (0, 7, 19):
        late = list(make_pipeline(objective=objective, augment=AUGMENT).batches(start, 20 - start))
        assert len(late) == 20 - start
        for batch, wanted in zip(late, streamed[start:], strict=True):
            same(batch, wanted)


def test_steps_have_the_shapes_of_their_bucket(make_pipeline, layout, tiny):
    making = make_pipeline()
    shapes = set()
    for step, batch in enumerate(making.batches(0, 30)):
        num_images, rows = making.plan.step(step)
        shapes.add(num_images)
        batch_rows, length = len(rows), layout.row_len(num_images)
        assert batch["images"].shape == (batch_rows * num_images, tiny.SIZE, tiny.SIZE, 3)
        assert batch["images"].dtype == np.uint8
        for name in ("token_ids", "image_token_index", "segment_ids", "positions"):
            assert batch[name].shape == (batch_rows, length) and batch[name].dtype == np.int32
        assert batch["loss_mask"].shape == (batch_rows, length) and batch["loss_mask"].dtype == np.float32
        assert batch["source_index"].tolist() == rows[:, 0].tolist()
    assert shapes == {1, 2, 8}


def test_hosts_share_each_step_and_nothing_else_changes(make_pipeline):
    whole = make_pipeline(augment=AUGMENT)
    for step in range(12):
        alone = whole.batch(step)
        parts = [make_pipeline(augment=AUGMENT).batch(step, process_index=host, process_count=2) for host in range(2)]
        same({name: np.concatenate([part[name] for part in parts]) for name in alone}, alone)
        ids = [name for host in range(2) for name in whole.record_ids(step, process_index=host, process_count=2)]
        assert ids == whole.record_ids(step)


def test_each_host_streams_its_own_rows(make_pipeline):
    feed = make_pipeline()
    for host in (0, 1):
        share = {"process_index": host, "process_count": 2}
        for step, batch in enumerate(feed.batches(3, 2, **share), 3):
            for name, array in feed.batch(step, **share).items():
                np.testing.assert_array_equal(batch[name], array)


def test_steps_come_in_their_order_even_if_a_later_one_is_ready_first(make_pipeline, monkeypatch):
    feed = make_pipeline()
    whole = [feed.batch(step)["token_ids"].tolist() for step in range(6)]
    make, later = feed.batch, threading.Event()

    def batch(step, **share):
        if step % 2:
            later.set()
        else:
            later.wait(2)
            later.clear()
        return make(step, **share)

    monkeypatch.setattr(feed, "batch", batch)
    assert [found["token_ids"].tolist() for found in feed.batches(0, 6)] == whole


def test_a_number_of_hosts_that_cannot_share_is_refused(make_pipeline):
    with pytest.raises(errors.ConfigError, match="3 hosts"):
        make_pipeline().batch(0, process_count=3)


def test_rows_show_their_own_pictures_and_texts(make_pipeline, words, tiny):
    making = make_pipeline(redraw_instructions=False)
    for step in range(12):
        batch, (num_images, _) = making.batch(step), making.plan.step(step)
        for row, name in enumerate(making.record_ids(step)):
            record = tiny.named(name)
            assert making.source_names[batch["source_index"][row]] == record.source
            shown = batch["image_token_index"][row]
            pictures = np.unique(shown[shown >= 0] // 4)
            assert pictures.tolist() == [row * num_images + frame for frame in range(num_images)]
            for frame, picture in enumerate(pictures):
                wanted = preprocessing.decode_image(record.images[frame], tiny.SIZE)
                np.testing.assert_array_equal(batch["images"][picture], wanted)
            counted = batch["token_ids"][row][batch["loss_mask"][row] > 0]
            assert words.decode(counted) == prompts.YING_VLM.response(record.outputs)
            asked = prompt_text(words, batch["token_ids"][row], batch["loss_mask"][row])
            assert asked.endswith(prompts.YING_VLM.prompt(record.instruction, record.inputs))


def test_instructions_are_redrawn_each_epoch_from_the_pool(make_pipeline, words, tiny):
    def instructions(**fields):
        making, found = make_pipeline(mixture={"ones": 1}, **fields), {}
        for step in range(40):
            batch = making.batch(step)
            for row, (name, epoch) in enumerate(
                zip(making.record_ids(step), making.plan.step(step)[1][:, 2], strict=True)
            ):
                text = prompt_text(words, batch["token_ids"][row], batch["loss_mask"][row])
                found[name, int(epoch)] = next(line for line in tiny.POOL if f"\n{line}\n" in text)
        return found

    drawn = instructions()
    assert drawn == instructions()
    changed = [drawn[name, epoch] != drawn[name, epoch + 1] for name, epoch in drawn if (name, epoch + 1) in drawn]
    assert 0.4 < np.mean(changed) < 0.9  # two thirds with a pool of three
    stored = instructions(redraw_instructions=False)
    assert all(text == tiny.named(name).instruction for (name, _), text in stored.items())


def test_one_of_each_source_shows_whether_it_holds_conversations(tmp_path, make_pipeline, tiny):
    turns = [{"instruction": "What?", "outputs": "a picture"}]
    talks = [tiny.instance("more-ones", number, meta={"turns": turns} if number == 5 else {}) for number in range(8)]
    single = [tiny.instance("ones", number) for number in range(8)]
    pipeline = make_pipeline(data_folder=tiny.write_folder(tmp_path, {"ones": single, "more-ones": talks}))
    assert {one.source: len(one.meta.get("turns", ())) for one in pipeline.one_of_each()} == {"ones": 0, "more-ones": 1}


def test_an_instruction_outside_the_pool_is_kept(tmp_path, make_pipeline, tiny):
    records = [tiny.instance("ones", number, instruction="Say it in French.") for number in range(8)]
    folder = tiny.write_folder(tmp_path / "data", {"ones": records})
    making = make_pipeline(data_folder=folder)
    batch = making.batch(0)
    words = tokenizer.Tokenizer.load(folder.tokenizer_path)
    making._tokenizer = words
    batch = making.batch(0)
    for row, mask in zip(batch["token_ids"], batch["loss_mask"], strict=True):
        assert "\nSay it in French.\n" in prompt_text(words, row, mask)


def test_augmentation_is_drawn_anew_each_epoch_and_only_for_pictures(make_pipeline):
    plain = make_pipeline(mixture={"ones": 1})
    moved = make_pipeline(mixture={"ones": 1}, augment=AUGMENT)
    one, other = plain.batch(0), moved.batch(0)
    assert (one["images"] != other["images"]).any(axis=(1, 2, 3)).all()
    same({k: v for k, v in one.items() if k != "images"}, {k: v for k, v in other.items() if k != "images"})
    seen = {}
    for step in range(10):
        for name, image in zip(moved.record_ids(step), moved.batch(step)["images"], strict=True):
            seen.setdefault(name, []).append(image)
    pairs = [images[:2] for images in seen.values() if len(images) > 1]
    assert len(pairs) > 20 and all((first != second).any() for first, second in pairs)


def test_pictures_as_captions(make_pipeline, words, layout, tiny):
    making = make_pipeline(picture_as="captions")
    for step, batch in enumerate(making.batches(0, 8)):
        num_images, _ = making.plan.step(step)
        assert "images" not in batch and (batch["image_token_index"] == -1).all()
        assert batch["token_ids"].shape[1] == layout.row_len(num_images, tower_rows.CAPTION_LEN)
        for row, name in enumerate(making.record_ids(step)):
            record = tiny.named(name)
            counted = batch["token_ids"][row][batch["loss_mask"][row] > 0]
            assert words.decode(counted) == "".join(record.meta["captions"]) + prompts.YING_VLM.response(record.outputs)


def test_towers_show_one_picture_with_its_caption_and_labels(make_pipeline, words, tiny):
    making = make_pipeline(objective="towers", max_images=8)
    assert making.attribute_names == ["number", "parity"]
    first_frames = later_frames = 0
    for step, batch in enumerate(making.batches(0, 20)):
        assert batch["images"].shape == (8, tiny.SIZE, tiny.SIZE, 3)
        for row, name in enumerate(making.record_ids(step)):
            record = tiny.named(name)
            number = int(name.rsplit("-", 1)[1])
            caption = words.decode(batch["caption_ids"][row])
            frame = record.meta["captions"].index(caption)
            np.testing.assert_array_equal(
                batch["images"][row], preprocessing.decode_image(record.images[frame], tiny.SIZE)
            )
            labels = [number % 5 if number % 5 < 4 else -1, number % 2] if frame == 0 else [-1, -1]
            assert batch["attributes"][row].tolist() == labels
            first_frames += frame == 0 and tiny.NUM_PICTURES[record.source] == 8
            later_frames += frame > 0
    assert later_frames > 10 and first_frames > 0


def test_the_text_beside_each_picture_is_the_prompt_of_its_row(make_pipeline, layout, tiny):
    """In the Q-Former's own pieces, once for each picture of the row; towers and rows of captions have none."""
    reader = tokenizer.Tokenizer.load(HF / "instructblip_llama/qformer_tokenizer/tokenizer.json")
    with_text = {"layout": dataclasses.replace(layout, qformer_text_len=40), "qformer_tokenizer": reader}
    feed = make_pipeline(**with_text, redraw_instructions=False)
    seen = set()
    for step in range(6):
        batch, ids = feed.batch(step), feed.record_ids(step)
        each = len(batch["images"]) // len(ids)
        assert batch["text_ids"].shape == batch["text_mask"].shape == (len(batch["images"]), 40)
        for number, text in enumerate(batch["text_ids"]):
            record = tiny.named(ids[number // each])
            wanted = reader.encode(prompts.YING_VLM.prompt(record.instruction, record.inputs))
            found = text[batch["text_mask"][number]].tolist()
            assert found[1:-1] == wanted[: len(found) - 2] and len(found) == min(40, len(wanted) + 2)
        (streamed,) = feed.batches(step, 1)
        np.testing.assert_array_equal(streamed["text_ids"], batch["text_ids"])
        seen.add(each)
    assert len(seen) > 1  # rows of one picture and of several
    assert "text_ids" not in make_pipeline(**with_text, objective="towers").batch(0)
    assert "text_ids" not in make_pipeline(**with_text, picture_as="captions").batch(0)
    assert "text_ids" not in make_pipeline().batch(0)


def test_every_record_is_seen(make_pipeline, tiny):
    making = make_pipeline()
    seen = {name for step in range(40) for name in making.record_ids(step)}
    assert len(seen) == sum(tiny.COUNTS.values())


def test_dropped_tokens_are_counted(make_pipeline, layout):
    roomy = make_pipeline()
    lengths = roomy.batch(0)["segment_ids"].sum(axis=1) - (layout.row_len(roomy.plan.step(0)[0]) - layout.max_text_len)
    assert not roomy.dropped_tokens
    tight = make_pipeline(layout=dataclasses.replace(layout, max_text_len=int(lengths.max()) - 2))
    batch = tight.batch(0)
    assert sum(tight.dropped_tokens.values()) >= 2
    assert (batch["loss_mask"].sum(axis=1) == roomy.batch(0)["loss_mask"].sum(axis=1)).all()
    assert ((batch["image_token_index"] >= 0).sum(axis=1) == (batch["image_token_index"][0] >= 0).sum()).all()


def test_fingerprint_follows_all_that_rows_depend_on(make_pipeline, folder, words, layout, tiny, monkeypatch):
    prints = [make_pipeline().fingerprint for _ in range(2)]
    assert prints[0] == prints[1]
    prints += [make_pipeline(**change).fingerprint for change in ({"seed": 8}, {"mixture": {"ones": 1.0}})]
    prints += [make_pipeline(picture_as="captions").fingerprint, make_pipeline(objective="towers").fingerprint]
    prints += [make_pipeline(redraw_instructions=False).fingerprint]
    prints += [make_pipeline(augment=config.AugmentConfig(shift=0.1)).fingerprint]
    prints += [make_pipeline(layout=dataclasses.replace(layout, max_text_len=79)).fingerprint]
    monkeypatch.setattr(tiny, "SIZE", tiny.SIZE * 2)
    prints.append(make_pipeline().fingerprint)
    asked_otherwise = dataclasses.replace(folder.sources["ones"], instructions=("Another way to ask.",))
    monkeypatch.setitem(folder.sources, "ones", asked_otherwise)
    prints.append(make_pipeline().fingerprint)
    monkeypatch.setitem(folder.attributes, "parity", ["odd", "even"])
    prints.append(make_pipeline(objective="towers").fingerprint)
    other = dataclasses.replace(folder.sources["ones"], fingerprint="changed")
    monkeypatch.setitem(folder.sources, "ones", other)
    prints.append(make_pipeline().fingerprint)
    monkeypatch.setattr(prompts, "TEMPLATE_VERSION", 99)
    prints.append(make_pipeline().fingerprint)
    monkeypatch.setattr(words, "fingerprint", "other")
    prints.append(make_pipeline().fingerprint)
    assert len(set(prints)) == len(prints) - 1


def test_a_broken_shard_is_told_when_its_step_comes(tmp_path, make_pipeline, tiny):
    folder = tiny.write_folder(tmp_path / "data", {"ones": [tiny.instance("ones", number) for number in range(32)]})
    making = make_pipeline(data_folder=folder)
    (shard,) = (folder.path / "ones" / "1.0.0").glob("*-train.tfrecord-*-00001")
    raw = bytearray(shard.read_bytes())
    table = folder.table("ones", "train")
    raw[int(table._offsets[5]) + 40] ^= 1
    shard.write_bytes(raw)
    step = next(step for step in range(4) if "ones-5" in making.record_ids(step))
    stream = making.batches(0, 4)
    for _ in range(step):
        next(stream)
    with pytest.raises(errors.UserError, match="record 5 at byte .* checksum"):
        next(stream)


def test_an_unreadable_picture_names_its_record(tmp_path, make_pipeline, tiny):
    broken = tiny.instance("ones", 3, images=(tiny.instance("ones", 3).images[0][:200],))
    folder = tiny.write_folder(tmp_path / "data", {"ones": [broken]})
    with pytest.raises(errors.UserError, match="record ones-3: picture is damaged"):
        list(make_pipeline(data_folder=folder, global_batch_size=1).batches(0, 1))


def test_missing_captions_name_the_record_and_the_way_out(tmp_path, make_pipeline, tiny):
    folder = tiny.write_folder(
        tmp_path / "data", {"pairs": [tiny.instance("pairs", 1, meta={"captions": ["only one"]})]}
    )
    with pytest.raises(errors.UserError, match="record pairs-1: has 1 captions for 2 pictures.*data.mixture"):
        make_pipeline(data_folder=folder, picture_as="captions", global_batch_size=1).batch(0)


def talk(tiny, tmp_path, turns=3):
    earlier = [{"instruction": f"What {n}?", "outputs": "a picture " * 4} for n in range(turns - 1)]
    return tiny.write_folder(tmp_path, {"ones": [tiny.instance("ones", 0, meta={"turns": earlier})]})


def test_a_row_has_room_for_the_answers_of_the_longest_conversation(make_pipeline, layout, tiny, tmp_path):
    long = dataclasses.replace(layout, max_text_len=400, max_response_len=20)
    folder = talk(tiny, tmp_path)
    made = make_pipeline(data_folder=folder, layout=long)
    counted = made.batch(0)["loss_mask"].sum(axis=1)
    assert 20 < counted.max() <= made.max_targets == 60
    last = make_pipeline(data_folder=folder, layout=long, supervised_answers="last")
    assert last.batch(0)["loss_mask"].sum(axis=1).max() <= last.max_targets == 20
    assert last.fingerprint != made.fingerprint
    short = make_pipeline(data_folder=folder, layout=dataclasses.replace(long, max_text_len=50))
    assert short.max_targets == 50 and make_pipeline(picture_as="captions").max_targets > 1e6


def test_a_conversation_that_the_folder_does_not_tell_of_is_refused(make_pipeline, layout, tiny, tmp_path):
    folder = talk(tiny, tmp_path)
    told = folder.path / "ones/1.0.0/provenance.json"
    told.write_text(told.read_text().replace('"most": 3', '"most": 1'))
    made = make_pipeline(data_folder=folder, layout=dataclasses.replace(layout, max_text_len=400, max_response_len=20))
    with pytest.raises(errors.UserError, match="record ones-0: has 3 turns, and provenance.json"):
        made.batch(0)


def test_turns_of_another_form_are_told_with_their_record(make_pipeline, tiny, tmp_path):
    made = make_pipeline(data_folder=talk(tiny, tmp_path))
    broken = tiny.instance("ones", 0, meta={"turns": [{"instruction": "What?"}]})
    made._tables[0].read = lambda number: broken
    with pytest.raises(errors.UserError, match=r"record ones-0: meta.turns\[0\].outputs is empty; see `m3it check`"):
        made.batch(0)


@pytest.fixture(scope="module")
def mixed(tiny, tmp_path_factory):
    text = {"source": "texts", "images": (), "meta": {"text_only": True}}
    texts = [dataclasses.replace(tiny.instance("ones", n), id=f"texts-{n}", **text) for n in range(24)]
    sources = {"ones": [tiny.instance("ones", n) for n in range(20)], "texts": texts}
    return tiny.write_folder(tmp_path_factory.mktemp("mixed"), sources)


@pytest.mark.parametrize("name", prompts.FORMATS)
def test_rows_without_a_picture_have_batches_of_their_own(make_pipeline, mixed, words, name):
    read_len = 32 if prompts.FORMATS[name].qformer_reads_prompt else 0
    layout = transforms.Layout.of(
        words,
        prompts.FORMATS[name],
        picture_len=4,
        max_text_len=240,
        max_response_len=40,
        qformer_text_len=read_len,
    )
    made = make_pipeline(data_folder=mixed, layout=layout, qformer_tokenizer=words if read_len else None)
    assert made.plan.rows_per_step() == {0: 8, 1: 8}  # no picture limits the rows
    seen = set()
    for step, batch in enumerate(made.batches(0, 12)):
        has_pictures = made.plan.step(step)[0] > 0
        seen.add(has_pictures)
        assert ("images" in batch, "text_ids" in batch) == (has_pictures, has_pictures and read_len > 0)
        assert batch["token_ids"].shape == (8, layout.row_len(int(has_pictures)))
        assert (batch["image_token_index"].max() >= 0) == has_pictures
        batch_checks.check_first_batch(batch, layout, vocab_size=400, record_ids=made.record_ids(step))
        alone = made.batch(step)
        assert alone.keys() == batch.keys() and all(np.array_equal(batch[key], alone[key]) for key in batch)
    assert seen == {True, False}


def test_a_text_row_is_the_row_of_the_same_texts_without_its_picture(make_pipeline, mixed, layout):
    made = make_pipeline(data_folder=mixed, redraw_instructions=False)
    rows = {}
    for step in range(12):
        ids, batch = made.record_ids(step), made.batch(step)
        rows |= {name: batch["token_ids"][place] for place, name in enumerate(ids)}
    block = layout.block_len(layout.picture_len)
    both = [number for number in range(20) if {f"ones-{number}", f"texts-{number}"} <= rows.keys()]
    assert len(both) > 5
    for number in both:
        assert np.array_equal(rows[f"texts-{number}"], rows[f"ones-{number}"][block:])


def test_towers_are_trained_on_pictures_alone(make_pipeline, mixed):
    made = make_pipeline(data_folder=mixed, objective="towers")
    assert made.source_names == ["ones"] and made.num_records == 20
    assert {name.split("-")[0] for step in range(6) for name in made.record_ids(step)} == {"ones"}
    with pytest.raises(errors.ConfigError, match=r"data.mixture\['texts'\]: the source has no record"):
        make_pipeline(data_folder=mixed, objective="towers", mixture={"texts": 1.0})


def test_captions_in_place_of_pictures_leave_text_rows_as_they_are(make_pipeline, mixed):
    batch = make_pipeline(data_folder=mixed, picture_as="captions", mixture={"texts": 1.0}).batch(0)
    assert "images" not in batch and batch["image_token_index"].max() == -1


def test_text_rows_are_held_back_one_by_one(mixed):
    held = held_pictures._held(mixed, "texts", share=0.25, seed=0)
    assert held.sum() == 6  # one by one, and not all as if they showed the same


def test_each_record_of_the_first_rows_is_given_once(make_pipeline, tiny):
    made = make_pipeline(mixture={"pairs": 1.0})
    for count in (5, 3 * tiny.COUNTS["pairs"]):
        found = [record.id for record in made.instances(count)]
        rows = [f"pairs-{record}" for _, record, _ in made.plan.rows(0, count)]
        assert found == list(dict.fromkeys(rows)), count
    assert len(found) == tiny.COUNTS["pairs"] < count


def test_the_source_with_the_longest_conversation_decides_the_room_for_answers(make_pipeline, layout, tiny, tmp_path):
    earlier = [{"instruction": f"What {number}?", "outputs": "a picture"} for number in range(2)]
    records = {"ones": [tiny.instance("ones", 0)], "pairs": [tiny.instance("pairs", 0, meta={"turns": earlier})]}
    folder = tiny.write_folder(tmp_path, records)
    long = dataclasses.replace(layout, max_text_len=400, max_response_len=20)
    assert make_pipeline(data_folder=folder, layout=long, global_batch_size=1).max_targets == 60
    one = make_pipeline(data_folder=folder, layout=long, global_batch_size=1, mixture={"ones": 1.0})
    assert one.max_targets == 20
