"""The language of an answer: what counts, and what is refused. The reference: test_table.py."""

import builtins
from typing import Any

import pytest

from m3it_jax import metrics
from m3it_jax.metrics import language


@pytest.mark.parametrize(
    ("tags", "text", "right"),
    [
        (["zh"], "一个蓝色的圆形", True),
        (["zh-Hant-TW"], "一個藍色的圓形在圖片中間", True),
        (["ZH_cn"], "一个蓝色的圆形", True),
        (["en"], "一个蓝色的圆形", False),
        (["en", "zh"], "一个蓝色的圆形", True),
        (["mul"], "一个蓝色的圆形", True),
        (["zh"], "3.5", True),  # digits are in every language
        (["zh"], " ", False),
        (["mul"], "", False),
    ],
)
def test_language_match(tags: list[str], text: str, right: bool) -> None:
    assert metrics.language_match([tags], [text]) == {"language_match": 100.0 * right}


def test_a_choice_among_few_languages_helps_short_answers() -> None:
    texts = ["a dog", "blue", "red circle", "two"]
    free = metrics.language_match([["en"]] * 4, texts)["language_match"]
    among = metrics.language_match([["en"]] * 4, texts, among=["zh", "en"])["language_match"]
    assert among == 100.0 >= free


def test_unknown_languages_are_refused() -> None:
    for call in (
        lambda: metrics.language_match([["tlh"]], ["a"]),
        lambda: metrics.language_match([["en"]], ["a"], among=["tlh"]),
    ):
        with pytest.raises(metrics.ScoringError, match="language 'tlh' is not known to py3langid; it knows"):
            call()


def test_of_several_unknown_languages_the_first_by_its_letters_is_named() -> None:
    tags = [f"q{one}{other}" for one in "abcdef" for other in "zyxwvu"]
    with pytest.raises(metrics.ScoringError, match="language 'qau' is not known"):
        metrics.language_match([tags], ["a"])


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name == "py3langid":
            raise ImportError(name)
        return real(name, *arguments)

    language._known.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(metrics.ScoringError, match=r"py3langid is not installed; run pip install .*\[eval\]"):
        metrics.language_match([["en"]], ["a"])
