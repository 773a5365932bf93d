"""What `transformers` computes on the folders of make_checkpoints.py, small enough to be stored beside them.

Run in the reference environment:
  python tests/reference/make_golden.py FOLDERS [--family NAME ...] [--out OUT]

For each family FOLDERS/<family>/golden.npz holds, in float32:
  picture/<n>        uint8 [h, w, 3], none of them square; pixel_values [I, 3, h, w] of the family's own processor
  token_ids          [B, T] rows of mixed length: ids, -1 at a position of the row's next picture, -2 = padding
  qformer_ids, qformer_mask   [I, L] the text that an InstructBLIP's Q-Former reads beside each picture (mask 1 = real)
  vit/embeddings, vit/layers [L, I, P, D], vit/output; qformer/layers [L, I, Q, D]; projection [I, Q, D]
  encoder/layers, encoder/output, decoder_ids, decoder/layers [L, B, T, D], decoder/output (normed)
  logit_positions [B, 3], logits [B, 3, V]
  greedy, beam4, beam4_long, repetition_generated, repetition_prompt   [B, 64] new tokens, the end id included, then -1
  margin/<way>       how far the chosen token's score was ahead of the next at the closest call, greedy ways only
`beam4` has length_penalty 1, `beam4_long` LENGTH_PENALTY. `repetition_generated` counts new tokens alone,
`repetition_prompt` the prompt's ids as well (the placeholder's included), as a model's own `generate` does.
golden.json holds the versions, the texts, their ids as the processor gives them, and the ids of begin, end and padding.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator

import make_checkpoints
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

NEW_TOKENS, LENGTH_PENALTY, REPETITION_PENALTY = 64, 2.0, 1.3
PICTURE, PADDING = -1, -2
WAYS = ("greedy", "beam4", "beam4_long", "repetition_generated", "repetition_prompt")
TEXTS = (
    "Question: how many cats? Answer:",
    "Describe the picture in one sentence, then say what colour the car is.",
    "Hello",
    "图片里有一只猫和 3 dogs: x = [1, 23]",
)
IMAGE_COUNTS = (1, 2, 0, 1)
SHAPES = ((41, 30), (19, 53), (64, 33), (28, 29))  # height, width


@dataclasses.dataclass
class Reference:
    """A family's model, taken apart."""

    family: str
    tokenizer: transformers.PreTrainedTokenizerBase
    language_model: torch.nn.Module
    whole: torch.nn.Module | None = None  # None: a language model alone, or parts from several folders
    vision: torch.nn.Module | None = None
    qformer: torch.nn.Module | None = None
    query_tokens: torch.Tensor | None = None
    projection: torch.nn.Module | None = None
    processor: transformers.ProcessorMixin | None = None
    placeholder: int | None = None

    @property
    def is_encoder_decoder(self) -> bool:
        return self.language_model.config.is_encoder_decoder


def load(folders: pathlib.Path, family: str) -> Reference:
    """Returns the model of a family from its folder, and for MiniGPT-4 from three."""
    folder = folders / family
    if family == "minigpt4":
        base, language = load(folders, "blip2_t5"), load(folders, "llama")
        weights = load_file(folder / "projection.safetensors")
        projection = torch.nn.Linear(*weights["llama_proj.weight"].shape[::-1])
        projection.load_state_dict({key.removeprefix("llama_proj."): value for key, value in weights.items()})
        language.family, language.projection = family, projection
        language.vision, language.qformer, language.query_tokens = base.vision, base.qformer, base.query_tokens
        language.processor = base.processor
        return language
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if family in ("llama", "opt"):
        return Reference(family, tokenizer, transformers.AutoModelForCausalLM.from_pretrained(folder, **options).eval())
    if family == "t5":
        return Reference(
            family, tokenizer, transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, **options).eval()
        )
    kind = transformers.AutoModelForImageTextToText if family == "llava" else None
    kind = kind or getattr(
        transformers,
        ("InstructBlip" if family.startswith("instructblip") else "Blip2") + "ForConditionalGeneration",
    )
    whole = kind.from_pretrained(folder, **options).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    if family == "llava":
        parts = {"vision": whole.model.vision_tower, "projection": whole.model.multi_modal_projector}
        language_model = whole
    else:
        parts = {"vision": whole.vision_model, "projection": whole.language_projection, "qformer": whole.qformer}
        parts["query_tokens"] = whole.query_tokens
        language_model = whole.language_model
    placeholder = whole.config.image_token_index
    return Reference(
        family, tokenizer, language_model, whole=whole, processor=processor, placeholder=placeholder, **parts
    )


@contextlib.contextmanager
def outputs_of(modules: dict[str, list[torch.nn.Module]]) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Collects what the modules give out, in the order of the calls."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in modules}

    def hook(name: str):
        return lambda module, inputs, output: seen[name].append(output[0] if isinstance(output, tuple) else output)

    handles = [module.register_forward_hook(hook(name)) for name, group in modules.items() for module in group]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def pictures() -> list[np.ndarray]:
    """Returns pictures with edges, gradients and noise, none of them square."""
    made = []
    for number, (height, width) in enumerate(SHAPES):
        rows, columns = np.mgrid[0:height, 0:width]
        waves = [np.sin(rows / (3 + number) + phase) * np.cos(columns / (4 + phase)) for phase in range(3)]
        picture = 127 + 90 * np.stack(waves, axis=-1)
        picture += np.random.default_rng(number).normal(0, 25, picture.shape)
        picture[height // 4 : height // 2, width // 3 : width // 2] = (255, 0, 40 * number)
        made.append(np.clip(picture, 0, 255).astype(np.uint8))
    return made


def encode_pictures(reference: Reference, golden: dict[str, np.ndarray]) -> torch.Tensor:
    """Returns what the language model sees of each picture; notes every layer on the way."""
    pixels = torch.tensor(golden["pixel_values"])
    if reference.family == "llava":
        layers = list(reference.vision.encoder.layers)[:-1]
        groups = {"vit/layers": layers, "vit/embeddings": [reference.vision.pre_layrnorm]}
        with outputs_of(groups) as seen:
            features = torch.stack(
                list(
                    reference.whole.model.get_image_features(
                        pixels, vision_feature_layer=-2, vision_feature_select_strategy="default"
                    ).pooler_output
                )
            )
        golden["vit/output"] = seen["vit/layers"][-1][:, 1:].numpy()
    else:
        groups = {
            "vit/layers": list(reference.vision.encoder.layers),
            "vit/embeddings": [reference.vision.embeddings],
            "qformer/layers": list(reference.qformer.encoder.layer),
        }
        with outputs_of(groups) as seen:
            patches = reference.vision(pixels).last_hidden_state
            queries = reference.query_tokens.expand(len(pixels), -1, -1)
            read = {"query_embeds": queries, "encoder_hidden_states": patches}
            if "qformer_ids" in golden:
                mask = torch.cat([torch.ones(queries.shape[:2]), torch.tensor(golden["qformer_mask"])], dim=1)
                read |= {"input_ids": torch.tensor(golden["qformer_ids"]), "attention_mask": mask.long()}
            features = reference.qformer(**read).last_hidden_state[:, : queries.shape[1]]
            features = reference.projection(features)
        golden["vit/output"] = patches.numpy()
        golden["qformer/layers"] = np.stack([x[:, : queries.shape[1]].numpy() for x in seen["qformer/layers"]])
    golden["vit/embeddings"] = seen["vit/embeddings"][0].numpy()
    golden["vit/layers"] = np.stack([x.numpy() for x in seen["vit/layers"]])
    golden["projection"] = features.numpy()
    return features


def token_rows(reference: Reference, picture_len: int) -> list[list[int]]:
    """Returns the rows as the families lay them out: ids, and PICTURE where a picture's vector stands."""

    def encode(text: str) -> list[int]:
        return reference.tokenizer(text, add_special_tokens=False).input_ids

    picture, rows = [PICTURE] * picture_len, []
    begin = [reference.tokenizer.bos_token_id] if reference.tokenizer.bos_token_id is not None else []
    for text, count in zip(TEXTS, IMAGE_COUNTS, strict=True):
        if reference.family == "ying_vlm":  # the pictures come before the begin id, each between its marks
            blocks = (encode("<Img>") + picture + encode("</Img>")) * count
            rows.append(blocks + begin + encode(f"\n<human>:\n{text}\n\n<bot>:\n"))
        elif reference.family == "minigpt4":
            blocks = (encode("<Img>") + picture + encode("</Img>")) * count
            rows.append(begin + encode("###Human: ") + blocks + encode(f"{text}###Assistant:"))
        elif reference.family == "llava":
            rows.append(begin + encode("USER: ") + picture * count + encode(f"\n{text} ASSISTANT:"))
        elif reference.projection is None:
            rows.append(reference.tokenizer(text).input_ids)
        else:  # BLIP-2, InstructBLIP: the pictures, then the text with the special ids of its tokenizer
            rows.append(picture * count + reference.tokenizer(text).input_ids)
    return rows


def embed(reference: Reference, row: list[int], features: Iterator[torch.Tensor]) -> torch.Tensor:
    """Returns a row's embeddings [T, D]; `features` gives the next picture position's vector."""
    table = reference.language_model.get_input_embeddings()
    return torch.stack([next(features) if index == PICTURE else table(torch.tensor(index)) for index in row])


def pad(rows: list, *, left: bool, value: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (rows padded to one length, mask: 1 = real)."""
    longest = max(len(row) for row in rows)
    padded, mask = [], torch.zeros(len(rows), longest, dtype=torch.long)
    for number, row in enumerate(torch.as_tensor(row) for row in rows):
        filler = torch.full((longest - len(row), *row.shape[1:]), value, dtype=row.dtype)
        padded.append(torch.cat([filler, row] if left else [row, filler]))
        mask[number, longest - len(row) :] = 1
        if not left:
            mask[number] = mask[number].flip(0)
    return torch.stack(padded), mask


def whole_rows(reference: Reference, embeds: list[torch.Tensor], golden: dict[str, np.ndarray]) -> None:
    """Notes every layer and some logits of whole rows, padded at the end; padding is zero in what is stored."""
    model = reference.language_model
    inputs, mask = pad(embeds, left=False, value=0.0)
    call = {"inputs_embeds": inputs, "attention_mask": mask}
    counted = mask
    if reference.is_encoder_decoder:
        groups = {
            "encoder/layers": list(model.encoder.block),
            "encoder/output": [model.encoder.final_layer_norm],
            "decoder/layers": list(model.decoder.block),
            "decoder/output": [model.decoder.final_layer_norm],
        }
        shape = (len(embeds), 9)
        decoder_ids = np.random.default_rng(7).integers(3, model.config.vocab_size, shape)
        decoder_ids[:, 0] = model.config.decoder_start_token_id
        golden["decoder_ids"] = decoder_ids.astype(np.int32)
        call["decoder_input_ids"] = torch.tensor(decoder_ids)
        counted = torch.ones(shape, dtype=torch.long)
    else:
        inner = model.get_decoder() if reference.family != "llava" else model.model.language_model
        norm = inner.final_layer_norm if hasattr(inner, "final_layer_norm") else inner.norm
        groups = {"decoder/layers": list(inner.layers), "decoder/output": [norm]}
    with outputs_of(groups) as seen:
        logits = model(**call).logits
    for name, values in seen.items():
        keep = (mask if name.startswith("encoder") else counted)[None, :, :, None]
        stacked = (torch.stack(values) * keep).numpy()
        golden[name] = stacked if name.endswith("layers") else stacked[0]
    last = counted.sum(dim=1).numpy() - 1
    positions = np.stack([last // 3, 2 * last // 3, last], axis=1)
    golden["logit_positions"] = positions.astype(np.int32)
    golden["logits"] = np.take_along_axis(logits.numpy(), positions[:, :, None], axis=1)


def new_tokens(reference: Reference, call: dict, **options: object) -> tuple[np.ndarray, float]:
    """Returns (new ids [B, NEW_TOKENS], then -1; smallest lead of a chosen token over the next where it is greedy)."""
    config = reference.language_model.config
    text_config = getattr(config, "text_config", config)
    end = text_config.eos_token_id
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": end, "pad_token_id": 0}
    model = reference.language_model if "inputs_embeds" in call else reference.whole
    result = model.generate(
        **call, **settings, **options, return_dict_in_generate=True, output_scores=True, bos_token_id=1
    )
    ids = result.sequences
    if "input_ids" in call and not reference.is_encoder_decoder:
        ids = ids[:, call["input_ids"].shape[1] :]
    if reference.is_encoder_decoder:
        ids = ids[:, 1:]
    tokens = np.full((len(ids), NEW_TOKENS), -1, np.int32)
    margin = float("inf")
    for row, values in enumerate(ids.tolist()):
        values = values[: values.index(end) + 1] if end in values else values
        tokens[row, : len(values)] = values
        if options.get("num_beams", 1) == 1:
            for step in range(len(values)):
                first, second = result.scores[step][row].topk(2).values.tolist()
                margin = min(margin, first - second)
    return tokens, margin


def generation(
    reference: Reference, rows: list[list[int]], embeds: list[torch.Tensor], golden: dict[str, np.ndarray]
) -> None:
    """Notes what each way of choosing gives in a batch of rows of mixed length, padded on the left."""
    inputs, mask = pad(embeds, left=True, value=0.0)
    batch = {"inputs_embeds": inputs, "attention_mask": mask}
    beam = {"num_beams": 4, "early_stopping": False}
    ways: dict[str, dict] = {
        "greedy": {},
        "beam4": {**beam, "length_penalty": 1.0},
        "beam4_long": {**beam, "length_penalty": LENGTH_PENALTY},
        "repetition_generated": {"repetition_penalty": REPETITION_PENALTY},
    }
    for way, options in ways.items():
        each = []
        for row in embeds:
            alone = {"inputs_embeds": row[None], "attention_mask": torch.ones(1, len(row), dtype=torch.long)}
            each.append(new_tokens(reference, alone, **options))
        golden[way] = np.concatenate([tokens for tokens, _ in each])
        if way != "beam4" and way != "beam4_long":
            golden[f"margin/{way}"] = np.float32(min(margin for _, margin in each))
        # Not for the penalty: transformers 5.24 skips as many new tokens as the row has padding when it gets vectors.
        if way != "repetition_generated" and not np.array_equal(
            golden[way], new_tokens(reference, batch, **options)[0]
        ):
            raise SystemExit(f"{reference.family} {way}: a row differs alone and in a batch; take other weights")
    if reference.is_encoder_decoder or reference.placeholder is None:
        return
    tokens, margins = [], []
    first = 0
    for row, count in zip(rows, IMAGE_COUNTS, strict=True):
        ids = torch.tensor([[reference.placeholder if index == PICTURE else index for index in row]])
        call = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        shown = slice(first, first + count)
        first += count
        if count:
            call["pixel_values"] = torch.tensor(golden["pixel_values"][shown])
            if "qformer_ids" in golden:
                call["qformer_input_ids"] = torch.tensor(golden["qformer_ids"][shown])
                call["qformer_attention_mask"] = torch.tensor(golden["qformer_mask"][shown])
        elif reference.family != "llava":  # their own generate wants a picture; its language model does not
            table = reference.language_model.get_input_embeddings()
            call = {"input_ids": ids, "inputs_embeds": table(ids), "attention_mask": torch.ones_like(ids)}
        made, margin = new_tokens(reference, call, repetition_penalty=REPETITION_PENALTY)
        tokens.append(made[0])
        margins.append(margin)
    golden["repetition_prompt"] = np.stack(tokens)
    golden["margin/repetition_prompt"] = np.float32(min(margins))


def read_pictures(reference: Reference, golden: dict[str, np.ndarray], notes: dict) -> None:
    """Notes what the family's processor makes of the pictures and the texts."""
    made = pictures()
    golden |= {f"picture/{number}": picture for number, picture in enumerate(made)}
    images = [Image.fromarray(picture) for picture in made]
    processor = reference.processor
    golden["pixel_values"] = processor.image_processor(images, return_tensors="np")["pixel_values"].astype(np.float32)
    if reference.family == "minigpt4":
        return
    if reference.family == "llava":
        prompts = [f"USER: <image>\n{text} ASSISTANT:" for text in TEXTS]
        notes["processor_input_ids"] = [
            processor(images=image, text=prompt)["input_ids"][0] for image, prompt in zip(images, prompts, strict=True)
        ]
        notes["processor_texts"] = prompts
        return
    read = [processor(images=image, text=text) for image, text in zip(images, TEXTS, strict=True)]
    notes["processor_texts"] = list(TEXTS)
    notes["processor_input_ids"] = [values["input_ids"][0] for values in read]
    if reference.family.startswith("instructblip"):
        notes["processor_qformer_input_ids"] = [values["qformer_input_ids"][0] for values in read]
        shown = [text for text, count in zip(TEXTS, IMAGE_COUNTS, strict=True) for _ in range(count)]
        encoded = processor.qformer_tokenizer(shown, padding=True)
        golden["qformer_ids"] = np.asarray(encoded["input_ids"], np.int64)
        golden["qformer_mask"] = np.asarray(encoded["attention_mask"], np.int64)


def make(folders: pathlib.Path, family: str, *, with_generation: bool) -> tuple[dict[str, np.ndarray], dict]:
    """Returns what is stored as golden.npz and golden.json."""
    reference = load(folders, family)
    golden: dict[str, np.ndarray] = {}
    notes = {
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "texts": list(TEXTS),
        "image_counts": list(IMAGE_COUNTS) if reference.projection is not None else [0] * len(TEXTS),
        "length_penalty": LENGTH_PENALTY,
        "repetition_penalty": REPETITION_PENALTY,
        "new_tokens": NEW_TOKENS,
        "placeholder": reference.placeholder,
    }
    text_config = getattr(reference.language_model.config, "text_config", reference.language_model.config)
    notes["eos_id"], notes["bos_id"] = text_config.eos_token_id, reference.tokenizer.bos_token_id
    features, picture_len = torch.zeros(0, 0, 1), 0
    with torch.no_grad():
        if reference.projection is not None:
            read_pictures(reference, golden, notes)
            features = encode_pictures(reference, golden)
            picture_len = features.shape[1]
        rows = token_rows(reference, picture_len)
        each = iter(features.reshape(-1, features.shape[-1]))
        embeds = [embed(reference, row, each) for row in rows]
        golden["token_ids"] = pad(rows, left=False, value=PADDING)[0].numpy().astype(np.int32)
        whole_rows(reference, embeds, golden)
        if with_generation:
            generation(reference, rows, embeds, golden)
    return golden, notes


def main() -> None:
    """Writes golden.npz and golden.json into each family's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path)
    parser.add_argument("--family", nargs="+", choices=make_checkpoints.FAMILIES, default=make_checkpoints.FAMILIES)
    parser.add_argument("--without-generation", action="store_true", help="layers and logits only")
    parser.add_argument("--verbose", action="store_true", help="say how close the closest choices were")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for family in arguments.family:
        golden, notes = make(arguments.folders, family, with_generation=not arguments.without_generation)
        folder = arguments.folders / family
        np.savez_compressed(folder / "golden.npz", **golden)
        text = json.dumps(notes, ensure_ascii=False)
        (folder / "golden.json").write_text(text + "\n", encoding="utf-8")
        if arguments.verbose:
            lengths = {way: (golden[way] >= 0).sum(axis=1).tolist() for way in WAYS if way in golden}
            margins = {name: float(value) for name, value in golden.items() if name.startswith("margin")}
            sys.stdout.write(f"{family}: new tokens {lengths}, closest choices {margins}\n")


if __name__ == "__main__":
    main()
