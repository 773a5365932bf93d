import pytest

from m3it_jax.dataset_building.rewriting import paraphrase_rules
from m3it_jax.dataset_building.rewriting.paraphrase_rules import Candidate

DOG = ("What colour is the dog?", "brown")


def reason(question, answer, text, **fields):
    language = "zh" if paraphrase_rules.script(question) == "CJK" else "en"
    return paraphrase_rules.reason(Candidate(question, answer, fields.pop("language", language), text, **fields))


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        (*DOG, "The dog is brown."),
        (*DOG, "The dog has a lovely brown coat."),
        ("How many dogs are there?", "2", "There are two dogs in the picture."),
        ("How many dogs are there?", "two", "There are 2 dogs in the picture."),
        ("How many people are there?", "25", "I count twenty-five people there."),
        ("How many people are there?", "1,000", "About 1000 people are there."),
        ("How many dogs are there?", "0", "There are no dogs in the picture."),
        ("Who is there?", "nobody", "There is nobody in the picture."),
        ("What is he doing?", "ride bike", "He is riding his bike."),
        ("What is he doing?", "skis", "He is skiing down the slope."),
        ("What does he play?", "play tennis", "He plays tennis on a court."),
        ("Is it raining?", "yes", "Yes, it is raining."),
        ("Is it raining?", "yes", "It is raining in the picture."),
        ("Is he without a hat?", "yes", "Yes, he has no hat."),
        ("Is it raining?", "no", "No, it isn't."),
        ("Is it raining?", "no", "It isn't raining."),
        ("Where is the cat?", "on the table", "The cat is on the table."),
        ("Which way?", "on", "The switch is on."),
        ("What does the sign say?", "Sorry, we're closed", 'The sign says "Sorry, we\'re closed".'),
        ("What does the sign say?", "no parking", "The sign says no parking."),
        ("What time is it?", "10:30", "The clock shows 10:30."),
        ("What does the sign say?", "北京", "The sign on the station says 北京."),
        ("Why is he wet?", "he fell into a deep cold lake", "He is wet because he fell into the deep lake."),
        ("图中有几只狗？", "2只", "图中有两只狗。"),
        ("图中有多少人？", "十二", "图中一共有12个人。"),
        ("这只狗是什么颜色的？", "棕色", "这只狗是棕色的。"),
        ("这是狗吗？", "是的", "这是一只非常可爱的狗。"),
        ("这是狗吗？", "不是", "这不是一只狗。"),
        ("这是什么？", "一台DVD", "这是一台DVD播放机。"),
        ("犬は何色ですか", "茶色", "この犬は茶色です。"),
    ],
)  # fmt: skip
def test_good_sentences_pass(question, answer, text):
    assert reason(question, answer, text) == ""


@pytest.mark.parametrize(
    ("wanted", "question", "answer", "text"),
    [
        ("empty", *DOG, ""),
        ("unreadable", *DOG, "The dog is brown \ud800."),
        ("unreadable", *DOG, "The dog is brown\x1b[31m."),
        ("unreadable", *DOG, "The dogâ€™s coat is brown."),
        ("language-model", *DOG, "As a language model I would say that the dog is brown."),
        ("language-model", "这只狗是什么颜色的？", "棕色", "作为一个AI，我认为这只狗是棕色的。"),
        ("apology", *DOG, "I'm sorry, but the dog is brown."),
        ("apology", *DOG, "It cannot be determined from the picture."),
        ("apology", *DOG, "The dog's colour is not mentioned in the image descriptions."),
        ("apology", "这只狗是什么颜色的？", "棕色", "抱歉，我不知道。"),
        ("apology", "这只狗是什么颜色的？", "棕色", "根据图片无法判断是不是棕色。"),
        ("prompt-leak", *DOG, "Transformed Answer: The dog is brown."),
        ("prompt-leak", *DOG, "Question: What colour is the dog? Answer: brown"),
        ("prompt-leak", *DOG, "<think> The dog is brown. </think> The dog is brown."),
        ("prompt-leak", "这只狗是什么颜色的？", "棕色", "改写后的回答：这只狗是棕色的。"),
        ("copied-question", *DOG, "What colour is the dog?"),
        ("copied-question", *DOG, "What colour is the dog? The dog is brown."),
        ("copied-question", "这只狗是什么颜色的？", "棕色", "这只狗是什么颜色的？棕色。"),
        ("unchanged", *DOG, "Brown."),
        ("other-language", *DOG, "这只狗是棕色的。"),
        ("other-language", *DOG, "Der Hund hat ein braunes Fell, brown."),
        ("other-language", "这只狗是什么颜色的？", "棕色", "The dog is brown."),
        ("too-long", *DOG, "The dog is brown. " * 20),
        ("lost-answer", *DOG, "The dog is black."),
        ("lost-answer", *DOG, "The dog is a lovely animal."),
        ("lost-answer", "How many dogs are there?", "2", "There are three dogs."),
        ("lost-answer", "How many dogs are there?", "25", "There are twenty dogs."),
        ("lost-answer", "How many dogs are there?", "0", "There are dogs in the picture."),
        ("lost-answer", "What is he doing?", "play tennis", "He is playing baseball."),
        ("lost-answer", "Is it raining?", "yes", "It is not raining."),
        ("lost-answer", "Is it raining?", "yes", "No, it is dry."),
        ("lost-answer", "Is it raining?", "no", "It is raining."),
        ("lost-answer", "Is it raining?", "no", "Yes, it is raining and not dry."),
        ("lost-answer", "What does the sign say?", "no parking", "The sign says there is no smoking."),
        ("lost-answer", "What colour?", "white", "While you wait, it is red."),
        ("lost-answer", "图中有几只狗？", "2只", "图中有三只狗。"),
        ("lost-answer", "图中有几只狗？", "一只狗", "图中有两只狗。"),
        ("lost-answer", "这只狗是什么颜色的？", "棕色", "这只狗是黑色的，很好看。"),
        ("lost-answer", "这是狗吗？", "是的", "这不是一只狗。"),
        ("lost-answer", "这是狗吗？", "不是", "这是一只狗，非常可爱。"),
    ],
)  # fmt: skip
def test_bad_sentences_are_rejected_with_their_reason(wanted, question, answer, text):
    assert reason(question, answer, text) == wanted


def test_what_was_cut_off_is_rejected():
    assert reason(*DOG, "The dog is brown and", finish="length") == "cut-off"
    assert reason(*DOG, "The dog is brown.", finish="content_filter") == "cut-off"


def test_the_papers_own_phrases_are_rejected_where_the_paper_does_even_if_they_stand_in_the_answer():
    sign = ("What does the sign say?", "Sorry")
    assert reason(*sign, "The sign says Sorry.") == ""
    assert reason(*sign, "The sign says Sorry.", phrases=("sorry",)) == "paper-phrase"
    assert reason(*DOG, "The brown dog is in no Image Descriptions.", phrases=("image descriptions",)) == "paper-phrase"


def test_the_worked_example_said_over_is_a_leak():
    example = "The man is holding an umbrella."
    assert reason(*DOG, "The man is holding an umbrella.", example=example) == "prompt-leak"


def test_an_answer_with_reasons_keeps_the_answer_itself():
    reasons = "A bus has very many seats for tall and short people. So the answer is many."
    text = "A bus has very many seats for tall and short people, so the answer is clear."
    assert reason("Which?", reasons, text) == ""
    assert reason("Which?", reasons, text, kernel="many") == ""
    assert reason("Which?", reasons, text.replace("many ", ""), kernel="many") == "lost-answer"
    assert reason("Which?", reasons, text.replace("many ", "")) == ""


def test_an_option_has_to_stay_word_for_word():
    options = ("(A) brown", "(B) black")
    assert reason("Which?", "(A) brown", "It is (A) brown.", options=options) == ""
    assert reason("Which?", "(A) brown", "It is brown, option A.", options=options) == "lost-answer"


def test_numbers_are_read_alike():
    assert paraphrase_rules.words("Twenty-five men, thirty, and 1,200 others") == [
        "25",
        "men",
        "30",
        "and",
        "1200",
        "others",
    ]
    assert paraphrase_rules.words("十二个，二十，两") == ["12", "个", "20", "2"]
    assert paraphrase_rules.words("twenty one-way signs") == ["21", "way", "signs"]
