"""The reference's side of benchmarks/decode.py: `transformers` in an interpreter of its own.

    python tests/reference/serve_generate.py make FOLDER          writes a checkpoint with random weights
    python tests/reference/serve_generate.py serve FOLDER --threads N

`serve` reads one JSON object a line, {"ids": [[...]], "pictures": [[3, h, w], seed], "new_tokens": N}, makes so many
tokens of every row greedily, and answers {"ids": [[...]], "seconds": s}. The JSON of `serve`'s first line says which
versions run.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import torch
import transformers

# The 81.7 million parameters of the figures in docs/performance.md: tower 11.0, Q-Former 12.4, language model 58.1.
WIDTH, LM_WIDTH, VOCABULARY, QUERIES = 384, 512, 32_000, 32
PLACEHOLDER = VOCABULARY - 1


def configuration() -> transformers.Blip2Config:
    """Returns a BLIP-2 with a LLaMA, as Ying-VLM is one."""
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "image_size": 224,
        "patch_size": 14,
    }
    qformer = {
        "hidden_size": WIDTH,
        "encoder_hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "cross_attention_frequency": 2,
    }
    text = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=LM_WIDTH,
        intermediate_size=1_376,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=2_048,
        pad_token_id=0,
    )
    config = transformers.Blip2Config(
        vision_config=vision, qformer_config=qformer, text_config=text.to_dict(), num_query_tokens=QUERIES
    )
    config.image_token_index = PLACEHOLDER
    return config


def make(folder: pathlib.Path) -> None:
    """Writes the checkpoint; values are spread so far that two likeliest tokens are hardly ever close."""
    torch.manual_seed(0)
    model = transformers.Blip2ForConditionalGeneration(configuration()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.5 if "embed" in name else parameter[0].numel() ** -0.5)
    model.save_pretrained(folder)


def tell(values: dict) -> None:
    """Writes one line of JSON at once."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def serve(folder: pathlib.Path, threads: int) -> None:
    """Answers requests until the input ends."""
    torch.set_num_threads(threads)
    model = transformers.Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    tell({"torch": torch.__version__, "transformers": transformers.__version__})
    for line in sys.stdin:
        asked = json.loads(line)
        ids = torch.tensor(asked["ids"])
        shape, seed = asked["pictures"]
        pixels = np.random.default_rng(seed).standard_normal((len(ids), *shape), np.float32)
        count = asked["new_tokens"]
        begin = time.perf_counter()
        with torch.inference_mode():
            made = model.generate(
                pixel_values=torch.from_numpy(pixels),
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
            )
        seconds = time.perf_counter() - begin
        tell({"ids": made[:, -count:].tolist(), "seconds": seconds})


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("make", "serve"))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if args.action == "make":
        make(args.folder)
    else:
        serve(args.folder, args.threads)


if __name__ == "__main__":
    main()
