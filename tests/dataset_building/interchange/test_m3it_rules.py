import pytest

from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.interchange import m3it_rules
from m3it_jax.dataset_building.interchange.m3it_rules import RELEASED, About
from m3it_jax.dataset_building.specification import RowError

LABELS = {f"n{number:04d}": f"thing {number}" for number in range(20)}
ABOUT = About("picture", 0, {}, ("Look and answer.",))


def read(name, row, about=ABOUT):
    return list(RELEASED[name].rule(row, about))


def one(name, row, about=ABOUT):
    (found,) = read(name, row, about)
    return found.inputs, found.outputs


def test_the_forty_are_all_there_and_the_loaders_others_have_kin():
    assert tuple(RELEASED)[:40] == sources.NAMES
    assert all(each.kin in sources.NAMES for each in list(RELEASED.values())[40:])


def test_coco_gives_a_row_for_each_reference_caption():
    found = read("coco", {"meta": {"targets": ["A dog. ", "One dog."]}, "output": "A dog."})
    assert [each.outputs for each in found] == ["A dog.", "One dog."]
    assert all(each.inputs == "" and each.references == ("A dog.", "One dog.") for each in found)
    assert one("coco", {"output": "A dog."}) == ("", "A dog.")
    with pytest.raises(RowError):
        read("coco", {"meta": {"targets": "A dog."}})


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        ("It is red.", "It is red."),
        ("Sorry, I cannot see it.", "The answer is red"),
        ("It is Not Answerable.", "The answer is red"),
        ("The image descriptions say red.", "The answer is red"),
        (None, "The answer is red"),
    ],
)
def test_vqa_v2_falls_back_to_the_short_answer_without_a_full_stop(answer, outputs):
    row = {"question": "Which colour?", "original_answer": "red", "paraphrased_answer": answer}
    (found,) = read("vqa-v2", row)
    assert (found.inputs, found.outputs, found.original) == ("Which colour?", outputs, "red")
    assert bool(found.change) == (outputs != answer)


def test_okvqa_falls_back_with_a_full_stop_and_keeps_other_words():
    row = {"question": "q", "answer": "red", "paraphrased_answer": "It is not answerable."}
    assert one("okvqa", row) == ("q", "It is not answerable.")
    assert one("okvqa", row | {"paraphrased_answer": "I am sorry"}) == ("q", "The answer is red.")
    assert one("viquae", {"input": "q", "output": "A sentence."}) == ("q", "A sentence.")


def test_fm_iqa_falls_back_in_chinese():
    row = {"question": "什么颜色?", "answer": "红色", "paraphrased_answer": "抱歉,看不清。"}
    assert one("fm-iqa", row) == ("什么颜色?", "答案是红色。")


def test_a_okvqa_joins_rationale_and_answer_until_they_are_merged():
    row = {"question": "q", "rationale": ["It glows.", "It is hot."], "answer": "fire"}
    assert one("a-okvqa", row) == ("q", "It glows. So the answer is fire.")
    assert one("a-okvqa", row | {"paraphrased_answer": "It glows, so it is fire."})[1] == "It glows, so it is fire."


def test_imagenet_puts_the_class_among_ten_options():
    about = About("picture", 0, LABELS, ())
    (found,) = read("imagenet", {"label": "n0007"}, about)
    assert len(found.options) == 10 == len(set(found.options)) and "thing 7" in found.options
    place = found.options.index("thing 7")
    letters = "ABCDEFGHIJ"
    assert found.outputs == f"({letters[place]}) thing 7"
    assert found.inputs.splitlines() == [f"({letters[n]}) {option}" for n, option in enumerate(found.options)]
    assert one("imagenet", {"output": "thing 7"}, about) == one("imagenet", {"answer": 8}, about)
    drawn = {read("imagenet", {"label": "n0007"}, About(str(n), 0, LABELS, ()))[0].outputs for n in range(60)}
    assert len(drawn) == 10
    with pytest.raises(RowError, match="none of the 20 classes"):
        read("imagenet", {"label": "21"}, about)


def test_imagenet_with_options_of_its_own_keeps_them():
    row = {"input": "(A) cat\n(B) dog", "output": "(A) cat"}
    assert one("imagenet", row, About("picture", 0, LABELS, ())) == ("(A) cat\n(B) dog", "(A) cat")
    assert one("imagenet-open-ended", {"label": "n0003"}, About("p", 0, LABELS, ())) == ("", "thing 3")


@pytest.mark.parametrize(
    ("label", "word"), [("entailment", "yes"), ("neutral", "maybe"), ("contradiction", "no"), ("no", "no")]
)
def test_snli_ve_fills_the_slot_and_explains(label, word):
    row = {"hypothesis": "He sleeps.", "label": label, "explanation": "His eyes are shut."}
    (found,) = read("snli-ve", row, About("p", 0, {}, ("Does [HYPO] hold?",)))
    assert (found.inputs, found.outputs) == ("", f"{word}\nHis eyes are shut.")
    assert found.slots == {"HYPO": "He sleeps."}
    (found,) = read("snli-ve", row, About("p", 0, {}, ("Does [HYPO] hold?", "Is it so?")))
    assert found.inputs == "He sleeps."  # an instruction without the slot would lose it


def test_small_mends():
    assert one("gqa", {"input": "Is it?", "output": "Yes, it is?."}) == ("Is it?", "Yes, it is.")
    assert one("clevr", {"question": "How many?", "answer": "3"}) == ("How many?", "The answer is 3.")
    assert one("clevr", {"question": "q", "output": "The answer is 3."}) == ("q", "The answer is 3.")
    assert one("vist", {"sentences": ["One. ", "Two."]}) == ("", "One. Two.")
    assert one("textcap", {"question": "unused", "answer": "A sign."}) == ("", "A sign.")


def test_options_apart_follow_the_question():
    row = {"question": "Which?", "options": ["cat", "dog"], "answer": "cat"}
    (found,) = read("science-qa", row)
    assert found.inputs == "Which?\nOptions:\n(A) cat\n(B) dog" and found.options == ("cat", "dog")
    (found,) = read("science-qa", row | {"answer": "the feline"})
    assert found.options == ()  # a free answer is not held to them


@pytest.mark.parametrize("row", [{}, {"answer": None}, {"answer": " "}, {"answer": {"a": 1}}, {"answer": [1, 2]}])
def test_a_row_without_text_is_told(row):
    for name in RELEASED:
        with pytest.raises(RowError):
            read(name, row)


def test_a_lone_picture_becomes_a_list():
    assert m3it_rules.picture_field({"img_str": "x"}, ("image", "img_str")) == ["x"]
    assert m3it_rules.picture_field({"image": ["x", "y"]}, ("image", "img_str")) == ["x", "y"]
    for row in ({}, {"image": ""}, {"image": []}):
        with pytest.raises(RowError, match="no picture"):
            m3it_rules.picture_field(row, ("image",))


def test_the_publishers_picture_id_is_found_in_row_or_meta():
    assert m3it_rules.picture_name({"image_id": 7}) == "7"
    assert m3it_rules.picture_name({"meta": {"video_id": "v3"}}) == "v3"
    assert m3it_rules.picture_name({"image_id": True, "meta": []}) == ""
