"""What transformers' tokenizers make of probe texts -> tests/golden/token_ids.json.

Run in the reference environment:
  python tests/reference/make_token_ids.py [NAME=FILE_OR_FOLDER ...]

The stored small tokenizers of tests/golden/hf always stand in it. Vocabularies of full size are named on the command
line; only their ids and the SHA-256 of their file are stored. tests/tokenizer compares with them where the variable
M3IT_VOCABULARIES names a folder that holds the files, by any name.
"""

import hashlib
import json
import pathlib
import sys

import transformers
from make_tokenizers import PROBES

ROOT = pathlib.Path(__file__).resolve().parents[1] / "golden"
SMALL = ("blip2_opt", "blip2_t5", "ying_vlm", "llava", "instructblip_llama", "instructblip_llama/qformer_tokenizer")
TEXTS = [
    *PROBES,
    "\n<human>:\nDescribe the image.\n\n<bot>:\n",
    "###Human: what is it?###Assistant:",
    "日本語のテキスト、ひらがなとカタカナ。",
    "한국어 문장입니다.",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "é vs e\u0301 ﬁ Ⅳ ½",
    "It's he'll DON'T I've 12345",
    "",
    " ",
    "\n",
]


def encoded(path: pathlib.Path) -> tuple[str, list[list[int]]]:
    """Returns the SHA-256 of the vocabulary's file, and the ids of all texts without special tokens."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if path.is_dir():
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    else:
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    ids = [tokenizer.encode(text, add_special_tokens=False, truncation=False) for text in TEXTS]
    return hashlib.sha256(file.read_bytes()).hexdigest(), ids


def main() -> None:
    """Writes the file."""
    golden: dict[str, object] = {"transformers": transformers.__version__, "texts": TEXTS}
    golden["small"] = {name: encoded(ROOT / "hf" / name)[1] for name in SMALL}
    named = (argument.split("=", 1) for argument in sys.argv[1:])
    full = {name: encoded(pathlib.Path(path)) for name, path in named}
    golden["full"] = {name: {"sha256": digest, "ids": ids} for name, (digest, ids) in full.items()}
    (ROOT / "token_ids.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
