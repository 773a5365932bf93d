"""Prints, as JSON, how the processor of a folder encodes texts.

Run in the reference environment:
  python tests/reference/encode_exported.py FOLDER TEXTS.json
"""

import json
import pathlib
import sys

import transformers


def main() -> None:
    """Writes the class of the processor, the placeholder's id and the ids of each text to stdout."""
    transformers.logging.set_verbosity_error()
    folder, texts = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text(encoding="utf-8"))
    processor = transformers.AutoProcessor.from_pretrained(folder)
    tokenizer = processor.tokenizer
    told = {
        "processor": type(processor).__name__,
        "image_id": tokenizer.convert_tokens_to_ids("<image>"),
        "ids": [tokenizer(text).input_ids for text in texts],
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
