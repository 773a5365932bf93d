"""Predicting: what is asked, what is written, and that a cut-off evaluation goes on as if it had not been cut off."""

import dataclasses

import pytest

from m3it_jax import errors
from m3it_jax.evaluation import asking, controls, report, runner, scores, tasks

PROTOCOL = tasks.Protocol(max_new_tokens=5)
EVERY = (controls.OWN, *controls.CONTROLS)


def predict(model, folder, store, **options) -> list[dict]:
    options = {"identity": {"checkpoint": 1}, "protocol": PROTOCOL, **options}
    runner.predict(model, folder, store, **options)
    return store.predictions()


@pytest.fixture
def all_different(folder):
    """The folder, each question in other words, so that each is asked."""
    for table in folder.tables.values():
        for number, record in enumerate(table):
            table[number] = dataclasses.replace(record, instruction=f"What is number {number}?")
    return folder


def test_a_row_holds_what_scoring_needs(fakes, folder, store) -> None:
    rows = predict(fakes.Reader(), folder, store)
    assert len(rows) == 30
    (row,) = [row for row in rows if row["id"] == "one-3"]
    assert row["prediction"] == "shade 30"  # on one line, as the references are
    assert row["references"] == ["shade 30"]
    assert (row["skill"], row["family"], row["group"], row["variant"]) == ("digit", "vqa", "g3", "own")
    assert (row["source"], row["number"]) == ("one", 3)


def test_requests_carry_the_pictures_and_the_limit_of_tokens(fakes, folder, store) -> None:
    model = fakes.Reader()
    predict(model, folder, store)
    assert {request["max_new_tokens"] for request in model.asked} == {5}
    assert sorted({len(request["images"]) for request in model.asked}) == [1, 2]


def test_blank_pictures_are_white_and_of_the_same_number(fakes, folder, store) -> None:
    model = fakes.Reader()
    rows = predict(model, folder, store, variants=(controls.BLANK,))
    assert {row["prediction"] for row in rows} == {"shade 255"}
    assert {fakes.shade(image) for request in model.asked for image in request["images"]} == {255}


def test_shuffled_pictures_show_another_group(fakes, folder, store) -> None:
    rows = predict(fakes.Reader(), folder, store, variants=(controls.SHUFFLED,))
    assert len(rows) == 30
    assert all(row["prediction"] not in row["references"] for row in rows)


def test_majority_asks_no_model(fakes, folder, store) -> None:
    model = fakes.Reader()
    rows = predict(model, folder, store, variants=(controls.MAJORITY,))
    assert not model.asked
    assert {row["prediction"] for row in rows if row["skill"] == "digit"} == {"often"}


def test_a_cut_off_evaluation_goes_on(fakes, all_different, store, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(asking, "CHUNK_ROWS", 7)
    whole = type(store)(tmp_path / "whole")
    wanted = predict(fakes.Reader(), all_different, whole, variants=EVERY)
    with pytest.raises(KeyboardInterrupt):
        predict(fakes.Reader(fail_after=14), all_different, store, variants=EVERY)
    before = len(store.predictions())
    assert 14 <= before < len(wanted)
    with open(store.path / "predictions.jsonl", "ab") as file:
        file.write(b'{"id": "torn')
    model = fakes.Reader()
    rows = predict(model, all_different, store, variants=EVERY)
    assert len(model.asked) == len(wanted) - before
    key = lambda row: (row["id"], row["variant"])  # noqa: E731
    assert sorted(rows, key=key) == sorted(wanted, key=key)
    assert len({key(row) for row in rows}) == len(rows)


def test_another_identity_is_refused(fakes, folder, store) -> None:
    predict(fakes.Reader(), folder, store)
    with pytest.raises(errors.UserError, match="another checkpoint .*--out"):
        predict(fakes.Reader(), folder, store, identity={"checkpoint": 2})


def test_controls_can_be_added_later(fakes, all_different, store) -> None:
    predict(fakes.Reader(), all_different, store)
    model = fakes.Reader()
    rows = predict(model, all_different, store, variants=EVERY)
    assert len(model.asked) == 60  # blank and shuffled alone
    assert len(rows) == 120


def test_tasks_and_limit(fakes, folder, store) -> None:
    rows = predict(fakes.Reader(), folder, store, only=["reasoning"], limit=4)
    assert [row["skill"] for row in rows] == ["two-sum"] * 4


def test_a_limit_does_not_change_the_shuffled_partner(fakes, folder, store, tmp_path) -> None:
    def partner(rows: list[dict]) -> dict[str, str]:
        return {row["id"]: row["prediction"] for row in rows}

    whole = partner(predict(fakes.Reader(), folder, store, variants=(controls.SHUFFLED,)))
    few = predict(fakes.Reader(), folder, type(store)(tmp_path / "few"), variants=(controls.SHUFFLED,), limit=3)
    assert partner(few).items() <= whole.items()
    assert len(few) == 6


def test_an_unknown_task_is_refused_with_those_there_are(fakes, folder, store) -> None:
    with pytest.raises(errors.ConfigError, match="--tasks digits: .*digit.*two-sum"):
        predict(fakes.Reader(), folder, store, only=["digits"])


def test_chunks_are_of_one_number_of_pictures_and_bounded(fakes, all_different, store, monkeypatch) -> None:
    monkeypatch.setattr(asking, "CHUNK_ROWS", 8)
    monkeypatch.setattr(asking, "CHUNK_IMAGES", 6)
    sizes = []

    class Watching(fakes.Reader):
        def generate_batch(self, requests):
            sizes.append({len(request["images"]) for request in requests} | {-len(requests)})
            return super().generate_batch(requests)

    predict(Watching(), all_different, store)
    assert all(len(size) == 2 for size in sizes)
    assert {(max(size), -min(size)) for size in sizes} == {(1, 6), (1, 2), (2, 3), (2, 1)}


def test_more_answers_than_requests_are_an_error(all_different, store) -> None:
    class Chatty:
        def generate_batch(self, requests):
            return ["yes"] * (len(requests) + 1)

    with pytest.raises(ValueError, match="answers to"):
        predict(Chatty(), all_different, store)


def test_references_hold_every_right_answer_on_one_line(folder) -> None:
    record = dataclasses.replace(
        folder.tables["one", "test"][0], outputs="red\nblue", meta={"skill": "digit", "references": ["pink", "pink"]}
    )
    folder.tables["one", "test"][0] = record
    question = runner.read_questions(folder, tasks.Protocol(split="test"))[0]
    assert question.references == ("red blue", "pink")
    assert question.group == record.id  # no group: the record stands for itself


def test_an_unreadable_picture_is_told_with_its_record(fakes, folder, store) -> None:
    class Strict(fakes.Reader):
        def generate_batch(self, requests):
            raise errors.UserError("images[0]: picture is damaged")

    broken = dataclasses.replace(folder.tables["one", "test"][7], images=(fakes.picture(1)[:40],))
    folder.tables["one", "test"][7] = broken
    with pytest.raises(errors.UserError, match=r"record one-7 of one: images\[0\]: .*`m3it check data/fake`"):
        predict(Strict(), folder, store)
    with pytest.raises(errors.UserError, match=r"record one-7 of one"):
        predict(fakes.Reader(), folder, store, variants=(controls.BLANK,))


@pytest.mark.parametrize("meta", [{"references": "red"}, {"references": 3}, {"skill": ["x"]}, {"group": 1}])
def test_a_record_with_wrong_meta_is_told(folder, meta) -> None:
    folder.tables["one", "test"][0] = dataclasses.replace(folder.tables["one", "test"][0], meta=meta)
    with pytest.raises(errors.UserError, match=rf"record one-0 of one: meta.{next(iter(meta))} is .*m3it check"):
        runner.read_questions(folder, tasks.Protocol(split="test"))


SCORED = tasks.Protocol(max_new_tokens=5, resamples=50)


class Teller:
    def generate_batch(self, requests):
        self.most = max(getattr(self, "most", 0), *(len(request["images"]) for request in requests))
        return ["4" if not request["images"] else "a picture" for request in requests]


@pytest.fixture
def texts(folder):
    """Every second question of `one` has no picture, and `two` none at all."""
    import dataclasses

    for source, kept in (("one", 2), ("two", 1)):
        for split in ("train", "test"):
            table = folder.tables[source, split]
            for number in range(0, len(table), kept):
                meta = {**table[number].meta, "text_only": True}
                table[number] = dataclasses.replace(table[number], images=(), meta=meta, outputs="4")
    return folder


def test_no_control_takes_away_what_is_not_there(texts, store):
    variants = (controls.OWN, *controls.CONTROLS)
    runner.predict(Teller(), texts, store, identity={}, protocol=SCORED, variants=variants)
    rows = store.predictions()
    counts = {variant: sum(row["variant"] == variant for row in rows) for variant in variants}
    assert counts == {"own": 30, "blank": 10, "shuffled": 10, "majority": 30}
    assert not [row for row in rows if row["variant"] in controls.OF_PICTURES and row["num_images"] == 0]
    found = scores.score(store, SCORED)
    half, none = found["tasks"]["digit"]["exact_match"], found["tasks"]["two-sum"]
    assert half["value"] == 50.0 and half["n"] == 20
    # The questions in text alone keep their answers: both controls are over the same questions as the score.
    assert half["controls"] == {"blank": 50.0, "shuffled": 50.0, "majority": half["controls"]["majority"]}
    assert set(next(iter(none.values()))["controls"]) == {"majority"}
    assert found["not_applicable"]["digit"] == {"blank": 10, "shuffled": 10}
    assert found["not_applicable"]["two-sum"] == {"blank": 10, "shuffled": 10} and not found["left_out"]
    told = report.table(found)
    assert "two-sum: 10 of 10 questions are text alone; blank and shuffled are not applicable to them" in told
    (line,) = [line for line in told.splitlines() if line.startswith("two-sum ")]
    assert line.count("n/a") == 2


def test_folders_of_pictures_alone_say_nothing_of_it(folder, store):
    runner.predict(Teller(), folder, store, identity={}, protocol=SCORED)
    assert "not_applicable" not in scores.score(store, SCORED)


def test_what_stood_before_a_question_is_asked_with_it(fakes, folder, store) -> None:
    turns = [{"instruction": "What is it?", "outputs": "a shade"}]
    meta = {"skill": "digit", "group": "g", "turns": turns, "new_pictures": 1, "system": "Be short."}
    folder.tables["one", "test"][0] = dataclasses.replace(folder.tables["one", "test"][0], meta=meta)
    model = fakes.Reader()
    predict(model, folder, store, only=["digit"])
    wanted = {name: meta[name] for name in ("turns", "new_pictures", "system")}
    (asked,) = [request for request in model.asked if "turns" in request]
    assert {name: asked[name] for name in wanted} == wanted
    (row,) = [row for row in store.predictions() if row["id"] == "one-0"]
    assert {name: row[name] for name in wanted} == wanted


def test_answers_are_kept_one_by_one_as_they_are_finished(fakes, all_different, store) -> None:
    kept_before = []

    class Streams(fakes.Reader):
        def stream_batch(self, requests):
            for number in reversed(range(len(requests))):
                kept_before.append(len(store.predictions()))
                if len(kept_before) > 12:
                    raise KeyboardInterrupt
                yield number, super().generate_batch([requests[number]])[0]

    with pytest.raises(KeyboardInterrupt):
        predict(Streams(), all_different, store)
    assert kept_before == list(range(13)), "each answer is in the file before the next one comes"
    model = fakes.Reader()
    rows = predict(model, all_different, store)
    assert len(model.asked) == 30 - 12
    assert all(row["prediction"] in row["references"] for row in rows)


def test_a_model_that_forgets_an_answer_is_a_fault(fakes, folder, store) -> None:
    class Forgets(fakes.Reader):
        def generate_batch(self, requests):
            return super().generate_batch(requests)[:-1]

    with pytest.raises(ValueError, match="answers to"):
        predict(Forgets(), folder, store)
