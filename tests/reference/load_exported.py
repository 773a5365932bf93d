"""Loads folders as `transformers` does and notes what it says of them.

Run in the reference environment:
  python tests/reference/load_exported.py FOLDER ...

Each FOLDER has an input.npz with pixel_values, token_ids [B, T] (no padding), and qformer_ids or decoder_ids where the
model takes them. FOLDER/loaded.json gets the missing and unexpected keys, FOLDER/loaded.npz the logits.
"""

import argparse
import json
import pathlib

import numpy as np
import torch
import transformers


def main() -> None:
    """Writes loaded.json and loaded.npz into each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for folder in parser.parse_args().folders:
        name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        model, told = getattr(transformers, name).from_pretrained(
            folder, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
        )
        with np.load(folder / "input.npz") as arrays:
            given = {key: torch.tensor(value) for key, value in arrays.items()}
        call = {"pixel_values": given["pixel_values"], "input_ids": given["token_ids"]}
        call |= {theirs: given[ours] for ours, theirs in NAMES.items() if ours in given}
        with torch.no_grad():
            logits = model.eval()(**call).logits
        np.savez(folder / "loaded.npz", logits=logits.numpy())
        (folder / "loaded.json").write_text(json.dumps({key: sorted(map(str, value)) for key, value in told.items()}))


NAMES = {"qformer_ids": "qformer_input_ids", "decoder_ids": "decoder_input_ids"}

if __name__ == "__main__":
    main()
