"""Writes tests/golden/metrics: what published scorers say about texts of ours. Run once, by hand.

    pip install pycocoevalcap==1.2 sacrebleu==2.6.0 rouge-score==0.1.2 py3langid==0.4.0 rapidfuzz
    pip download --no-deps lmms-eval==0.7.3 lm-eval==0.4.13 ms-vlmeval==0.0.20 clip-benchmark==1.6.2
    (unpack these into WHEELS; they are never installed: of each one file or function is run)
    python tests/metric_goldens.py WHEELS

Stanford's tokenizer of captions needs Java, here and nowhere else.
"""

import ast
import importlib.metadata
import importlib.util
import json
import pathlib
import random
import subprocess
import sys

OUT = pathlib.Path(__file__).parent / "golden" / "metrics"
SEED = 20240607
WORDS = (
    "a a a the the of in on with and man woman dog red blue white brown horse beach street table plate food two three "
    "small large black sitting standing riding next to holding children it's don't t-shirt 3.5 1,000 U.S. (B) A B C "
    'café über naïve &amp; "stop" ... . . , ! ? - 10:30 old-fashioned Paris Bern 中文 一个 蓝色 圆形 が ひらがな '
    "한국어 "
    "हिन्दी น้ำ Straße ÉTÉ x_y 50% $5"
).split()
EDGES = [
    (["a cat"], ""),
    ([""], "a cat"),
    ([""], ""),
    (["..."], "..."),
    (["a"], "a"),
    (["a b"], "b a"),
    (["A Cat."], "a cat"),
    (["a cat", "a cat"], "a cat"),
    (["a cat", "the dog sat on a mat"], "the dog sat on a mat"),
    (["the the the the"], "the the"),
    (["the"], "the the the the the the the"),
    (["  spaced \t out \n text "], "spaced out text"),
    (["a man -\nmade thing"], "a man made thing"),
    (["一个蓝色的圆形"], "一个红色的圆形"),
    (["(G) 麻婆豆腐"], "(G) 宫保鸡丁"),
    (["It is 3.5 km north-west of Bern"], "3 5 km from bern"),
    (["é"], "e\u0301"),
    (["😀 smile"], "😀"),
    (["x" * 300], "x" * 299 + "y"),
    ([" ".join(["word"] * 60)], " ".join(["word"] * 59)),
    (["1,2,,3 a.b.c"], "1,2,3 abc"),
    (["İstanbul"], "istanbul"),
    (["&quot;quoted&quot; &lt;b&gt;"], '"quoted" <b>'),
    (["a <skipped> b"], "a b"),
]


def sentence(chance: random.Random, most: int = 14) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randrange(most)))


def near(chance: random.Random, text: str) -> str:
    """Returns the text with a few words replaced, dropped or doubled."""
    words = text.split() or [""]
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(words))
        words[place : place + 1] = chance.choice(([], [chance.choice(WORDS)], [words[place]] * 2))
        words = words or [""]
    return " ".join(words)


def texts() -> tuple[list[list[str]], list[str]]:
    chance = random.Random(SEED)
    rows = list(EDGES)
    while len(rows) < 260:
        answers = [sentence(chance) for _ in range(chance.choice((1, 1, 2, 3, 5)))]
        rows.append((answers, near(chance, chance.choice(answers)) if chance.random() < 0.8 else sentence(chance)))
    return [answers for answers, _ in rows], [prediction for _, prediction in rows]


def vqa_rows() -> tuple[list[list[str]], list[str]]:
    chance = random.Random(SEED + 1)
    pool = (
        "yes no Yes. two 2 the_dog a dog,dog dog dont don't don't. isnt 1,000 1000 10,000 3.5 3.5. none 0 t-shirt "
        "tshirt red/blue red blue a/an the ten 10 U.S. US U.S whos who's 'whos' ok? ok! (left) left \"left\" "
        "left;right "
        "youre one.two n/a N/A 中文 ... Id've let's"
    ).split()
    pool += ["a dog", "the  dog", "dog and cat", "one two three", "\n", "", "cat \t dog", "5 , 6", "1, 2", "a.b.c" * 12]
    rows = [([answer] * 10, answer) for answer in ("yes", "Two.", "a dog")] + [(["two"] * 10, "2"), (["2"] * 10, "Two")]
    while len(rows) < 240:
        few = chance.sample(pool, chance.randrange(1, 5))
        rows.append((chance.choices(few, k=10), chance.choice([*few, *chance.sample(pool, 1)])))
    return [answers for answers, _ in rows], [prediction for _, prediction in rows]


def choice_rows() -> list[dict[str, object]]:
    chance = random.Random(SEED + 2)
    things = "red blue circle square cat hat that 5 15 the_cat Paris paris".replace("_", " ").split() + [
        "a red cat",
        "A",
    ]
    forms = (
        "{letter}",
        "({letter})",
        "{letter}.",
        "{letter}) {text}",
        "({letter}) {text}",
        "{text}",
        "The answer is {letter}.",
        "{text}.",
        "I think it is {text}",
        "{letter} is what I would say about it",
        "{lower}",
        "{letter} or {other}",
        "",
        "It is a {text} and no {wrong}",
        "Cannot determine the answer",
        "{wrong}",
        "({other}) {text}",
        "Z",
        "A {text}",
        "Answer: {letter}, because of the {text}",
        "{upper}",
        "**{letter}**",
        "[{letter}]",
        "None of these at all, I fear",
    )
    rows = []
    while len(rows) < 240:
        options = chance.sample(things, chance.randrange(2, 6))
        right, other = chance.sample(range(len(options)), 2)
        text = options[right]
        values = {"letter": "ABCDE"[right], "other": "ABCDE"[other], "text": text, "wrong": options[other]}
        prediction = forms[len(rows) % len(forms)].format(**values, lower="ABCDE"[right].lower(), upper=text.upper())
        rows.append({"options": options, "right": right, "prediction": prediction})
    return rows


def number_rows() -> tuple[list[dict[str, object]], list[list[float]]]:
    chance = random.Random(SEED + 3)
    likelihoods = []
    for _ in range(240):
        size = chance.randrange(2, 7)
        row = [round(-chance.random() * 30, chance.choice((0, 4))) for _ in range(size)]
        lengths = [chance.randrange(1, 40) for _ in row]
        likelihoods.append({"values": row, "lengths": lengths, "right": chance.randrange(size)})
    winoground = [[round(chance.gauss(0, 1) + bonus, 1) for bonus in (0.7, 0, 0, 0.7)] for _ in range(240)]
    return likelihoods, winoground


def _cut(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("|")]


def captions() -> list[str]:
    chance = random.Random(SEED + 4)
    who = _cut(
        """
        A man | Two dogs | The woman's hat | Mr. Smith | A 2-year-old boy | Children | The boys' teacher | A
        well-dressed man | An old-fashioned clock | Three people | A U.S. flag | A café owner | The St.
        James church | A black/white cat | Nobody | The no. 5 player
        """
    )
    does = _cut(
        """
        is riding a horse | aren't moving | don't look up | hasn't any | can't see it | sits on a bench |
        eats pizza | he's playing | they're running | cannot sleep | is holding a sign that says "STOP" |
        wears a 'no fear' t-shirt | is 3.5 meters tall | costs $5 | shows 10:30 | weighs 1,000 pounds |
        looks at a close-up of itself
        """
    )
    where = _cut(
        """
        on the beach | in the snow; it is cold | (left) | next to a dog | with 50% off | in the 1990s | at 5
        o'clock | on St. Mark's square | by Tom & Jerry | – outside – | in front of a mirror, smiling | near
        the U.S. border | on its way home ... | at 9/11 Main St. | [blurred] | in Zürich | vs. the others |
        -- again
        """
    )
    lines = [
        "gonna wanna gotta gimme lemme",
        "rock 'n' roll",
        "'tis the season",
        "AT&T and Q&A",
        "C++ and C#",
        "the '70s style",
        "A.",
        "...",
        "end!!",
        "a man,a dog",
        "half ½ of it",
        "£5 and €10",
        "“smart quotes” and ‘single’ it’s",
        "y'all",
        "www.example.com",
        "me@example.com",
        "<b>bold</b>",
        "U.K.-based",
        "a $1,000.50 check",
        "stars * and ~ signs",
    ]
    while len(lines) < 240:
        lines.append(
            f"{chance.choice(who)} {chance.choice(does)} {chance.choice(where)}{chance.choice(('.', '', '!', ' .'))}"
        )
    return lines


LANGUAGES = {
    "en": (
        "a red circle stands in the middle of the picture",
        "two dogs are playing in the snow near the house",
        "I do not know",
    ),
    "zh": ("图片中间有一个红色的圆形", "两只狗在房子附近的雪地里玩耍", "我不知道"),
    "de": (
        "ein roter Kreis steht in der Mitte des Bildes",
        "zwei Hunde spielen im Schnee",
        "Das weiß ich leider nicht",
    ),
    "fr": ("un cercle rouge se trouve au milieu de l'image", "deux chiens jouent dans la neige", "je ne sais pas"),
    "es": ("un círculo rojo está en el centro de la imagen", "dos perros juegan en la nieve", "no lo sé"),
    "ru": ("красный круг находится в центре картинки", "две собаки играют в снегу", "я не знаю"),
    "ja": ("写真の真ん中に赤い円があります", "二匹の犬が雪の中で遊んでいます", "わかりません"),
    "ko": ("그림 가운데에 빨간 원이 있습니다", "개 두 마리가 눈 속에서 놀고 있다", "모르겠습니다"),
    "ar": ("دائرة حمراء في وسط الصورة", "كلبان يلعبان في الثلج", "لا أعرف"),
    "hi": ("चित्र के बीच में एक लाल घेरा है", "दो कुत्ते बर्फ में खेल रहे हैं", "मुझे नहीं पता"),
    "th": ("มีวงกลมสีแดงอยู่กลางภาพ", "สุนัขสองตัวกำลังเล่นหิมะ", "ฉันไม่รู้"),
    "vi": ("một hình tròn màu đỏ ở giữa bức tranh", "hai con chó đang chơi trong tuyết", "tôi không biết"),
    "tr": ("resmin ortasında kırmızı bir daire var", "iki köpek karda oynuyor", "bilmiyorum"),
    "pt": ("um círculo vermelho está no meio da imagem", "dois cães brincam na neve", "não sei"),
}


def language_rows() -> list[dict[str, str]]:
    chance = random.Random(SEED + 5)
    rows = [{"tag": tag, "prediction": text} for tag, texts in LANGUAGES.items() for text in texts]
    every = [text for texts in LANGUAGES.values() for text in texts]
    while len(rows) < 220:
        words = chance.choice(every).split()
        text = " ".join(words[: chance.randrange(1, len(words) + 1)])
        rows.append(
            {"tag": chance.choice(list(LANGUAGES)), "prediction": chance.choice((text, text.upper(), f"(B) {text}."))}
        )
    return rows


def taken(path: pathlib.Path, names: set[str], *, method_of: str = "", **given: object) -> dict[str, object]:
    """Returns functions and constants of a Python file, or of a class there, without running the rest of it."""
    wanted, body = [], ast.parse(path.read_text(encoding="utf-8")).body
    if method_of:
        (body,) = (node.body for node in body if getattr(node, "name", None) == method_of)
    for node in body:
        targets = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if {getattr(node, "name", None), *targets} & names:
            if isinstance(node, ast.FunctionDef):
                node.decorator_list = []
            wanted.append(node)
    space = dict(given)
    exec(compile(ast.Module(wanted, []), str(path), "exec"), space)
    return space


def write(name: str, reference: str, **values: object) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    value = {"reference": reference, **values}
    lines = [f" {json.dumps(key)}: {_lines(part)}" for key, part in value.items()]
    (OUT / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _lines(part: object) -> str:
    if not isinstance(part, list):
        return json.dumps(part, ensure_ascii=False)
    if all(isinstance(each, int | float) for each in part):
        return json.dumps(part)
    return "[\n  " + ",\n  ".join(json.dumps(each, ensure_ascii=False) for each in part) + "\n ]"


def version(name: str) -> str:
    return f"{name} {importlib.metadata.version(name)}"


def corpus_scorers(targets: list[list[str]], predictions: list[str]) -> None:
    import sacrebleu
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"])
    rouge = [scorer.score_multi(t, p)["rougeL"].fmeasure for t, p in zip(targets, predictions, strict=True)]
    write("rouge_l_latin", version("rouge-score"), rows=[float(value) for value in rouge])
    gts, res = dict(enumerate(targets)), {number: [text] for number, text in enumerate(predictions)}
    value, rows = Cider().compute_score(gts, res)
    write("cider", version("pycocoevalcap"), value=float(value), rows=[float(one) for one in rows])
    value, _ = Bleu(4).compute_score(gts, res, verbose=0)
    single = [Bleu(4).compute_score({0: t}, {0: [p]}, verbose=0)[0] for t, p in zip(targets, predictions, strict=True)]
    write("bleu_caption", version("pycocoevalcap"), value=value, rows=single)
    for name, metric in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
        streams = [[row[k] if k < len(row) else None for row in targets] for k in range(max(map(len, targets)))]
        value = metric.corpus_score(predictions, streams)
        rows = [metric.corpus_score([p], [[one] for one in t]).score for t, p in zip(targets, predictions, strict=True)]
        signature = f"{version('sacrebleu')} {metric.get_signature()}"
        write(name, signature, value=value.score, rows=rows)


def row_scorers(wheels: pathlib.Path, targets: list[list[str]], predictions: list[str]) -> None:
    import re
    import string
    import unicodedata

    from rapidfuzz.distance import Levenshtein

    metrics = taken(wheels / "lmms_eval/api/metrics.py", {"anls", "levenshtein_distance"}, Levenshtein=Levenshtein)
    rows = [metrics["anls"](t, [p])["anls"] for t, p in zip(targets, predictions, strict=True)]
    write("anls", "lmms-eval 0.7.3, api/metrics.py", rows=rows)
    names = {"PUNCT", "WHITESPACE_LANGS", "MIXED_SEGMENTATION_LANGS", "whitespace_tokenize", "normalize_answer"}
    packages = {"re": re, "string": string, "sys": sys, "unicodedata": unicodedata}
    normalise = taken(wheels / "lm_eval/tasks/mlqa/utils.py", names, **packages)["normalize_answer"]
    rows = [
        normalise(p, "en") in [normalise(t, "en") for t in row] for row, p in zip(targets, predictions, strict=True)
    ]
    write("exact_match_normalised", "MLQA's evaluation script, as in lm-eval 0.4.13, tasks/mlqa/utils.py", rows=rows)


def vqa_scorer(wheels: pathlib.Path) -> None:
    import re
    import statistics

    targets, predictions = vqa_rows()
    place = wheels / "lmms_eval/tasks"
    processor = taken(place / "_task_utils/vqa_eval_metric.py", {"EvalAIAnswerProcessor"}, re=re)[
        "EvalAIAnswerProcessor"
    ]
    given = {"EvalAIAnswerProcessor": processor, "statistics": statistics}
    score = taken(place / "vqav2/utils.py", {"vqav2_process_results"}, **given)["vqav2_process_results"]
    rows = []
    for row, prediction in zip(targets, predictions, strict=True):
        answers = [{"answer": answer, "answer_id": number} for number, answer in enumerate(row)]
        rows.append(score({"answers": answers, "question_id": 0}, [prediction])["exact_match"])
    write("vqa_accuracy", "lmms-eval 0.7.3, tasks/vqav2/utils.py", targets=targets, predictions=predictions, rows=rows)


def choice_scorers(wheels: pathlib.Path) -> None:
    import copy
    import os
    import string

    import numpy as np

    rows = choice_rows()
    place = wheels / "vlmeval/utils/matching_util.py"
    found = taken(place, {"can_infer_option", "can_infer_text"}, cp=copy, os=os, string=string)
    for row in rows:
        choices = dict(zip("ABCDE", row["options"], strict=False))
        right = "ABCDE"[row["right"]]
        row["letter"] = found["can_infer_option"](row["prediction"], dict(choices)) == right
        row["text"] = found["can_infer_text"](row["prediction"], dict(choices)) == right
    write("multiple_choice", "ms-vlmeval 0.0.20, utils/matching_util.py", rows=rows)
    likelihoods, winoground = number_rows()
    task = {"method_of": "MultipleChoiceTask", "np": np, "Iterable": list}
    process = taken(wheels / "lm_eval/api/task.py", {"process_results"}, **task)["process_results"]
    for row in likelihoods:
        choices = ["x" * length for length in row["lengths"]]
        row |= process(None, {"gold": row["right"], "choices": choices}, [(value, False) for value in row["values"]])
    write("multiple_choice_likelihood", "lm-eval 0.4.13, MultipleChoiceTask.process_results", rows=likelihoods)
    write(
        "winoground",
        "Winoground's published text_correct, image_correct and group_correct",
        scores=winoground,
        rows=[_winoground(*row) for row in winoground],
    )


def _winoground(c0_i0: float, c0_i1: float, c1_i0: float, c1_i1: float) -> list[bool]:
    """Returns text, image and group as the data set's card computes them."""
    text = c0_i0 > c1_i0 and c1_i1 > c0_i1
    image = c0_i0 > c0_i1 and c1_i1 > c1_i0
    return [text, image, text and image]


def language_scorer() -> None:
    import py3langid

    rows = language_rows()
    for row in rows:
        row["language"] = py3langid.classify(row["prediction"])[0]
    write("language_match", version("py3langid"), rows=rows)


def caption_tokens() -> None:
    import pycocoevalcap.tokenizer.ptbtokenizer as reference

    lines = captions()
    jar = pathlib.Path(reference.__file__).parent / reference.STANFORD_CORENLP_3_4_1_JAR
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run(command, input="\n".join(lines).encode(), capture_output=True, check=True)
    cut = [line.rstrip().split(" ") for line in done.stdout.decode().split("\n")]
    rows = [[word for word in words if word and word not in reference.PUNCTUATIONS] for words in cut[: len(lines)]]
    write(
        "caption_words",
        f"{version('pycocoevalcap')}, PTBTokenizer of Stanford CoreNLP 3.4.1",
        captions=lines,
        rows=rows,
    )


def main() -> None:
    wheels = pathlib.Path(sys.argv[1])
    targets, predictions = texts()
    write("texts", "our own", targets=targets, predictions=predictions)
    corpus_scorers(targets, predictions)
    row_scorers(wheels, targets, predictions)
    vqa_scorer(wheels)
    choice_scorers(wheels)
    language_scorer()
    caption_tokens()


if __name__ == "__main__":
    main()
