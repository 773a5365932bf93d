"""Training of a vocabulary of our own, as the small edition has it."""

import collections
import io
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import sentencepiece

from m3it_jax import errors
from m3it_jax.tokenizer.text_tokens import Tokenizer

UNK_ID, BOS_ID, EOS_ID, PAD_ID = 0, 1, 2, 3


def _weighted_lines(texts: Mapping[str, int]) -> Iterator[str]:
    """Yields `line<tab>weight` for the lines of `texts`, then for every different word alone and doubled.

    The trainer's candidates for pieces are strings that two different characters follow. In text made from templates
    a word may have the same neighbour everywhere (`column` always a space) and would be cut up, however common it is.
    """
    lines: collections.Counter[str] = collections.Counter()
    for text, count in texts.items():
        for line in filter(None, text.replace("\t", " ").split("\n")):
            lines[line] += count
    words: dict[str, None] = {}
    for line, count in lines.items():
        yield f"{line}\t{count}"
        first, *others = line.split(" ")
        words.update(dict.fromkeys((first, *(f" {word}" for word in others))))
    for word in filter(str.strip, words):
        yield f"{word}\t1"
        yield f"{word} {word.strip()}\t1"


def train(texts: Iterable[str] | Mapping[str, int], path: str | pathlib.Path, vocab_size: int) -> Tokenizer:
    """Trains a vocabulary on `texts`, writes it to `path` and returns it; the same texts give the same bytes.

    `texts` may be a mapping from text to how often it occurs.

    `vocab_size` is a soft limit: little text gives fewer pieces. Characters that are too rare for a piece of their own
    are written with the 256 byte pieces, and so is the newline, hence no piece ever spans two lines and text may be
    encoded line by line.

    Raises:
      UserError: there is too little text to train on, or `vocab_size` cannot hold its characters.
    """
    model = io.BytesIO()
    counted = texts if isinstance(texts, Mapping) else collections.Counter(texts)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_weighted_lines(counted),
            input_format="tsv",
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            byte_fallback=True,
            # Without the rarest 2 of 1,000 characters: an alphabet of many scripts would take the place of whole words.
            character_coverage=0.998,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            # Lines of a template begin without a space, and byte-exact round trips need none added.
            add_dummy_prefix=False,
            # Otherwise `<human>:` could never be one piece: brackets and letters are different scripts.
            split_by_unicode_script=False,
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            pad_id=PAD_ID,
            num_threads=1,  # more threads sum in another order and so may choose other pieces
            minloglevel=2,
        )
    except RuntimeError as error:
        raise errors.UserError(f"{path}: cannot train a vocabulary of {vocab_size} pieces: {error}") from error
    pathlib.Path(path).write_bytes(model.getvalue())
    return Tokenizer.load(path)
