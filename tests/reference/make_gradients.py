"""The loss and the gradients that `transformers` computes for the encoder-decoder families of make_checkpoints.py.

Run in the reference environment:
  python tests/reference/make_gradients.py FOLDERS OUT [--family NAME ...]

The prompts are the rows of golden.npz, the answers drawn by a seed. OUT/<family>.npz holds labels int32 [B, R] (-100
behind an answer), the loss (mean over all tokens of answers, no dropout), and of each tensor's gradient two numbers:
its norm and its product with numbers drawn by the tensor's name (`projected`).
"""

import argparse
import pathlib
import zlib

import make_golden
import numpy as np
import torch

FAMILIES = ("blip2_t5", "instructblip_t5")


def labels(vocab_size: int, num_rows: int) -> np.ndarray:
    """Returns answers of unequal length."""
    drawn = np.random.default_rng(11).integers(3, vocab_size, (num_rows, 6)).astype(np.int32)
    drawn[np.arange(6)[None] >= 2 + np.arange(num_rows)[:, None] % 5] = -100
    return drawn


def projected(name: str, gradient: np.ndarray) -> np.ndarray:
    """Returns (norm, product with normal numbers of the name's own seed) in float64."""
    flat = gradient.astype(np.float64).ravel()
    drawn = np.random.default_rng(zlib.crc32(name.encode())).normal(size=flat.size)
    return np.array([np.linalg.norm(flat), flat @ drawn])


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--family", nargs="+", default=FAMILIES)
    args = parser.parse_args()
    for family in args.family:
        reference = make_golden.load(args.folders, family)
        with np.load(args.folders / family / "golden.npz") as arrays:
            stored = dict(arrays)
        golden = {name: stored[name] for name in ("pixel_values", "qformer_ids", "qformer_mask") if name in stored}
        features = _features(reference, golden)
        vectors = iter(features.reshape(-1, features.shape[-1]))
        rows = [row[row != make_golden.PADDING].tolist() for row in stored["token_ids"]]
        embeds = [make_golden.embed(reference, row, vectors) for row in rows]
        longest = max(len(row) for row in rows)
        inputs = torch.stack([torch.nn.functional.pad(row, (0, 0, 0, longest - len(row))) for row in embeds])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        wanted = labels(reference.language_model.config.vocab_size, len(rows))
        loss = reference.language_model(
            inputs_embeds=inputs, attention_mask=mask, labels=torch.tensor(wanted, dtype=torch.long)
        ).loss
        loss.backward()
        found = {"labels": wanted, "loss": loss.detach().numpy()}
        for name, parameter in reference.whole.named_parameters():
            if parameter.grad is not None:
                found[f"gradient/{name}"] = projected(name, parameter.grad.numpy())
        np.savez_compressed(args.out / f"{family}.npz", **found)


def _features(reference: make_golden.Reference, golden: dict[str, np.ndarray]) -> torch.Tensor:
    """Returns what the language model sees of each picture, with the way back to the parameters."""
    patches = reference.vision(torch.tensor(golden["pixel_values"])).last_hidden_state
    queries = reference.query_tokens.expand(len(patches), -1, -1)
    read = {"query_embeds": queries, "encoder_hidden_states": patches}
    if "qformer_ids" in golden:
        mask = torch.cat([torch.ones(queries.shape[:2]), torch.tensor(golden["qformer_mask"])], dim=1)
        read |= {"input_ids": torch.tensor(golden["qformer_ids"]), "attention_mask": mask.long()}
    return reference.projection(reference.qformer(**read).last_hidden_state[:, : queries.shape[1]])


if __name__ == "__main__":
    main()
