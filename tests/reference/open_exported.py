"""Opens exported folders as their users do: from_pretrained, the folder's own processor, generate.

Run in a reference environment (transformers 4.57 or 5):
  python tests/reference/open_exported.py FOLDER ...

Each FOLDER has an asked.json:
  pictures          files
  text              what the processor is given beside each picture
  pieces            for families whose picture stands inside the text or between marks, which no processor writes: texts
                    that are encoded one by one, each [text, does it get begin and end ids], and null for the picture;
                    null for the others
  max_new_tokens    of the greedy answer
For picture N FOLDER/opened.npz gets ids/N, what the processor gave, and scores/N of the next token after each of them
(of a T5: after its start id), FOLDER/opened.json the greedy answers and what was said of the weights, or the error.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from PIL import Image


def by_pieces(processor: transformers.ProcessorMixin, pieces: list, picture: Image.Image) -> dict:
    """Returns the model's input for a prompt that is put together."""
    placeholder = processor.tokenizer.convert_tokens_to_ids("<image>")
    ids: list[int] = []
    for piece in pieces:
        if piece is None:
            ids += [placeholder] * processor.num_query_tokens
        else:
            ids += processor.tokenizer(piece[0], add_special_tokens=piece[1]).input_ids
    row = torch.tensor([ids])
    made = processor(images=picture, return_tensors="pt")
    return {"pixel_values": made["pixel_values"], "input_ids": row, "attention_mask": torch.ones_like(row)}


def opened(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], dict]:
    """Returns what opened.npz and opened.json get."""
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    model, told = getattr(transformers, name).from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
    )
    model.eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    text_config = model.config.get_text_config()
    arrays, answers = {}, []
    for number, file in enumerate(asked["pictures"]):
        picture = Image.open(file).convert("RGB")
        given = dict(processor(images=picture, text=asked["text"], return_tensors="pt"))
        start = {}
        if text_config.is_encoder_decoder:
            start = {"decoder_input_ids": torch.tensor([[text_config.decoder_start_token_id]])}
        with torch.no_grad():
            scores = model(**given, **start).logits[0]
            row = given if asked["pieces"] is None else by_pieces(processor, asked["pieces"], picture)
            made = model.generate(**row, max_new_tokens=asked["max_new_tokens"], do_sample=False)[0].tolist()
        prompt = row["input_ids"][0].tolist()
        new = made[len(prompt) :] if not start and made[: len(prompt)] == prompt else made
        answers.append(processor.tokenizer.decode(new, skip_special_tokens=True))
        arrays |= {f"ids/{number}": given["input_ids"][0].numpy(), f"scores/{number}": scores.numpy()}
    return arrays, {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "processor": type(processor).__name__,
        "image_id": processor.tokenizer.convert_tokens_to_ids("<image>"),
        "answers": answers,
        "loading": {key: sorted(map(str, value)) for key, value in told.items() if value},
    }


def main() -> None:
    """Writes opened.npz and opened.json into each folder; one that cannot be opened gets the reason."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for folder in map(pathlib.Path, sys.argv[1:]):
        try:
            arrays, told = opened(folder)
        except Exception as error:  # whatever a user would see
            arrays, told = {}, {"transformers": transformers.__version__, "error": f"{type(error).__name__}: {error}"}
        np.savez(folder / "opened.npz", **arrays)
        (folder / "opened.json").write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
