r"""NLLB, the translator of the paper, run by CTranslate2 without torch: a folder that its converter made.

    ct2-transformers-converter --model facebook/nllb-200-distilled-1.3B --output_dir nllb --quantization int8 \
        --copy_files tokenizer.json sentencepiece.bpe.model

The paper takes the distilled model of 1.3 billion parameters (arXiv 2306.04387, section 3.2, stage IV). The form of a
request is NLLB's own: the language's code before the pieces, `</s>` behind them, the target's code as the first piece
of the answer (opennmt.net/CTranslate2/guides/transformers.html, NLLB).
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import errors, file_safety, languages, tokenizer
from m3it_jax.dataset_building.translation.engines import Failure

BEAM_SIZE = 4  # arXiv 2207.04672, section 6: how NLLB is decoded
_MODEL = "model.bin"
_VOCABULARIES = ("shared_vocabulary.json", "source_vocabulary.json")
_TOKENIZERS = ("sentencepiece.bpe.model", "tokenizer.json", "tokenizer.model")
_BATCH_TOKENS = 4096  # CHOICE: pieces of a batch inside CTranslate2, padding counted
_END = "</s>"
_LONGEST = 512  # CHOICE: pieces of an answer; a segment has at most 400 characters


class Nllb:
    """See `engines.Engine`."""

    def __init__(self, folder: pathlib.Path, *, device: str = "cpu", threads: int = 0):
        """Takes the model's folder; `threads` of 0 takes every core.

        Raises:
          UserError: the package is missing, or the folder is no model of NLLB with its tokenizer.
        """
        try:
            import ctranslate2
        except ImportError as error:
            raise errors.UserError(
                "nllb: CTranslate2 is not installed; run pip install -e '.[translate]' in the repository"
            ) from error
        names = [name for name in _VOCABULARIES if (folder / name).is_file()]
        if not (folder / _MODEL).is_file() or not names:
            raise errors.UserError(
                f"{folder}: is no model of CTranslate2 ({_MODEL} and {_VOCABULARIES[0]}); make one with "
                "ct2-transformers-converter, see docs/languages.md"
            )
        found = next((folder / name for name in _TOKENIZERS if (folder / name).is_file()), None)
        if found is None:
            raise errors.UserError(
                f"{folder}: has no tokenizer ({' or '.join(_TOKENIZERS)}); copy the model's own beside {_MODEL}"
            )
        self._known = _vocabulary(folder / names[0])
        self._tokenizer = tokenizer.Tokenizer.load(found)
        self._ids = {self._tokenizer.piece(index): index for index in range(self._tokenizer.vocab_size)}
        self._settings = {
            "name": "nllb",
            "model": file_safety.sha256(folder / _MODEL),
            "tokenizer": self._tokenizer.fingerprint,
            "beam": BEAM_SIZE,
        }
        try:
            self._model = ctranslate2.Translator(str(folder), device=device, intra_threads=threads)
        except (RuntimeError, ValueError) as error:
            raise errors.UserError(
                f"{folder}: CTranslate2 cannot load it ({_line(error)}); convert it again"
            ) from error

    def settings(self) -> Mapping[str, Any]:
        """See `Engine`; the hash of the model's file is what names it."""
        return self._settings

    def check(self, source: languages.Language, target: languages.Language) -> None:
        """See `Engine`."""
        for language in (source, target):
            if language.nllb not in self._known:
                raise errors.UserError(f"nllb: the model's vocabulary does not know {language.nllb} ({language.name})")

    def translate(
        self, texts: Sequence[str], source: languages.Language, target: languages.Language
    ) -> list[str | Failure]:
        """See `Engine`. Texts of like length are translated together, the longest first."""
        asked = [[source.nllb, *map(self._tokenizer.piece, self._tokenizer.encode(text)), _END] for text in texts]
        order = sorted(range(len(asked)), key=lambda number: (-len(asked[number]), number))
        try:
            results = self._model.translate_batch(
                [asked[number] for number in order],
                target_prefix=[[target.nllb]] * len(order),
                beam_size=BEAM_SIZE,
                max_batch_size=_BATCH_TOKENS,
                batch_type="tokens",
                max_input_length=0,
                max_decoding_length=_LONGEST,
            )
        except RuntimeError as error:
            raise errors.UserError(
                f"nllb: CTranslate2 stopped ({_line(error)}); run the same command again, what was translated is kept"
            ) from error
        said: list[str | Failure] = [""] * len(order)
        for number, result in zip(order, results, strict=True):
            pieces = result.hypotheses[0]
            said[number] = self._text(pieces[1:] if pieces[:1] == [target.nllb] else pieces)
        return said

    def _text(self, pieces: Sequence[str]) -> str:
        known = (self._ids[piece] for piece in pieces if piece in self._ids)
        return self._tokenizer.decode(known).strip()


def _vocabulary(path: pathlib.Path) -> frozenset[str]:
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise errors.UserError(f"{path}: is no vocabulary of CTranslate2 ({error}); convert the model again") from error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
