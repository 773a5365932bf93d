"""Tiny tokenizers of the four kinds that the families use, in files as the hub's folders have them.

Run in the reference environment. The texts are the probes of `PROBES`, so every kind meets several scripts, digits,
newlines and characters that no piece covers.
"""

import collections
import io
import json
import pathlib
import re
import string

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

# Text to train on, and to compare tokenizers with: several scripts, numbers, code, runs of spaces, rare characters.
PROBES = (
    "A photo of two cats lying on a pink blanket, next to a remote control.",
    "Question: how many people are in the picture? Answer: there are 3 people.",
    "<human>: Describe the image in one sentence.\n<bot>: The dog runs over the green grass.",
    "USER: What colour is the car? ASSISTANT: The car is red and the bus is yellow.",
    "请根据我的指示，以及所给的图片，做出相应的回答。",
    "图片里有一只猫和两条狗。",
    "Fröhliche Weihnachten! Où est la bibliothèque? ¿Dónde está el gato?",
    "Привет, мир! На фотографии большая собака.",
    "  leading and   several spaces\tand a tab \n\n and an empty line ",
    "x = [1, 23, 456.789]; print(f'{x!r}')  # 100% done",
    "emoji \U0001f600 and a rare sign \u2622, a zero\u200bwidth space",
)
# English comes often, so that the rarest 2 % of characters, which no piece covers, are other scripts and signs.
TEXTS = [
    line for number, probe in enumerate(PROBES) for line in probe.split("\n") for _ in range(40 if number < 4 else 2)
]
TEXTS = [line for line in TEXTS if line]

IMAGE_TOKEN = "<image>"


def _write(folder: pathlib.Path, name: str, values: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sentencepiece(path: pathlib.Path, vocab_size: int, **options: object) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        normalization_rule_name="identity",  # nmt_nfkc alone would take 240 kB
        num_threads=1,
        minloglevel=2,
        **options,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.getvalue())


def _added(token_id: int, content: str, *, special: bool = True, **more: bool) -> tuple[str, dict]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": special, **more}
    return str(token_id), {"content": content, **flags}


def llama(folder: pathlib.Path, *, added: tuple[str, ...]) -> None:
    """Writes a SentencePiece BPE with byte pieces, unk 0, bos 1, eos 2 and no pad, and `added` special tokens."""
    _sentencepiece(
        folder / "tokenizer.model",
        392,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        split_digits=True,
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
    )
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": False,
        "model_max_length": 2048,
        "pad_token": None,
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    }
    _write(folder, "tokenizer_config.json", settings)
    _finish(folder, added, settings)


def t5(folder: pathlib.Path, *, added: tuple[str, ...]) -> None:
    """Writes a SentencePiece unigram model as T5's: pad 0, eos 1, unk 2, no bos, and four `<extra_id_*>`."""
    _sentencepiece(
        folder / "spiece.model",
        300,
        model_type="unigram",
        character_coverage=0.98,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    extra = [f"<extra_id_{number}>" for number in range(4)]
    settings = {
        "additional_special_tokens": extra,
        "clean_up_tokenization_spaces": True,
        "eos_token": "</s>",
        "extra_ids": 4,
        "model_max_length": 512,
        "pad_token": "<pad>",
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    }
    _write(folder, "tokenizer_config.json", settings)
    _finish(folder, added, settings)


def opt(folder: pathlib.Path, *, added: tuple[str, ...]) -> None:
    """Writes a byte-level BPE as OPT's: bos and eos `</s>` 2, pad 1; `vocab.json` and `merges.txt` beside the JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=370,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair="</s> $A </s> $B", special_tokens=[("</s>", 2)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.model.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "add_bos_token": True,
        "add_prefix_space": False,
        "bos_token": "</s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "errors": "replace",
        "model_max_length": 2048,
        "pad_token": "<pad>",
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "</s>",
    }
    _write(folder, "tokenizer_config.json", settings)
    _finish(folder, added, settings)


def bert(folder: pathlib.Path) -> None:
    """Writes a lower-casing WordPiece as BERT's with `[DEC]`, which InstructBLIP's Q-Former reads."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # Chosen by hand: the trainer of `tokenizers` gives the pieces of words in another order each time.
    words = collections.Counter(re.findall("[a-z]+", " ".join(TEXTS).lower()))
    letters = string.ascii_lowercase + string.digits + ".,:;?!'()[]{}=#%<>"
    common = [word for word, _ in sorted(words.items(), key=lambda pair: (-pair[1], pair[0])) if len(word) > 1]
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters[:36]), "##ing", "##ed", *common])
    vocabulary = {piece: index for index, piece in enumerate([*pieces][:150])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    marks = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=marks
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocabulary), encoding="utf-8")
    settings = {
        "bos_token": "[DEC]",
        "cls_token": "[CLS]",
        "do_lower_case": True,
        "mask_token": "[MASK]",
        "model_max_length": 512,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "tokenizer_class": "BertTokenizer",
        "truncation_side": "left",
        "unk_token": "[UNK]",
    }
    _write(folder, "tokenizer_config.json", settings)
    _finish(folder, ("[DEC]",), settings)


def _finish(folder: pathlib.Path, added: tuple[str, ...], settings: dict) -> None:
    """Adds tokens through transformers, which writes `tokenizer.json`; the configuration stays as the hub has it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if added:
        tokenizer.add_special_tokens({"additional_special_tokens": [*added]}, replace_extra_special_tokens=False)
    tokenizer.save_pretrained(folder)
    decoder = {str(index): token for index, token in sorted(tokenizer.added_tokens_decoder.items())}
    values = dict(_added(int(index), token.content, special=token.special) for index, token in decoder.items())
    _write(folder, "tokenizer_config.json", {"added_tokens_decoder": values, **settings})
    specials = {key: value for key, value in settings.items() if key.endswith("_token") and isinstance(value, str)}
    _write(folder, "special_tokens_map.json", specials)


def size(folder: pathlib.Path) -> int:
    """Returns the number of ids, added ones included."""
    return len(AutoTokenizer.from_pretrained(folder))


def id_of(folder: pathlib.Path, token: str) -> int:
    """Returns the id of one token."""
    return AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(token)
