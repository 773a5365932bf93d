"""When a model's full sentence must not replace a short answer: a table of reason codes and predicates."""

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Callable

from m3it_jax import schema
from m3it_jax.dataset_building.steps import mojibake, refusals


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A sentence of a model beside what it was made from.

    Attributes:
      question: What is asked about the picture.
      answer: The short answer; with reasons around it in some sources.
      kernel: The short answer within one that has reasons; empty for others.
      language: BCP-47 tag of both.
      text: The sentence, white space made single.
      finish: Why the model ended, as in `llm_client.Answer`.
      options: The answers to choose from, if there are any.
      phrases: Texts in lower case that must not stand in the sentence: the paper's of this source.
      example: The sentence of the worked example in the prompt.
    """

    question: str
    answer: str
    language: str
    text: str
    kernel: str = ""
    finish: str = "stop"
    options: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    example: str = ""


# CHOICE: the paper's longest paraphrases are of two to five sentences (A-OKVQA); about 20 words each are 100. A short
# answer needs one sentence, and a longer one in proportion.
_MOST_WORDS = 60
_MOST_WORDS_FOR_EACH = 3  # for each word of the answer

# Seen in the released rows (OpenGVLab/Ask-Anything, video_chat2/DATA.md, speaks of "Sorry, ..."), and what models say
# in the same place. A phrase that stands in question or answer is allowed: pictures show signs.
_APOLOGIES = (
    "sorry", "apolog", "unfortunately", "not answerable", "unanswerable", "unable to", "cannot be determined",
    "can't be determined", "cannot determine", "can't determine", "cannot answer", "can't answer", "cannot tell",
    "can't tell", "cannot see", "can't see", "impossible to", "not possible to", "not enough information",
    "insufficient information", "no information", "not provided", "not specified", "not mentioned",
    "image description", "the description", "the caption", "the ocr", "based on the context",
    "对不起", "抱歉", "很遗憾", "无法", "不能确定", "没有提供", "未提供", "信息不足", "没有足够", "图片描述",
    "图像描述",
)  # fmt: skip
_LANGUAGE_MODEL = (
    "language model", "an ai assistant", "as an ai", "i am an ai", "i'm an ai", "i don't have access",
    "语言模型", "作为一个ai", "人工智能助手", "作为ai",
)  # fmt: skip
# Parts of the prompt that a model says over; the labels are the paper's (Table 8 and Figure 2) and ours.
_LABELS = re.compile(
    r"(?:transformed|paraphrased|short|gold) answer\s*[:：]|^(?:question|answer|caption|text in the picture)\s*[:：]"
    r"|<think>|改写后的回答|^(?:问题|答案|回答|图片描述|图中文字)\s*[:：]",
    re.IGNORECASE,
)

_YES = frozenset({"yes", "yeah", "yep", "是", "是的", "对", "对的", "有", "有的", "能", "可以", "会"})
_NO = frozenset({"no", "nope", "不", "不是", "没有", "没", "否", "不能", "不可以", "不会", "不对", "无"})
_NOTHING = frozenset({"none", "nothing", "nobody", "zero", "0"})
_NEGATIONS = frozenset(
    "no not none never nothing nobody nowhere neither nor without cannot 0 lacks lack 不 没 无 否 非 未 别".split()
)
# Words with one of these characters that deny nothing.
_NO_NEGATIONS = re.compile("非常|特别|别的|别人|未来|不仅|不但|不同|无人机")
_AGREES_ZH = ("是", "对", "有", "能", "可", "会")

# Words that a sentence may leave out; where an answer has no others, these count.
_FUNCTION_WORDS = frozenset(
    "a an the of on in at to is are was were be it its they them their he she his her this that these those there and"
    " or with by for from as into onto some any very".split()
) | frozenset("的了是在着有和一个这那它他她们地得很也只条张位名种")
# Of a sentence of five words in English, at least one stands here.
_ENGLISH = frozenset(
    "a an the of on in at to is are was were be been has have had it its they their there he she his her this that"
    " these and or with by for from as you i not no yes can will would".split()
)
_ENGLISH_FROM = 5

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_UNITS += "seventeen eighteen nineteen".split()
_TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
_NUMBERS = {word: number for number, word in enumerate(_UNITS)} | _TENS
_HAN_NUMBERS = {mark: number for number, mark in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"\d+(?:[.,:/]\d+)*|[{_HAN}]|(?:(?![{_HAN}])[^\W\d_])+(?:['’](?:(?![{_HAN}])[^\W\d_])+)?")
_HAN_NUMBER = re.compile(r"[零〇一二两三四五六七八九十]+")


def plain(text: str) -> str:
    """Returns a text as it is compared: compatible forms made one, lower case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """Returns the words of a text as it is compared; numbers are digits, each Chinese character is a word.

    `twenty-five dogs` and `25 dogs` are the same two words, `两只` and `2只` too.
    """
    joined = _HAN_NUMBER.sub(lambda found: f" {_han_number(found[0])} ", plain(text))
    found: list[str] = []
    tens = 0  # of a number that its ones may follow
    for word in _WORD.findall(joined):
        number = _NUMBERS.get(word)
        if tens and number is not None and 0 < number < 10:
            found[-1], tens = str(tens + number), 0
            continue
        tens = number if number in _TENS.values() and number is not None else 0
        found.append(re.sub(r",(?=\d{3}\b)", "", word) if number is None else str(number))
    return found


def _han_number(text: str) -> str:
    """Returns a number below 100 in Chinese characters as digits, and what is none as it is."""
    tens, mark, ones = text.partition("十")
    if not mark:
        return str(_HAN_NUMBERS[text]) if len(text) == 1 else text
    if len(tens) > 1 or len(ones) > 1 or "十" in ones:
        return text
    return str(10 * _HAN_NUMBERS.get(tens, 1) + _HAN_NUMBERS.get(ones, 0))


def script(text: str) -> str:
    """Returns the script that most letters of a text are of, such as `LATIN`; Chinese and Japanese are one, `CJK`."""
    names = (unicodedata.name(letter, "").split(" ")[0] for letter in plain(text) if letter.isalpha())
    counts = collections.Counter("CJK" if name in ("HIRAGANA", "KATAKANA") else name for name in names)
    return counts.most_common(1)[0][0] if counts else ""


def _holds(phrases: tuple[str, ...], candidate: Candidate) -> bool:
    given, text = plain(f"{candidate.question} {candidate.answer}"), plain(candidate.text)
    return any(phrase in text and phrase not in given for phrase in phrases)


def _apology(candidate: Candidate) -> bool:
    # What the short answer says, the sentence may say too.
    return (refusals.is_refusal(candidate.text) and not refusals.is_refusal(candidate.answer)) or _holds(
        _APOLOGIES, candidate
    )


def _unreadable(candidate: Candidate) -> bool:
    odd = any(unicodedata.category(letter) in ("Cc", "Co", "Cn") for letter in candidate.text)
    return odd or not schema.encodable(candidate.text) or mojibake.is_mojibake(candidate.text)


def _prompt_leak(candidate: Candidate) -> bool:
    example = plain(candidate.example)
    return _LABELS.search(candidate.text) is not None or bool(example and example in plain(candidate.text))


def _copied_question(candidate: Candidate) -> bool:
    question, text = words(candidate.question), words(candidate.text)
    return len(question) > 2 and text[: len(question)] == question


def _unchanged(candidate: Candidate) -> bool:
    answer = words(candidate.answer)
    return len(answer) < 4 and words(candidate.text) == answer


def _other_language(candidate: Candidate) -> bool:
    wanted, found = script(candidate.question) or script(candidate.answer), script(candidate.text)
    if wanted and found and wanted != found:
        return True
    said = words(candidate.text)
    english = candidate.language.split("-")[0] == "en" and wanted == "LATIN"
    return (
        english and len(said) >= _ENGLISH_FROM and not _ENGLISH.intersection(re.split("['’]", word)[0] for word in said)
    )


def _too_long(candidate: Candidate) -> bool:
    return len(words(candidate.text)) > _MOST_WORDS + _MOST_WORDS_FOR_EACH * len(words(candidate.answer))


def _lost_answer(candidate: Candidate) -> bool:
    if candidate.options and not any(option in candidate.text for option in candidate.options):
        return True
    if candidate.kernel and _lost_answer(dataclasses.replace(candidate, answer=candidate.kernel, kernel="")):
        return True
    answer, text = words(candidate.answer), words(_NO_NEGATIONS.sub(" ", candidate.text))
    bare = plain(candidate.answer).strip(" .!?。！？,，")
    if bare in _YES or answer[:1] == ["yes"]:
        wrong = _denies(text) and not _agrees(text)
    elif bare in _NO | _NOTHING or answer[:1] == ["no"]:
        wrong = not _denies(text) or text[:1] == ["yes"]
    else:
        return _lost_words(answer, words(candidate.text), candidate)
    rest = [] if bare in _YES | _NO | _NOTHING else answer[1:]
    return wrong or _lost_words(rest, words(candidate.text), candidate)


def _lost_words(answer: list[str], text: list[str], candidate: Candidate) -> bool:
    """Returns whether too many words of the answer, or one of its numbers, are not in the text."""
    numbers = {word for word in answer if word[0].isdigit()}
    content = [word for word in answer if word not in _FUNCTION_WORDS and word not in numbers]
    if script(candidate.answer) == "CJK" and content and not any(word[0].isdigit() for word in text):
        numbers.discard("1")  # 一 is also the article
    if not numbers <= set(text):
        return True
    content = content or ([] if numbers else answer)
    missing = sum(not _stands(word, text, whole=plain(candidate.text)) for word in content)
    # A long answer may be put in other words here and there; of up to three words none may be missing.
    return missing > len(content) // 4


def _denies(text: list[str]) -> bool:
    return any(word in _NEGATIONS or word.endswith(("n't", "n’t")) for word in text)


def _agrees(text: list[str]) -> bool:
    return text[:1] == ["yes"] or (bool(text) and text[0].startswith(_AGREES_ZH))


def _stands(word: str, text: list[str], *, whole: str) -> bool:
    """Returns whether a word stands in a text, perhaps with another ending."""
    if any(_alike(word, other) for other in text):
        return True
    return len(word) > 1 and script(word) not in ("LATIN", "") and word in whole  # no spaces between words


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    short, long = sorted((_stem(one), _stem(other)), key=len)
    return short == long or (len(short) >= 4 and long.startswith(short))


def _stem(word: str) -> str:
    """Returns an English word without its ending: riding, rides and ride are one; running and run too."""
    word = re.sub(r"['’]s?$", "", word)
    word = re.sub(r"ies$", "y", word)
    for ending in ("ing", "es", "ed", "er", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


# The first that holds is the reason. The paper's own test comes before ours (arXiv 2306.04387, section 3.2, stage III;
# texts from the loading script of the released data): what it would have replaced is replaced.
RULES: tuple[tuple[str, Callable[[Candidate], bool]], ...] = (
    ("empty", lambda candidate: not candidate.text),
    ("unreadable", _unreadable),
    ("cut-off", lambda candidate: candidate.finish in ("length", "content_filter")),
    ("paper-phrase", lambda candidate: any(phrase in candidate.text.lower() for phrase in candidate.phrases)),
    ("language-model", lambda candidate: _holds(_LANGUAGE_MODEL, candidate)),
    ("apology", _apology),
    ("prompt-leak", _prompt_leak),
    ("copied-question", _copied_question),
    ("unchanged", _unchanged),
    ("other-language", _other_language),
    ("too-long", _too_long),
    ("lost-answer", _lost_answer),
)


def reason(candidate: Candidate) -> str:
    """Returns the code of the first rule that rejects a sentence; empty if none does."""
    return next((code for code, rejects in RULES if rejects(candidate)), "")
