"""Random-weight folders of every family, small and of odd sizes, as `transformers` writes them.

Run in the reference environment:
  python tests/reference/make_checkpoints.py OUT [--family NAME ...] [--seed 0]

Seed 0 has the sizes of the stored folders under tests/golden/hf; another seed draws sizes too. The tensors' names are
those of the hub's files (transformers 4): the version here writes LLaVA's vision tower differently, see
`TRANSFORMERS_5`, which tests use to give the other spelling.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import random
import re
import shutil
from collections.abc import Callable

import make_tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

# What transformers 5 writes -> what the hub's files (transformers 4) carry.
TRANSFORMERS_5 = ((r"^vision_tower\.(?!vision_model\.)", "vision_tower.vision_model."),)

FAMILIES = (
    "blip2_opt",
    "blip2_t5",
    "ying_vlm",
    "instructblip_llama",
    "instructblip_t5",
    "llava",
    "llama",
    "opt",
    "t5",
    "minigpt4",
)
# Weights with which no choice of the stored outputs is closer than 0.0005 (make_golden.py --verbose shows it).
WEIGHT_SEEDS = {"blip2_opt": 41, "ying_vlm": 42, "instructblip_llama": 40}
# Stored ones whose rotary positions have another base than LLaMA's first: code that ignores the field must not pass.
ROPE_BASES = {"llama": 300.0}

IMAGE_MEAN, IMAGE_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Widths are all different, so that no transposed or swapped tensor fits by chance."""

    vit_dim: int = 24
    vit_heads: int = 3
    vit_mlp: int = 40
    vit_layers: int = 3
    patch: int = 7
    side: int = 4  # patches along an edge
    qformer_dim: int = 20
    qformer_heads: int = 4
    qformer_mlp: int = 34
    qformer_layers: int = 4
    cross_every: int = 2
    queries: int = 5
    qformer_rows: int = 2  # of the text vocabulary beyond the tokenizer's
    lm_dim: int = 28
    lm_heads: int = 4
    lm_kv_heads: int = 2
    lm_head_dim: int = 6  # heads x head_dim differs from the width
    rope_base: float = 10_000.0
    lm_mlp: int = 46
    lm_layers: int = 2
    opt_layers: int = 3
    t5_kv: int = 5
    t5_heads: int = 3
    spare_rows: int = 7  # of the vocabulary beyond the tokenizer's

    @classmethod
    def drawn(cls, seed: int) -> "Sizes":
        """Returns the stored sizes for seed 0, others for another seed."""
        if seed == 0:
            return cls()
        draw = random.Random(seed)
        vit_heads, qformer_heads = draw.choice((2, 3, 5)), draw.choice((2, 3))
        kv_heads, cross_every = draw.choice((1, 2, 3)), draw.choice((2, 3))
        lm_heads = kv_heads * draw.choice((2, 3))
        opt_width = lm_heads * draw.choice((5, 7))  # OPT's heads divide its width
        return cls(
            vit_dim=vit_heads * draw.choice((6, 10)),
            vit_heads=vit_heads,
            vit_mlp=draw.randrange(41, 70),
            vit_layers=draw.choice((2, 3, 4)),
            patch=draw.choice((5, 8)),
            side=draw.choice((3, 5)),
            qformer_dim=qformer_heads * draw.choice((7, 9)),
            qformer_heads=qformer_heads,
            qformer_mlp=draw.randrange(33, 50),
            qformer_layers=cross_every * draw.choice((1, 2)),
            cross_every=cross_every,
            queries=draw.choice((3, 7)),
            qformer_rows=draw.choice((1, 5)),
            lm_dim=opt_width,
            lm_heads=lm_heads,
            lm_kv_heads=kv_heads,
            lm_head_dim=draw.choice((4, 10)),
            rope_base=draw.choice((300.0, 2_000.0)),
            lm_mlp=draw.randrange(40, 60),
            lm_layers=draw.choice((2, 3)),
            opt_layers=draw.choice((2, 4)),
            t5_kv=draw.choice((4, 7)),
            t5_heads=draw.choice((2, 5)),
            spare_rows=draw.choice((3, 11)),
        )


def randomise(model: torch.nn.Module, seed: int, *, louder: dict[str, int]) -> None:
    """Gives every parameter, biases and norms included, a random value of a size that keeps activations near one.

    `louder` names embedding or head tensors and a row of each: the token's row is larger, so that generation ends.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            table = re.search(r"embed|shared|class_|query_tokens", name) and "patch_embedding" not in name
            if parameter.ndim == 1 and name.endswith("bias"):
                value = 0.2 * noise
            elif parameter.ndim == 1 and not table:
                value = 1.0 + 0.2 * noise
            elif table or "relative_attention_bias" in name:
                value = (1.5 if "embed_positions" in name else 0.5) * noise
            else:
                value = 1.4 * noise / math.sqrt(parameter[0].numel())
            if re.search(r"Attention\.q\.weight$", name):  # T5 does not divide its scores: its queries are small
                value = value / math.sqrt(model.config.get_text_config().d_kv)
            if name.endswith("lm_head.weight"):
                value = 2.0 * value
            if name in louder:
                value[louder[name]] *= 1.6
            parameter.copy_(value)


def vision_config(sizes: Sizes) -> dict:
    """Returns the EVA tower's values."""
    return {
        "hidden_size": sizes.vit_dim,
        "num_attention_heads": sizes.vit_heads,
        "intermediate_size": sizes.vit_mlp,
        "num_hidden_layers": sizes.vit_layers,
        "patch_size": sizes.patch,
        "image_size": sizes.patch * sizes.side,
    }


def qformer_config(sizes: Sizes, vocab_size: int) -> dict:
    """Returns the Q-Former's values."""
    return {
        "hidden_size": sizes.qformer_dim,
        "num_attention_heads": sizes.qformer_heads,
        "intermediate_size": sizes.qformer_mlp,
        "num_hidden_layers": sizes.qformer_layers,
        "cross_attention_frequency": sizes.cross_every,
        "encoder_hidden_size": sizes.vit_dim,
        "vocab_size": vocab_size,
        "max_position_embeddings": 64,
    }


def llama_config(sizes: Sizes, vocab_size: int) -> transformers.LlamaConfig:
    """Returns a LLaMA whose KV heads are fewer than its heads."""
    return transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=sizes.lm_dim,
        intermediate_size=sizes.lm_mlp,
        num_hidden_layers=sizes.lm_layers,
        num_attention_heads=sizes.lm_heads,
        num_key_value_heads=sizes.lm_kv_heads,
        head_dim=sizes.lm_head_dim,
        rope_parameters={"rope_type": "default", "rope_theta": sizes.rope_base},
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        pad_token_id=0,
    )


def opt_config(sizes: Sizes, vocab_size: int, eos_id: int) -> transformers.OPTConfig:
    """Returns an OPT; BLIP-2 ends its answers at a newline, so `eos_id` is that."""
    return transformers.OPTConfig(
        vocab_size=vocab_size,
        hidden_size=sizes.lm_dim,
        word_embed_proj_dim=sizes.lm_dim,
        ffn_dim=sizes.lm_mlp + 13,
        num_hidden_layers=sizes.opt_layers,
        num_attention_heads=sizes.lm_heads,
        max_position_embeddings=160,
        eos_token_id=eos_id,
    )


def t5_config(sizes: Sizes, vocab_size: int) -> transformers.T5Config:
    """Returns a Flan-T5: gated, its head apart from the embedding, encoder and decoder of different depth."""
    return transformers.T5Config(
        vocab_size=vocab_size,
        d_model=sizes.lm_dim,
        d_kv=sizes.t5_kv,
        d_ff=sizes.lm_mlp - 10,
        num_layers=sizes.lm_layers + 1,  # the deeper one: transformers 5.24 sizes the decoder's cache by the encoder
        num_decoder_layers=sizes.lm_layers,
        num_heads=sizes.t5_heads,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )


def write(folder: pathlib.Path, name: str, values: dict) -> None:
    """Writes a JSON file as the hub's folders have them."""
    (folder / name).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read(folder: pathlib.Path, name: str) -> dict:
    """Returns the values of a JSON file."""
    return json.loads((folder / name).read_text(encoding="utf-8"))


def rename(folder: pathlib.Path, rules: tuple[tuple[str, str], ...]) -> None:
    """Rewrites the folder's safetensors file under other names; each rule is (regular expression, replacement)."""
    tensors = {}
    for key, tensor in load_file(folder / "model.safetensors").items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        tensors[key] = tensor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def save(model: transformers.PreTrainedModel, folder: pathlib.Path) -> None:
    """Writes the model as the hub's folders have it: names and configuration of transformers 4."""
    model.save_pretrained(folder)
    rename(folder, TRANSFORMERS_5)
    config = read(folder, "config.json")
    for part in (config, config.get("text_config", {})):
        part.pop("transformers_version", None)
        if part.get("model_type") == "t5":
            # transformers 5 writes true and means `scale_decoder_outputs`; the hub's Flan-T5 files say false.
            part.pop("scale_decoder_outputs", None)
            part["tie_word_embeddings"] = False
        if "rope_parameters" in part:
            part["rope_theta"] = part.pop("rope_parameters")["rope_theta"]
            part["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    write(folder, "config.json", config)


def untie(language_model: torch.nn.Module) -> None:
    """Gives a T5 the head of its own that transformers 5 ties whatever the configuration says."""
    head = language_model.lm_head
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    language_model.config.scale_decoder_outputs = False
    for config in (language_model.config, language_model.encoder.config, language_model.decoder.config):
        config.tie_word_embeddings = False


def blip_processor(folder: pathlib.Path, sizes: Sizes, *, kind: str) -> None:
    """Writes the processor's files; `kind` is Blip2 or InstructBlip."""
    edge = sizes.patch * sizes.side
    values = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": IMAGE_MEAN,
        "image_processor_type": "BlipImageProcessor",
        "image_std": IMAGE_STD,
        "processor_class": f"{kind}Processor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": edge, "width": edge},
    }
    write(folder, "preprocessor_config.json", values)
    write(folder, "processor_config.json", {"num_query_tokens": sizes.queries, "processor_class": f"{kind}Processor"})


def llava_processor(folder: pathlib.Path, sizes: Sizes) -> None:
    """Writes the files of LLaVA's processor: shortest edge, then the centre."""
    edge = sizes.patch * sizes.side
    values = {
        "crop_size": {"height": edge, "width": edge},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": IMAGE_MEAN,
        "image_processor_type": "CLIPImageProcessor",
        "image_std": IMAGE_STD,
        "processor_class": "LlavaProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": edge},
    }
    write(folder, "preprocessor_config.json", values)
    settings = {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": sizes.patch,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "default",
    }
    write(folder, "processor_config.json", settings)


def _language(
    folder: pathlib.Path, sizes: Sizes, *, kind: str, added: tuple[str, ...]
) -> transformers.PreTrainedConfig:
    """Writes the tokenizer of a kind of language model and returns the model's configuration."""
    getattr(make_tokenizers, kind)(folder, added=added)
    vocab_size = make_tokenizers.size(folder) + sizes.spare_rows
    if kind == "opt":
        return opt_config(sizes, vocab_size, make_tokenizers.id_of(folder, "\u010a"))
    return {"llama": llama_config, "t5": t5_config}[kind](sizes, vocab_size)


def _eos(config: transformers.PreTrainedConfig) -> int:
    return config.eos_token_id


def _head_name(kind: str) -> str:
    return {"llama": "lm_head.weight", "t5": "lm_head.weight", "opt": "model.decoder.embed_tokens.weight"}[kind]


def plain(folder: pathlib.Path, sizes: Sizes, seed: int, *, kind: str) -> None:
    """Writes a language model alone."""
    text = _language(folder, sizes, kind=kind, added=())
    makers = {
        "llama": transformers.LlamaForCausalLM,
        "opt": transformers.OPTForCausalLM,
        "t5": transformers.T5ForConditionalGeneration,
    }
    model = makers[kind](text)
    if kind == "t5":
        untie(model)
    randomise(model, seed, louder={_head_name(kind): _eos(text)})
    save(model, folder)


def blip2(folder: pathlib.Path, sizes: Sizes, seed: int, *, kind: str) -> None:
    """Writes a BLIP-2 with an OPT, a T5 or (as Ying-VLM's release) a LLaMA."""
    text = _language(folder, sizes, kind=kind, added=() if kind == "llama" else ("<image>",))
    config = transformers.Blip2Config(
        vision_config=transformers.Blip2VisionConfig(**vision_config(sizes)),
        qformer_config=transformers.Blip2QFormerConfig(**qformer_config(sizes, 37)),
        text_config=text,
        num_query_tokens=sizes.queries,
        image_token_index=None if kind == "llama" else make_tokenizers.id_of(folder, "<image>"),
    )
    model = transformers.Blip2ForConditionalGeneration(config)
    if kind == "t5":
        untie(model.language_model)
    randomise(model, seed, louder={f"language_model.{_head_name(kind)}": _eos(text)})
    save(model, folder)
    blip_processor(folder, sizes, kind="Blip2")
    if kind == "llama":  # the released class is a subclass, and nothing else of the folder tells it from a BLIP-2
        values = read(folder, "config.json")
        values["architectures"] = ["VLMForConditionalGeneration"]
        values.pop("image_token_index", None)
        write(folder, "config.json", values)


def instructblip(folder: pathlib.Path, sizes: Sizes, seed: int, *, kind: str) -> None:
    """Writes an InstructBLIP with a LLaMA or a T5; its Q-Former reads the instruction."""
    text = _language(folder, sizes, kind=kind, added=("[PAD]", "<image>") if kind == "llama" else ("<image>",))
    make_tokenizers.bert(folder / "qformer_tokenizer")
    qformer_rows = make_tokenizers.size(folder / "qformer_tokenizer") + sizes.qformer_rows
    config = transformers.InstructBlipConfig(
        vision_config=transformers.InstructBlipVisionConfig(**vision_config(sizes)),
        qformer_config=transformers.InstructBlipQFormerConfig(**qformer_config(sizes, qformer_rows)),
        text_config=text,
        num_query_tokens=sizes.queries,
        image_token_index=make_tokenizers.id_of(folder, "<image>"),
    )
    model = transformers.InstructBlipForConditionalGeneration(config)
    if kind == "t5":
        untie(model.language_model)
    randomise(model, seed, louder={f"language_model.{_head_name(kind)}": _eos(text)})
    save(model, folder)
    blip_processor(folder, sizes, kind="InstructBlip")


def llava(folder: pathlib.Path, sizes: Sizes, seed: int) -> None:
    """Writes a LLaVA-1.5: CLIP less its last block, class token dropped, a projection of two layers."""
    text = _language(folder, sizes, kind="llama", added=("<image>", "<pad>"))
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**vision_config(sizes), projection_dim=11),
        text_config=text,
        image_token_index=make_tokenizers.id_of(folder, "<image>"),
        image_seq_length=sizes.side**2,
    )
    model = transformers.LlavaForConditionalGeneration(config)
    randomise(model, seed, louder={"lm_head.weight": _eos(text)})
    save(model, folder)
    llava_processor(folder, sizes)


def minigpt4(folder: pathlib.Path, sizes: Sizes, seed: int) -> None:
    """Writes MiniGPT-4's file: the projection alone, which goes onto the parts of `blip2_t5` and the model `llama`."""
    folder.mkdir(parents=True, exist_ok=True)
    projection = torch.nn.ModuleDict({"llama_proj": torch.nn.Linear(sizes.qformer_dim, sizes.lm_dim)})
    randomise(projection, seed, louder={})
    save_file(projection.state_dict(), folder / "projection.safetensors", metadata={"format": "pt"})


MAKERS: dict[str, Callable[[pathlib.Path, Sizes, int], None]] = {
    "blip2_opt": lambda folder, sizes, seed: blip2(folder, sizes, seed, kind="opt"),
    "blip2_t5": lambda folder, sizes, seed: blip2(folder, sizes, seed, kind="t5"),
    "ying_vlm": lambda folder, sizes, seed: blip2(folder, sizes, seed, kind="llama"),
    "instructblip_llama": lambda folder, sizes, seed: instructblip(folder, sizes, seed, kind="llama"),
    "instructblip_t5": lambda folder, sizes, seed: instructblip(folder, sizes, seed, kind="t5"),
    "llava": llava,
    "llama": lambda folder, sizes, seed: plain(folder, sizes, seed, kind="llama"),
    "opt": lambda folder, sizes, seed: plain(folder, sizes, seed, kind="opt"),
    "t5": lambda folder, sizes, seed: plain(folder, sizes, seed, kind="t5"),
    "minigpt4": minigpt4,
}


def make(family: str, folder: pathlib.Path, seed: int) -> None:
    """Writes the folder of one family, in the place of what may be there."""
    shutil.rmtree(folder, ignore_errors=True)
    sizes = Sizes.drawn(seed)
    if seed == 0 and family in ROPE_BASES:
        sizes = dataclasses.replace(sizes, rope_base=ROPE_BASES[family])
    MAKERS[family](folder, sizes, 1000 * seed + WEIGHT_SEEDS.get(family, FAMILIES.index(family)))


def main() -> None:
    """Writes OUT/<family> for the families asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for family in arguments.family:
        make(family, arguments.out / family, arguments.seed)


if __name__ == "__main__":
    main()
