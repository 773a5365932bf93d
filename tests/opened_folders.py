"""Exported folders as transformers opens them, beside what we compute: two pictures, scores, greedy answers.

`imported` makes a checkpoint of each kind from the stored folders, `trained` trains it for two steps, and an export of
either is asked (`ask`), opened by an interpreter that has transformers (`run`) and compared (`compare`).

    python tests/opened_folders.py [NAME ...]       makes the stored outputs again, with the interpreters that are named
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import reference_goldens
from checkpoint_conversion import runs, small_folders
from checkpoint_conversion.small_folders import STORED
from PIL import Image

import m3it_jax
from m3it_jax import prompts, schema
from m3it_jax.checkpoint_conversion.folders import exporting, importing
from m3it_jax.models import variants
from m3it_jax.models.variant import Variant

# Name -> its row in the table of docs/weights.md.
KINDS = {
    "blip2_opt": "BLIP-2 with OPT",
    "blip2_t5": "BLIP-2 with Flan-T5",
    "ying_vlm": "Ying-VLM, as a BLIP-2 with LLaMA",
    "instructblip_llama": "InstructBLIP with Vicuna",
    "instructblip_t5": "InstructBLIP with Flan-T5",
    "llava": "LLaVA-1.5",
    "minigpt4": "MiniGPT-4, as a BLIP-2 with LLaMA",
    "several_places": "Ying-VLM from three places",
    "full_vocabulary": "Ying-VLM with no free row",
}
TRAINED = tuple(name for name in KINDS if not name.endswith("_t5"))  # encoder-decoder models are not trained here

OUTPUTS = STORED.parent / "opened"  # what transformers made of the export of each kind
VERSIONS = ("5.24.0", "4.57.6")
_KEPT_SCORES = 4  # positions whose scores are stored

SCRIPT = pathlib.Path(__file__).parent / "reference" / "open_exported.py"
INSTRUCTION, NEW_TOKENS = "What is in the picture?", 16
LOGITS = 1e-4  # times the largest score where that is above 1


@dataclasses.dataclass(frozen=True)
class Opened:
    """What came of one folder.

    Attributes:
      difference: Largest difference of a score of theirs and ours, as a share of the largest score above 1.
      between: Largest difference of a score between the two pictures, theirs.
      answers: Their greedy answers, cut as ours are.
      ours: Our greedy answers.
      problems: What does not hold, a line each.
    """

    difference: float
    between: float
    answers: list[str]
    ours: list[str]
    problems: list[str]


def source(name: str, place: pathlib.Path) -> pathlib.Path:
    """Returns what an import of a kind reads: a stored folder, or what is made of some below `place`."""
    place.mkdir(parents=True, exist_ok=True)
    if name == "full_vocabulary":
        folder = small_folders.copy("ying_vlm", place / "hf")
        tensors = small_folders.arrays(folder)
        tables = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")
        config = reference_goldens.read_json(folder / "config.json")
        config["text_config"]["vocab_size"] = size = 392  # the pieces of its tokenizer
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        small_folders.rewrite(folder, tensors | {key: tensors[key][:size] for key in tables})
        return folder
    if name in reference_goldens.WHOLE and name != "minigpt4":
        return STORED / name
    is_minigpt4 = name == "minigpt4"
    variant = dataclasses.replace(
        reference_goldens.variant_of("minigpt4" if is_minigpt4 else "ying_vlm"),
        decoder=reference_goldens.variant_of("minigpt4").decoder,  # the stored LLaMA, whose rotary base is its own
    )
    tower = str(STORED / ("blip2_t5" if is_minigpt4 else "blip2_opt"))
    variants.write(variant, place)
    parts = {"variant": str(place), "vit": tower, "qformer": tower, "decoder": str(STORED / "llama")}
    parts["projection"] = str(STORED / ("minigpt4/projection.safetensors" if is_minigpt4 else "ying_vlm"))
    (place / "parts.json").write_text(json.dumps(parts), encoding="utf-8")
    return place / "parts.json"


def imported(name: str, place: pathlib.Path) -> pathlib.Path:
    """Returns a folder of ours with the weights of a kind."""
    importing.convert(source(name, place / "source"), place / "ours")
    return place / "ours"


def trained(start: pathlib.Path, run: pathlib.Path, *, data: pathlib.Path) -> pathlib.Path:
    """Returns a run folder of two training steps, made by the program from imported weights."""
    vocabulary = next(path for path in (start / "tokenizer.json", start / "tokenizer.model") if path.is_file())
    given = {
        "data.path": data,
        "data.tokenizer": vocabulary,
        "data.mixture.ones": 1.0,
        "data.global_batch_size": 4,
        "data.max_text_len": 220,
        "data.max_response_len": 30,
        "model.variant": start,
        "init_from.all": start,
        "num_steps": 2,
        "optimizer.warmup_steps": 1,
    }
    root = pathlib.Path(__file__).parents[1]
    command = [sys.executable, "-m", "m3it_jax", "train", str(root / "configs" / "tiny.py"), "--run-dir", str(run)]
    done = subprocess.run(
        [*command, *(f"--{name}={value}" for name, value in given.items())], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return run


def digest(folder: pathlib.Path) -> str:
    """Returns a SHA-256 over what transformers reads of a folder: its weights and JSON files, without the card."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        own = ("asked.json", "opened.json", "certificate.json")
        if path.is_file() and path.suffix in (".json", ".safetensors", ".model", ".txt") and path.name not in own:
            found.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def pictures(folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes two pictures of odd sizes and returns their files."""
    folder.mkdir(parents=True, exist_ok=True)
    draw, files = np.random.default_rng(7), []
    for number, (height, width) in enumerate(((47, 60), (33, 31))):
        coarse = draw.integers(0, 256, (5, 6, 3), np.uint8)
        file = folder / f"picture-{number}.png"
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR).save(file)
        files.append(file)
    return files


def ask(folder: pathlib.Path, variant: Variant, files: list[pathlib.Path]) -> dict[str, Any]:
    """Writes the asked.json of a folder and returns it."""
    style = prompts.FORMATS[variant.prompt]
    text, pieces = style.prompt(INSTRUCTION, ""), None
    if variant.qformer is None:
        text = "<image>".join(style.segments(schema.Turn(INSTRUCTION, "", new_pictures=1)))
    elif style.has_pictures_inside:
        before, after = style.segments(schema.Turn(INSTRUCTION, "", new_pictures=1))
        pieces = [[before, True], None, [after, False]]
    elif style.picture_open or style.picture_close:
        pieces = [[style.picture_open, False], None, [style.picture_close, False], [text, True]]
    asked = {"pictures": [str(file) for file in files], "text": text, "pieces": pieces, "max_new_tokens": NEW_TOKENS}
    (folder / "asked.json").write_text(json.dumps(asked, ensure_ascii=False), encoding="utf-8")
    return asked


def run(python: str, *folders: pathlib.Path) -> list[dict[str, Any]]:
    """Has an interpreter with transformers open folders that were asked, and returns their opened.json."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [python, str(SCRIPT), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, env=plain | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / "opened.json").read_text(encoding="utf-8")) for folder in folders]


def read(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns what an interpreter left in a folder: opened.json and opened.npz."""
    with np.load(folder / "opened.npz") as arrays:
        return json.loads((folder / "opened.json").read_text(encoding="utf-8")), dict(arrays)


def compare(
    checkpoint: pathlib.Path, asked: dict[str, Any], told: dict[str, Any], theirs: dict[str, np.ndarray]
) -> Opened:
    """Returns how what transformers made of a folder compares with what our program makes of the checkpoint.

    Args:
      checkpoint: The checkpoint that was exported.
      asked: The folder's asked.json.
      told: Its opened.json.
      theirs: Its opened.npz; of the scores the last positions are enough.
    """
    if "error" in told:
        return Opened(np.inf, 0.0, [], [], [told["error"].splitlines()[0]])
    assistant = m3it_jax.load(checkpoint)
    model = assistant.sampler.model
    style, reads = assistant.sampler.layout.format, assistant.sampler.layout.format.qformer_reads_prompt
    written = {"decoder_ids": list(assistant.sampler.start_ids)} if assistant.sampler.start_ids else {}
    problems = [f"{key}: {', '.join(names)[:200]}" for key, names in told["loading"].items()]
    worst, answers = 0.0, []
    for number, file in enumerate(asked["pictures"]):
        scores = theirs[f"scores/{number}"]
        text = asked["text"] if reads else ""
        ids = theirs[f"ids/{number}"].tolist()
        ours = assistant.logits([file], ids, qformer_text=text, **written)[-len(scores) :]
        vocab_size = model.decoder.config.vocab_size
        apart = np.abs(ours - scores[:, :vocab_size]).max() / max(1.0, np.abs(scores).max())
        worst = max(worst, float(apart))
        made = assistant.generate(INSTRUCTION, images=[file], max_new_tokens=asked["max_new_tokens"])
        answers.append(made)
    between = float(np.abs(theirs["scores/0"] - theirs["scores/1"]).max())
    cut = [style.answer(answer) for answer in told["answers"]]
    if not worst <= LOGITS:
        problems.append(f"scores differ by {worst:.1e}")
    if not between > 100 * LOGITS:
        problems.append(f"the two pictures' scores differ by {between:.1e} alone: the picture is not seen")
    if cut != answers:
        problems.append(f"greedy answers {cut} are not ours, {answers}")
    return Opened(worst, between, cut, answers, problems)


def interpreters() -> list[str]:
    """Returns those that have transformers: M3IT_REFERENCE_PYTHON and, with version 4, M3IT_REFERENCE_PYTHON_4."""
    return [os.environ[name] for name in ("M3IT_REFERENCE_PYTHON", "M3IT_REFERENCE_PYTHON_4") if os.environ.get(name)]


def exported(name: str, place: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns (checkpoint, folder): a run with the stored weights of a kind, and its export.

    What came from several places, and what is not trained here, is exported as it was imported.
    """
    checkpoint = imported(name, place)
    if name in TRAINED and (checkpoint / "hf" / "config.json").is_file():
        checkpoint = runs.as_run(checkpoint, place / "run")
    exporting.convert(exporting.plan(checkpoint), place / "hf")
    return checkpoint, place / "hf"


def store(names: list[str], place: pathlib.Path) -> None:
    """Writes what the interpreters make of the exports of some kinds into `OUTPUTS`."""
    OUTPUTS.mkdir(exist_ok=True)
    for name in names:
        checkpoint, folder = exported(name, place / name)
        ask(folder, variants.read(checkpoint), pictures(place / "pictures"))
        told: dict[str, Any] = {"digest": digest(folder)}
        arrays = {}
        for python in interpreters():
            run(python, folder)
            noted, found = read(folder)
            version = noted["transformers"]
            told[version] = noted
            for key, value in found.items():
                arrays[f"{version}/{key}"] = value[-_KEPT_SCORES:] if key.startswith("scores") else value
        text = json.dumps(told, ensure_ascii=False, indent=1)
        (OUTPUTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        np.savez_compressed(OUTPUTS / f"{name}.npz", **arrays)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        store(sys.argv[1:] or list(KINDS), pathlib.Path(scratch))
