"""Asking, the step and the scores together: what a translator says -> what becomes of a record."""

import dataclasses
import pickle
import re

import pytest
from built_folder import row
from toy_translator import Toy, backwards, step_for

from m3it_jax import languages, schema
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.steps import quality as record_quality
from m3it_jax.dataset_building.translation import asking, engines, quality, texts
from m3it_jax.dataset_building.translation.store import Store

QUESTION = "Which of these 2 animals is it?\n(A) golden retriever\n(B) house cat"
DOG = row(
    "toys",
    QUESTION,
    "(A) golden retriever",
    meta={"options": ["(A) golden retriever", "(B) house cat"], "captions": ["a dog"], "slots": {"N": "seven", "M": 7}},
)


def asked(rows, engine, cache, **fields):
    """The records that come out, and what was asked."""
    each = step_for(engine, cache, **fields)
    counts = {each.target.code: asking.Counts()}
    store = Store(cache, writes=True)
    asking.ask(rows, [each], engine, store=store, counts=counts)
    made = [each.changed(one, store) for one in rows]
    store.close()
    return made, counts[each.target.code]


def test_every_text_is_translated_and_what_must_survive_does(tmp_path):
    (new,), counts = asked([DOG], Toy(), tmp_path)
    assert new.instruction == "rewsnA eht noitseuq."
    assert new.inputs == "hcihW fo eseht 2 slamina si ti?\n(A) nedlog reveirter\n(B) esuoh tac"
    assert new.outputs == "(A) nedlog reveirter" == new.meta["options"][0] == new.meta["references"][0]
    assert (new.language, new.source, new.id) == ("de", "toys-de", f"{DOG.id}-de")
    assert new.images == DOG.images and new.meta["captions"] == ["a dog"]
    assert new.meta["slots"] == {"N": "neves", "M": 7}
    about = new.meta["translation"]
    assert about["of"] == DOG.id and about["marks"] == "kept" and about["engine"] == "toy" and about["weight"] == 1.0
    assert about["original"] == {"instruction": DOG.instruction, "inputs": DOG.inputs, "outputs": DOG.outputs}
    assert new.meta["changes"] == ["translated from en to de by toy"]
    assert list(schema.problems(new)) == [] == list(record_quality.problems(new))
    assert counts.asked == counts.texts == 5 and counts.unanswered == 0


def test_conversations_are_translated_turn_by_turn(tmp_path):
    turns = [
        {"instruction": "What is it?", "outputs": "a dog", "new_pictures": 1},
        {"instruction": "Where?", "outputs": "B"},
    ]
    talk = dataclasses.replace(DOG, meta=dict(DOG.meta) | {"turns": turns, "system": "Be short."})
    (new,), _ = asked([talk], Toy(), tmp_path)
    assert new.meta["turns"] == [
        {"instruction": "tahW si ti?", "outputs": "a god", "new_pictures": 1},
        {"instruction": "erehW?", "outputs": "B"},
    ]
    assert new.meta["system"] == "eB trohs." and list(schema.problems(new)) == []
    assert list(texts.of(new)) != list(texts.of(talk))


def test_lost_marks_are_put_around_translated_pieces(tmp_path):
    engine = Toy(lambda text: backwards(text.replace("[1]", "")))
    (new,), counts = asked([DOG], engine, tmp_path)
    assert (
        new.inputs.startswith("hcihW fo eseht 2 slamina si ti?\n(A) ") and new.meta["translation"]["marks"] == "pieces"
    )
    assert engine.batches[1] == ["Which of these", "animals is it?"] and counts.asked == 7
    assert new.meta["translation"]["weight"] == 0.9


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        (lambda text: engines.Failure("died"), "no-answer"),
        (lambda text: "", "empty"),
        (lambda text: " \u2028 ", "empty"),
        (lambda text: f"{backwards(text)}\n{backwards(text)}", "more-lines"),
        (lambda text: f"{backwards(text)} [9]", "mark-invented"),
        (lambda text: text, "copied"),
        (lambda text: re.sub(r"[^\W\d_]", "я", text), "other-script"),
        (lambda text: backwards(text) + " ja ja ja" * 40, "too-long"),
        (lambda text: backwards(text)[:2] if "[" not in text else f"{text[:1]}[1]", "too-short"),
        (lambda text: "ein Tier" if text in ("golden retriever", "house cat") else backwards(text), "options-merged"),
        (lambda text: re.sub(r"[a-zA-Z]+", "ich du er", text)[:90], "repeats"),
    ],
)
def test_a_bad_translation_is_quarantined_with_its_reason(tmp_path, say, reason):
    (found,), _ = asked([DOG], Toy(say), tmp_path)
    assert isinstance(found, Rejected) and found.reason == reason, found
    assert found.place == DOG.id and found.text
    if reason not in ("no-answer", "empty", "more-lines", "mark-invented"):
        assert found.instance is not None and found.instance.meta["translation"]["of"] == DOG.id


@pytest.mark.parametrize("text", ["\ud800 x", "a\x00b \u202ec\u202c", "🙂‍🙂", "٣ كلب", "x" * 10_000])
def test_odd_answers_end_as_records_or_in_quarantine(tmp_path, text):
    odd = Toy(lambda asked: re.sub("[a-z]+", text.replace("\\", ""), asked, count=1))
    (found,), _ = asked([DOG], odd, tmp_path)
    new = found.instance if isinstance(found, Rejected) else found
    assert new is None or list(schema.problems(new)) == []


@pytest.mark.parametrize(
    "text",
    ["\u202eabc\u202c \u200bdef\x07", "👨‍👩‍👧 family", "word " * 2_000, "ab" * 5_000, "Смешанный текст 文字", "\u200f"],
)
def test_odd_records_lose_nothing(tmp_path, text):
    odd = dataclasses.replace(DOG, inputs=text, meta={})
    (found,), _ = asked([odd], Toy(), tmp_path)
    new = found.instance if isinstance(found, Rejected) else found
    assert new is not None and new.inputs == (text if text == "\u200f" else new.inputs)
    assert sorted(new.inputs.lower()) == sorted(text.lower())  # the toy moves letters and loses none


def test_records_of_another_language_are_left_out(tmp_path):
    chinese = dataclasses.replace(DOG, language="zh")
    engine = Toy()
    each = step_for(engine, tmp_path)
    asked([chinese, dataclasses.replace(DOG, language="en-GB")], engine, tmp_path)
    assert "golden retriever" in engine.asked
    found = pickle.loads(pickle.dumps(each))(chinese)
    assert isinstance(found, Rejected) and found.reason == "other-source-language"
    assert pickle.loads(pickle.dumps(each))(DOG).outputs == "(A) nedlog reveirter"


def test_nothing_is_asked_twice_and_portions_decide_what_is_asked_together(tmp_path):
    rows = [
        row("toys", f"Where is the {name}?", "There.") for name in ("red dog", "dog", "cat", "cow", "pig", "red dog")
    ]
    engine = Toy()
    asked(rows, engine, tmp_path)
    assert sorted(engine.asked) == sorted(set(engine.asked)) and len(engine.asked) == 7
    again = Toy()
    _, counts = asked(rows, again, tmp_path)
    assert again.batches == [] and counts.from_store == counts.texts == 7 and counts.asked == 0
    small = Toy(name="other")
    each, store = step_for(small, tmp_path), Store(tmp_path, writes=True)
    seen: list[int] = []
    asking.ask(rows, [each], small, store=store, counts={"de": asking.Counts()}, on_record=seen.append, portion=2)
    assert seen == [2, 2, 2] and [len(batch) for batch in small.batches] == [4, 2, 1]


def test_what_failed_is_asked_again_and_the_rest_is_not(tmp_path):
    broken = Toy(lambda text: engines.Failure("hung") if "dog" in text else backwards(text))
    rows = [row("toys", f"Where is the {name}?", "There.") for name in ("dog", "cat")]
    made, counts = asked(rows, broken, tmp_path)
    assert [isinstance(one, Rejected) for one in made] == [True, False]
    assert (counts.unanswered, counts.problem) == (1, "hung")
    mended = Toy()
    made, _ = asked(rows, mended, tmp_path)
    assert mended.asked == ["Where is the dog?"] and made[0].inputs == "erehW si eht god?"


def test_the_way_back_is_scored(tmp_path):
    (new,), counts = asked([DOG], Toy(), tmp_path, is_back_translated=True)
    assert new.meta["translation"]["back_chrf"] == 100.0 and counts.asked == 10
    one_way = Toy(lambda text: "etwas anderes" if text == backwards(text.lower()) else backwards(text))
    spoilt = Toy(lambda text: backwards(text) if "the" in text or "gold" in text else f"Unsinn {len(text)} {text[:3]}")
    assert one_way
    (found,), _ = asked([DOG], spoilt, tmp_path / "b", is_back_translated=True)
    new = found.instance if isinstance(found, Rejected) else found
    assert new is None or new.meta["translation"]["back_chrf"] < 60


def test_the_language_is_identified_where_that_is_possible():
    german = "Der Hund läuft am Strand entlang und spielt mit einem roten Ball im Sand."
    assert quality.identified(german, "de", num_letters=60) == "right"
    assert quality.identified(german, "fr", num_letters=60) == "other"
    assert quality.identified(german, "fr", num_letters=10) == quality.TOO_SHORT
    assert quality.identified(german, "wo", num_letters=60) == quality.UNCHECKED
    croatian = "Pas trči po plaži i igra se s crvenom loptom u pijesku, a djeca ga gledaju."
    assert quality.identified(croatian, "bs", num_letters=60) == "right"


def test_bounds_are_by_script_then_by_what_is_given():
    chinese, german = languages.find("zh"), languages.find("de")
    assert quality.bounds(chinese, {}).most_length < quality.bounds(german, {}).most_length
    changed = {"*": {"most_copied": 0.1}, "de": {"most_length": 9}}
    assert quality.bounds(german, changed).most_length == 9 and quality.bounds(chinese, changed).most_copied == 0.1
    for wrong in ({"de": {"most": 1}}, {"de": {"most_copied": "x"}}, {"de": 3}, {"*": {"most_copied": True}}):
        with pytest.raises(Exception, match="--bounds"):
            quality.bounds(german, wrong)


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ({}, 1.0),
        ({"copied": 0.8}, 0.5),
        ({"repeated": 0.3}, 0.5),
        ({"script": 0.5}, 0.5),
        ({"marks": "pieces"}, 0.9),
        ({"back_chrf": 60.0, "judged": 50.0}, 0.3),
    ],
)
def test_the_weight_is_what_the_scores_leave(scores, wanted):
    assert quality.weight(scores, quality.Bounds()) == pytest.approx(wanted)
