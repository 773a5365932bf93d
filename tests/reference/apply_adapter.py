"""What `peft` computes with an adapter of ours on a stored checkpoint.

Run in the reference environment, with peft:
  python tests/reference/apply_adapter.py HF_FOLDER ADAPTER OUT.npz

HF_FOLDER is one of tests/golden/hf, whose golden.npz gives the inputs. OUT.npz gets the logits at `logit_positions`,
the same of the merged model, and the SHA-256 of the file that was read.
"""

import argparse
import hashlib
import pathlib

import make_golden
import numpy as np
import peft
import torch


def main() -> None:
    """Writes OUT.npz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("folder", "adapter", "out"):
        parser.add_argument(name, type=pathlib.Path)
    args = parser.parse_args()
    reference = make_golden.load(args.folder.parent, args.folder.name)
    with np.load(args.folder / "golden.npz") as arrays:
        stored = dict(arrays)
    model = peft.PeftModel.from_pretrained(reference.whole, args.adapter).eval()
    if reference.family != "llava":  # an adapter stands in the place of the layer that was taken out before
        reference.projection = reference.whole.language_projection
    found = {"logits": _logits(reference, stored)}
    model.merge_and_unload()
    found["merged"] = _logits(reference, stored)
    digest = hashlib.sha256((args.adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    np.savez_compressed(args.out, sha256=digest, **found)


def _logits(reference: make_golden.Reference, stored: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        golden = {
            name: value for name, value in stored.items() if name in ("pixel_values", "qformer_ids", "qformer_mask")
        }
        features = make_golden.encode_pictures(reference, golden)
        vectors = iter(features.reshape(-1, features.shape[-1]))
        rows = [row[row != make_golden.PADDING].tolist() for row in stored["token_ids"]]
        make_golden.whole_rows(reference, [make_golden.embed(reference, row, vectors) for row in rows], golden)
    return golden["logits"]


if __name__ == "__main__":
    main()
