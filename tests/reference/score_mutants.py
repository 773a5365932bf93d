"""Reads mutants of a configuration with transformers: refused, or how large it is and what it computes.

    python score_mutants.py REQUEST ANSWER

REQUEST is JSON: {"bases": {family: config}, "seed": n, "count": n}; ANSWER gets {family: [verdict, ...]}, in the order
of `config_mutants.mutants`. A verdict is {"refused": why} or {"sizes": {part: numbers}, "scores": [...] or null}.
Weights are `config_mutants.numbers` of the names in the hub's files, so that both sides can make them.
"""

import json
import pathlib
import sys
import tempfile
import warnings

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import config_mutants  # noqa: E402  (after its folder)

CLASSES = {
    "blip-2": transformers.Blip2ForConditionalGeneration,
    "instructblip": transformers.InstructBlipForConditionalGeneration,
    "llava": transformers.LlavaForConditionalGeneration,
}


def verdict(values):
    """Returns what transformers makes of one configuration."""
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in CLASSES:
        return {"refused": "model_type"}
    if config_mutants.largest(values) > config_mutants.MOST_SIZE:
        return {"refused": "too large to try"}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
        try:
            config = CLASSES[kind].config_class.from_pretrained(folder)
            with torch.device("meta"):
                empty = CLASSES[kind](config)
            sizes = {}
            for key, one in empty.named_parameters():
                part = config_mutants.part_of(key)
                if part is not None:
                    sizes[part] = sizes.get(part, 0) + one.numel()
            if sum(one.numel() for one in empty.parameters()) > config_mutants.MOST_NUMBERS:
                return {"sizes": sizes, "scores": None}
        except Exception as error:  # whatever it says, it is no model
            return {"refused": f"{type(error).__name__}: {str(error)[:80]}"}
        try:
            return {"sizes": sizes, "scores": scores(CLASSES[kind], config, folder)}
        except Exception as error:
            return {"refused": f"{type(error).__name__}: {str(error)[:80]}"}


def scores(kind, config, folder):
    """Returns the scores after the last token, of a few ids, with a picture and a text."""
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    file = folder / "model.safetensors"
    with safe_open(file, "pt") as stored:
        made = {key: config_mutants.numbers(key, stored.get_slice(key).get_shape()) for key in stored.keys()}  # noqa: SIM118
    save_file({key: torch.from_numpy(array) for key, array in made.items()}, file, {"format": "pt"})
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    model.config.image_token_id = config_mutants.PLACEHOLDER
    side = config.vision_config.image_size
    if hasattr(config, "qformer_config"):
        length = config.num_query_tokens
    else:
        length = (side // config.vision_config.patch_size) ** 2
        length += config.vision_feature_select_strategy == "full"
    inputs = {
        "pixel_values": torch.from_numpy(config_mutants.picture(side)),
        "input_ids": torch.tensor([[config_mutants.PLACEHOLDER] * length + list(config_mutants.TEXT_IDS)]),
    }
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if kind is CLASSES["instructblip"]:
        inputs["qformer_input_ids"] = torch.tensor([config_mutants.QFORMER_IDS])
        inputs["qformer_attention_mask"] = torch.ones_like(inputs["qformer_input_ids"])
    if config.text_config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.tensor([config_mutants.DECODER_IDS])
    with torch.no_grad():
        found = model(**inputs).logits[0, -1].double().numpy()
    return [round(float(one), 5) for one in found[:: max(1, len(found) // 5)]]


def main():
    """Answers a request."""
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    request = json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))
    answer = {}
    for family, base in request["bases"].items():
        drawn = config_mutants.mutants(base, seed=f"{family} {request['seed']}", count=request["count"])
        answer[family] = [verdict(values) for values in drawn]
    pathlib.Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
