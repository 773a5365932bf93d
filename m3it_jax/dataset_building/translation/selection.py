"""Which languages are worth translating into: BLEU of a translator on FLORES, and those above a threshold.

The paper keeps a language if its BLEU from English exceeds 20 (arXiv 2306.04387, section 3.2, stage IV); which BLEU and
what each language had is not published. A folder in the form of FLORES-200 or FLORES-101 has one file of sentences for
each language, line by line the same: `devtest/deu_Latn.devtest`, or `devtest/deu.devtest`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from m3it_jax import errors, languages, tokenizer
from m3it_jax.dataset_building.translation import answers, asking, engines, masking, quality, step
from m3it_jax.dataset_building.translation.store import Store

# sacreBLEU's tokenizers: 13a is its default; it has one of its own for Chinese, and scripts without spaces are scored
# by character (those for Japanese and Korean need further packages).
_TOKENIZERS: Mapping[str, str] = {"Hans": "zh", "Hant": "zh"}


@dataclasses.dataclass(frozen=True)
class Row:
    """How well a language is translated into.

    Attributes:
      code: The language's code in M3IT-80.
      sentences: How many were scored.
      unanswered: How many of these had no translation and count as empty.
      bleu: Plain BLEU, 0..100.
      signature: How it was counted, in sacreBLEU's own words.
      spbleu: BLEU over pieces of a SentencePiece model, 0..100; None where none was given.
    """

    code: str
    sentences: int
    unanswered: int
    bleu: float
    signature: str
    spbleu: float | None = None

    @property
    def score(self) -> float:
        """The one that is held against the threshold: spBLEU, which is comparable over languages, where there is it."""
        return self.bleu if self.spbleu is None else self.spbleu


def sentences(folder: pathlib.Path, language: languages.Language, split: str) -> list[str]:
    """Returns the sentences of a language.

    Raises:
      UserError: there is no file of it.
    """
    places = [folder / split, folder]
    names = [f"{code}.{split}" for code in (language.nllb, language.flores_101)]
    for place in places:
        for name in names:
            if (place / name).is_file():
                try:
                    return (place / name).read_text(encoding="utf-8").splitlines()
                except (OSError, ValueError) as error:
                    raise errors.UserError(f"{place / name}: cannot be read ({error})") from error
    raise errors.UserError(
        f"{folder}: has no {split}/{names[0]} or {names[1]}; give a folder as FLORES has it, or other --languages"
    )


def scored(
    each: step.Translation,
    engine: engines.Engine,
    *,
    given: Sequence[str],
    wanted: Sequence[str],
    store: Store,
    pieces: Callable[[str], list[str]] | None,
) -> Row:
    """Returns the row of a language: the sentences go through the very steps that records go through.

    Raises:
      UserError: both languages have not as many sentences, sacreBLEU is missing, or the translator cannot work.
    """
    if len(given) != len(wanted) or not given:
        raise errors.UserError(
            f"{each.target.code}: has {len(wanted)} sentences, {each.source.code} has {len(given)}; copy FLORES again"
        )
    counts = asking.Counts()
    said: dict[str, str] = {}
    for start in range(0, len(given), asking.PORTION):
        said |= asking.ask_texts(given[start : start + asking.PORTION], each, engine, store=store, counts=counts)
    translated = [_translated(text, said) for text in given]
    unanswered = sum(text is None for text in translated)
    return _row(each.target, [text or "" for text in translated], wanted, unanswered=unanswered, pieces=pieces)


def _translated(text: str, said: Mapping[str, str]) -> str | None:
    found = {segment: answers.of_segment(segment, said) for segment in masking.cut(text).segments}
    return None if any(one.reason for one in found.values()) else step.whole(text, found)


def _row(
    language: languages.Language,
    said: Sequence[str],
    wanted: Sequence[str],
    *,
    unanswered: int,
    pieces: Callable[[str], list[str]] | None,
) -> Row:
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise errors.UserError(
            "sacreBLEU is not installed; run pip install -e '.[translate]' in the repository"
        ) from error
    rule = _TOKENIZERS.get(language.script, "13a" if language.is_spaced else "char")
    plain = BLEU(tokenize=rule)
    bleu = plain.corpus_score(list(said), [list(wanted)]).score
    spbleu = None
    if pieces is not None:
        both = [[" ".join(pieces(text)) for text in texts] for texts in (said, wanted)]
        spbleu = round(BLEU(tokenize="none", force=True).corpus_score(both[0], [both[1]]).score, 2)
    return Row(language.code, len(wanted), unanswered, round(bleu, 2), str(plain.get_signature()), spbleu)


def pieces_of(path: pathlib.Path | None) -> Callable[[str], list[str]] | None:
    """Returns the function text -> pieces of FLORES' own SentencePiece model, if one is given.

    Raises:
      UserError: it cannot be read.
    """
    return None if path is None else tokenizer.pieces(path)


def plain_step(
    source: languages.Language, target: languages.Language, *, engine: engines.Engine, cache: pathlib.Path
) -> step.Translation:
    """Returns the step for texts that stand in no record."""
    return step.Translation(source, target, "", engine.settings(), cache, quality.Bounds())


def written(rows: Sequence[Row], about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the table as JSON; `about` says what was scored."""
    return {**about, "languages": {row.code: {**dataclasses.asdict(row), "score": row.score} for row in rows}}


def read(path: pathlib.Path) -> dict[str, float]:
    """Returns the scores of a table that `written` made, by code.

    Raises:
      UserError: it is no such table.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["languages"]
        return {languages.find(code).code: float(row["score"]) for code, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.UserError(
            f"{path}: is no table of BLEU scores ({type(error).__name__}); make it with `m3it languages bleu`"
        ) from error


def kept(scores: Mapping[str, float], threshold: float) -> list[str]:
    """Returns the codes whose score exceeds the threshold."""
    return [code for code, score in scores.items() if score > threshold]


def table(rows: Sequence[Row], threshold: float) -> str:
    """Returns the table for the screen."""
    lines = [f"{'language':<28}{'code':<8}{'BLEU':>7}{'spBLEU':>8}  kept above {threshold:g}"]
    for row in sorted(rows, key=lambda row: -row.score):
        spbleu = "-" if row.spbleu is None else f"{row.spbleu:.1f}"
        kept_now = "yes" if row.score > threshold else "no"
        name = languages.find(row.code).name
        lines.append(f"{name:<28}{row.code:<8}{row.bleu:>7.1f}{spbleu:>8}  {kept_now}")
    return "\n".join(lines)
