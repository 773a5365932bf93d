"""Which folders are asked how well their tests notice, with how many mutants, and by which tests.

A mutant is first met by the test file of the same name as its module, then by what else its folder's row lists.
"""

import dataclasses
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
EQUIVALENT = pathlib.Path(__file__).with_name("mutation_equivalent.json")

SEED = 20_261_130  # of the choice of mutants; a new one asks other questions


@dataclasses.dataclass(frozen=True)
class Folder:
    """One row of the table.

    Attributes:
      path: A folder of the package or one module of it.
      number: How many mutants are made of it.
      least: Per cent that must be caught.
      tests: Where its tests are, folders or files; the first of them that turns red ends a mutant.
    """

    path: str
    number: int
    least: int
    tests: tuple[str, ...]


FOLDERS = (
    Folder("m3it_jax/training", 60, 95, ("tests/training",)),
    Folder("m3it_jax/models", 60, 95, ("tests/models", "tests/checkpoint_conversion/names", "tests/test_sharding.py")),
    Folder("m3it_jax/input_pipeline", 70, 95, ("tests/input_pipeline",)),
    Folder("m3it_jax/metrics", 30, 95, ("tests/metrics",)),
    Folder("m3it_jax/evaluation", 60, 95, ("tests/evaluation",)),
    Folder("m3it_jax/generation", 60, 90, ("tests/generation",)),
    Folder("m3it_jax/sharding.py", 12, 90, ("tests/test_sharding.py",)),
    Folder("m3it_jax/tokenizer", 45, 90, ("tests/tokenizer", "tests/test_tokenizer.py")),
    Folder("m3it_jax/prompts.py", 20, 90, ("tests/test_prompts.py", "tests/input_pipeline/rows/test_transforms.py")),
    Folder("m3it_jax/dataset_building/steps", 30, 90, ("tests/dataset_building/steps",)),
    Folder("m3it_jax/checkpoint_conversion", 60, 90, ("tests/checkpoint_conversion",)),
    Folder("m3it_jax/llm_client", 30, 90, ("tests/test_llm_client.py",)),
)

# Modules without a test file of their name: those that are about them, paths below tests/.
ABOUT = {
    "models/abstract.py": ("models/test_variants.py",),
    "models/projection.py": ("checkpoint_conversion/names/test_families.py",),
    "models/qformer.py": ("models/test_vlm.py", "checkpoint_conversion/names/test_families.py"),
    "models/vit.py": ("models/test_vit.py", "models/test_vlm.py", "checkpoint_conversion/names/test_families.py"),
    "models/decoder.py": ("models/test_decoder.py", "checkpoint_conversion/names/test_families.py"),
    "models/variant.py": ("models/test_variants.py",),
    "checkpoint_conversion/certificate/comparison.py": ("checkpoint_conversion/certificate/test_sight.py",),
    "checkpoint_conversion/configs/clip_config.py": ("checkpoint_conversion/configs/test_hf_config.py",),
    "checkpoint_conversion/configs/llava_config.py": ("checkpoint_conversion/configs/test_hf_config.py",),
    "checkpoint_conversion/folders/cards.py": ("checkpoint_conversion/folders/test_exporting.py",),
    "checkpoint_conversion/folders/side_files.py": ("checkpoint_conversion/folders/test_exporting.py",),
    **{
        f"checkpoint_conversion/certificate/plain/{name}.py": (
            "checkpoint_conversion/certificate/plain/test_joined.py",
        )
        for name in ("llama", "opt", "qformer", "vision")
    },
    "checkpoint_conversion/certificate/plain/t5.py": (
        "checkpoint_conversion/certificate/plain/test_t5.py",
        "checkpoint_conversion/certificate/plain/test_joined.py",
    ),
    **{
        f"checkpoint_conversion/names/{name}.py": ("checkpoint_conversion/names/test_families.py",)
        for name in ("clip_vit", "eva_vit", "llama", "opt", "projection", "qformer", "t5")
    },
}


def modules(folder: Folder, root: pathlib.Path) -> list[str]:
    """Returns the paths of a folder's modules in the tree at `root`; programs that run elsewhere are none."""
    if folder.path.endswith(".py"):
        return [folder.path]
    found = sorted(path for path in (root / folder.path).rglob("*.py") if "children" not in path.parts)
    return [path.relative_to(root).as_posix() for path in found]


def stages(folder: Folder, module: str, root: pathlib.Path) -> list[tuple[str, ...]]:
    """Returns the test files to run one after another: the mirrored file, then the others of the row."""
    path = pathlib.PurePath(module)
    mirrored = pathlib.PurePath("tests", *path.parts[1:-1], f"test_{path.name}").as_posix()
    about = ABOUT.get("/".join(path.parts[1:]), ())
    first = tuple(f"tests/{file}" for file in about) or ((mirrored,) if (root / mirrored).exists() else ())
    others = []
    for place in folder.tests:
        files = [root / place] if place.endswith(".py") else sorted((root / place).rglob("test_*.py"))
        others += [file.relative_to(root).as_posix() for file in files]
    rest = tuple(file for file in dict.fromkeys(others) if file not in first)
    return [stage for stage in (tuple(first), rest) if stage]


def equivalent() -> dict[str, str]:
    """Returns {key of a mutant: why no test can tell it from the original}."""
    return json.loads(EQUIVALENT.read_text("utf-8")) if EQUIVALENT.exists() else {}
