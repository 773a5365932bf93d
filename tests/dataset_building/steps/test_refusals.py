import pytest

from m3it_jax.dataset_building.steps import refusals


@pytest.mark.parametrize(
    "text",
    [
        "Sorry, I cannot tell what this is.",
        "I'm sorry, but the image descriptions do not say so.",
        "I’m sorry. I can’t see the photo you mean.",
        "I cannot see any picture.",
        "As an AI language model I have no eyes.",
        "It is not possible to determine the year from the image.",
        "很抱歉,我看不到图片。",
        "对不起,我不知道。",
        "Leider kann ich diese Frage nicht beantworten.",
        "申し訳ありませんが、画像を見ることができません。",
    ],
)
def test_a_refusal_is_known(text):
    assert refusals.is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "A sign says: sorry, we are closed.",
        "The dog can't see the ball.",
        "她在向朋友说对不起。",
        "An AI robot toy.",
        "Sorry, I Can't Answer the Phone",
        "SORRY, I CANNOT HELP WITH THAT",
        "Sorry, no.",
        "I am very sorry.",
        "I cannot see any dog, only a cat.",
        "“Sorry, I can't help you with that” is in the bubble.",
    ],
)
def test_what_only_begins_like_one_is_none(text):
    assert not refusals.is_refusal(text)
