"""Wrong configurations are refused before JAX is imported, with the key and the nearest valid one."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

from m3it_jax import config as config_lib
from m3it_jax import errors
from m3it_jax.cli import configuration

GOOD = """
from m3it_jax import config

PRESETS = ("mini", "full_size")

def get_config(preset=""):
    return config.Experiment(init_from={"all": "runs/x"})
"""

FIELDS = dict(configuration.field_types())


def _double(word: str) -> str:
    return word[: len(word) // 2] + word[len(word) // 2 - 1] + word[len(word) // 2 :]


def _misspelled() -> list[tuple[str, str, str]]:
    """(override, key in the message, nearest valid key) for each field: a letter lost, one doubled, a wrong end."""
    cases = []
    for path in FIELDS:
        section, _, name = path.rpartition(".")
        prefix = section + "." if section else ""
        for wrong in {name[:-1], _double(name), name + "_x"} - {"b"}:  # b is as near to b1 as to b2
            cases.append((f"--{prefix}{wrong}=1", prefix + wrong, path))
    return sorted(cases)


WRONG_TYPE = {int: ("ten", "1.5", ""), float: ("fast", "1,5"), bool: ("maybe", "2")}


def _wrong_types() -> list[tuple[str, str, str]]:
    return [
        (f"--{path}={value}", path, f"of type {hint.__name__}")
        for path, hint in FIELDS.items()
        for value in WRONG_TYPE.get(hint, ())
    ]


# (override, key in the message, what is allowed)
WRONG_VALUE = [
    ("--optimizer.accumulation=0", "optimizer.accumulation", "above 0"),
    ("--seed=-1", "seed", "0 or more"),
    ("--num_steps=0", "num_steps", "above 0"),
    ("--objective=respons", "objective", "response"),
    ("--model.variant=minni", "model.variant", "mini"),
    ("--model.variant=", "model.variant", "mini"),
    ("--model.compute_dtype=float16", "model.compute_dtype", "bfloat16"),
    ("--model.frozen_dtype=int8", "model.frozen_dtype", "float32"),
    ("--data.path=", "data.path", "path of a data folder"),
    ("--data.split=tests", "data.split", "train"),
    ("--data.global_batch_size=0", "data.global_batch_size", "above 0"),
    ("--data.max_images=-3", "data.max_images", "above 0"),
    ("--data.max_text_len=0", "data.max_text_len", "above 0"),
    ("--data.max_response_len=0", "data.max_response_len", "above 0"),
    ("--data.max_response_len=4000", "data.max_response_len", "data.max_text_len"),
    ("--data.picture_as=caption", "data.picture_as", "captions"),
    ("--data.augment.shift=2", "data.augment.shift", "from 0 to 1"),
    ("--data.augment.scale=1", "data.augment.scale", "from 0 up to but not 1"),
    ("--data.augment.rotate=181", "data.augment.rotate", "180 degrees"),
    ("--data.augment.wave=-0.1", "data.augment.wave", "from 0 to 1"),
    ("--data.augment.jitter=1.5", "data.augment.jitter", "from 0"),
    ("--optimizer.name=adam", "optimizer.name", "adamw"),
    ("--optimizer.learning_rate=0", "optimizer.learning_rate", "above 0"),
    ("--optimizer.learning_rate=nan", "optimizer.learning_rate", "finite"),
    ("--optimizer.learning_rate=inf", "optimizer.learning_rate", "finite"),
    ("--optimizer.matrix_learning_rate=-1", "optimizer.matrix_learning_rate", "above 0"),
    ("--optimizer.warmup_steps=-1", "optimizer.warmup_steps", "0 or more"),
    ("--optimizer.warmup_steps=101", "optimizer.warmup_steps", "num_steps"),
    ("--optimizer.decay=cosin", "optimizer.decay", "cosine"),
    ("--optimizer.hold_share=1", "optimizer.hold_share", "from 0 up to but not 1"),
    ("--optimizer.end_share=1.1", "optimizer.end_share", "from 0 to 1"),
    ("--optimizer.weight_decay=-0.1", "optimizer.weight_decay", "0 or more"),
    ("--optimizer.b1=1", "optimizer.b1", "not 1"),
    ("--optimizer.b2=1", "optimizer.b2", "not 1"),
    ("--optimizer.epsilon=0", "optimizer.epsilon", "above 0"),
    ("--optimizer.clip_norm=0", "optimizer.clip_norm", "above 0"),
    ("--mesh.data=0", "mesh.data", "-1"),
    ("--mesh.fsdp=-1", "mesh", "at most one"),
    ("--mesh.tensor=-2", "mesh.tensor", "-1"),
    ("--mesh.rules=fdsp", "mesh.rules", "fsdp"),
    ("--checkpoint.every=0", "checkpoint.every", "above 0"),
    ("--checkpoint.keep=0", "checkpoint.keep", "above 0"),
    ("--log.every=0", "log.every", "above 0"),
    ("--data.mixture.shapes-vqa=0", "data.mixture['shapes-vqa']", "above 0"),
    ("--data.temperature=0.5", "data.temperature=0.5", "1 or more"),
    ("--data.temperature=nan", "data.temperature=nan", "finite"),
    ("--data.temperature=1e999", "data.temperature", "finite"),
    ("--data.source_cap=-1", "data.source_cap=-1", "0 or more"),
    ("--data.mixture.shapes-vqa=much", "data.mixture.shapes-vqa", "of type float"),
    ("--data.mixture.shapes-vqa=inf", "data.mixture", "float"),
    ("--data.mixture=shapes-vqa", "data.mixture", "--data.mixture.NAME=value"),
    ("--data.mixture=['shapes-vqa']", "data.mixture", '{"NAME": 1}'),
    ("--data.mixture={'shapes-vqa': 'much'}", "data.mixture", "dict[str, float]"),
    ("--data.mixture={'shapes-vqa': 0}", "data.mixture['shapes-vqa']", "above 0"),
    ("--data.mixture={'viquae': 1}", "viquae", "--data.train_on_held_out=true"),
    ("--data.validation_share=1", "data.validation_share", "not 1"),
    ("--data.path=gs://bucket/data", "data.path=gs://bucket/data", "mount the bucket"),
    ("--data.tokenizer=gs://bucket/t.model", "data.tokenizer", "is an address"),
    ("--model.variant=s3://bucket/run", "model.variant=s3://bucket/run", "is an address"),
    ("--init_from.vit=gs://bucket/run", "init_from.vit", "is an address"),
    ("--samples.every=-1", "samples.every", "0 or more"),
    ("--samples.num_records=0", "samples.num_records", "above 0"),
    ("--validation.every=-1", "validation.every", "0 or more"),
    ("--init_from=runs/a", "init_from", "--init_from.NAME=value"),
    ("--init_from.vitt=runs/a", "init_from['vitt']", "vit"),
    ("--init_from.vit=runs/a", "init_from", "no other part may stand beside it"),
    ("--trainable=()", "trainable", "at least one"),
    ("--trainable=vit", "trainable", "Python literal"),
    ("--trainable=(('vit',),)", "trainable", "tuple[tuple[str, bool], ...]"),
    ("--trainable=(('vit', 1),)", "trainable", "tuple[tuple[str, bool], ...]"),
    ("--trainable=[('vit', True)]", "trainable", "tuple[tuple[str, bool], ...]"),
    ("--trainable=(('(', True),)", "trainable", "regular expression"),
    ("--trainable=(('.*', False),)", "trainable", "nothing would be trained"),
    ("--optimizer=adamw", "optimizer", "--optimizer.name"),
    ("--model=mini", "model", "--model.variant"),
    ("--data.augment=none", "data.augment", "--data.augment.shift"),
    ("--seed.value=1", "seed.value", "seed"),
    ("--lr=1", "lr", "optimizer.learning_rate"),
    ("--optimizer.lr=1", "optimizer.lr", "optimizer.learning_rate"),
    ("--learning_rate=1", "learning_rate", "optimizer.learning_rate"),
    ("--batch_size=1", "batch_size", "data.global_batch_size"),
    ("--steps=1", "steps", "num_steps"),
    ("--variant=mini", "variant", "model.variant"),
    ("--num_steps", "num_steps", "--path.to.field=value"),
    ("num_steps=5", "num_steps=5", "--path.to.field=value"),
]

OVERRIDES = _misspelled() + _wrong_types() + WRONG_VALUE

# (what the config file says, key in the message, what is allowed or nearest)
FILES = [
    ("c = config.Experiment(); c.optimizer.lr = 1.0", "optimizer.lr", "optimizer.learning_rate"),
    ("c = config.Experiment(); c.num_stepz = 1", "num_stepz", "num_steps"),
    ("c = config.Experiment(num_steps='10')", "num_steps='10'", "of type int"),
    ("c = config.Experiment(num_steps=10.0)", "num_steps=10.0", "of type int"),
    ("c = config.Experiment(seed=True)", "seed=True", "of type int"),
    ("c = config.Experiment(model='mini')", "model='mini'", "ModelConfig"),
    ("c = config.Experiment(model=None)", "model=None", "ModelConfig"),
    ("c = config.Experiment(trainable=[('.*', True)])", "trainable", "tuple"),
    ("c = config.Experiment(init_from=None)", "init_from=None", "dict"),
    ("c = config.Experiment(init_from={'vit': 3})", "init_from", "dict[str, str]"),
    ("c = config.Experiment(steps=10)", "steps", "TypeError"),
    ("c = None", "get_config returned NoneType", "config.Experiment"),
    ("c = {'num_steps': 1}", "get_config returned dict", "config.Experiment"),
    ("import nonesuch; c = 1", "nonesuch", "ModuleNotFoundError"),
    ("c = 1 / 0", "line 4", "ZeroDivisionError"),
    ("c = (", "line", "SyntaxError"),
    ("raise SystemExit(0)", "line 4", "SystemExit"),
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("configs") / "good.py"
    path.write_text(GOOD)
    return path


def test_table_holds_200_wrong_configurations():
    assert len(OVERRIDES) + len(FILES) >= 200
    assert len({text for text, _, _ in OVERRIDES}) == len(OVERRIDES)


@pytest.mark.parametrize(("text", "key", "allowed"), OVERRIDES, ids=[text for text, _, _ in OVERRIDES])
def test_wrong_override_names_key_and_nearest_valid(good, text, key, allowed):
    start = time.perf_counter()
    with pytest.raises(errors.ConfigError) as caught:
        configuration.load(f"{good}:mini", [text])
    assert key in str(caught.value)
    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(("body", "key", "allowed"), FILES, ids=[body for body, _, _ in FILES])
def test_wrong_file_names_key_and_what_is_allowed(tmp_path, body, key, allowed):
    path = tmp_path / "wrong.py"
    path.write_text(f"from m3it_jax import config\n\ndef get_config(preset=''):\n    {body}\n    return c\n")
    with pytest.raises(errors.ConfigError) as caught:
        configuration.load(str(path))
    assert key in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{folder}/god.py", ["god.py", "nearest", "good.py"]),
        ("{folder}/good", ["good", "nearest"]),
        ("{folder}", ["does not exist"]),
        ("{folder}/good.py:minni", ["minni", "nearest 'mini'", "full_size"]),
    ],
)
def test_wrong_file_or_preset_names_the_nearest(good, spec, words):
    with pytest.raises(errors.ConfigError) as caught:
        configuration.load(spec.format(folder=good.parent))
    assert all(word in str(caught.value) for word in words), caught.value


def test_file_without_presets_says_so(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("from m3it_jax import config\n\ndef get_config():\n    return config.Experiment()\n")
    assert configuration.load(str(path)).num_steps == config_lib.Experiment().num_steps
    with pytest.raises(errors.ConfigError, match="no presets"):
        configuration.load(f"{path}:mini")


def test_only_the_same_folder_and_configs_are_searched_for_a_wrong_file(tmp_path, monkeypatch):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "nopes.py").write_text("")
    (tmp_path / "other.py").write_text("")
    monkeypatch.chdir(tmp_path / "deep")
    with pytest.raises(errors.ConfigError, match=r"nearest: '\S+/other\.py'"):
        configuration.load(str(tmp_path / "nope.py"))
    (tmp_path / "deep" / "configs" / "mini").mkdir(parents=True)
    (tmp_path / "deep" / "configs" / "mini" / "nope.py").write_text("")
    with pytest.raises(errors.ConfigError, match=r"nearest: 'configs/mini/nope\.py'"):
        configuration.load("mini/nope.py")
    monkeypatch.setattr(pathlib.Path, "glob", lambda *_: (_ for _ in ()).throw(FileNotFoundError("gone")))
    with pytest.raises(errors.ConfigError, match=r"does not exist; give a file such as configs/tiny\.py"):
        configuration.load(str(tmp_path / "nope.py"))


@pytest.mark.parametrize("presets", ["3", "'mini'", "(1, 2)", "None"])
def test_presets_that_are_no_names_are_told(tmp_path, presets):
    path = tmp_path / "wrong.py"
    path.write_text(f"PRESETS = {presets}\ndef get_config(preset=''): pass\n")
    with pytest.raises(errors.ConfigError, match=r"wrong\.py: PRESETS=.*: must be a tuple of names"):
        configuration.load(f"{path}:mini")


def test_a_file_that_ends_the_program_is_told(tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(errors.ConfigError, match=r"leaves\.py, line 2: SystemExit: 0"):
        configuration.load(str(path))


def test_right_overrides_reach_their_fields(good):
    config = configuration.load(
        str(good),
        [
            "--num_steps=7",
            "--optimizer.warmup_steps=0",
            "--optimizer.learning_rate=2",
            "--data.redraw_instructions=false",
            "--data.path=a folder=with equals",
            "--data.mixture.shapes-vqa=2",
            "--data.mixture.digits=0.5",
            "--init_from.all=",
            "--init_from.vit=package:mini",
            "--trainable=(('vit/.*', False), ('.*', True))",
            "--num_steps=8",
        ],
    )
    assert config.num_steps == 8, "the last of two overrides holds"
    assert config.optimizer.learning_rate == 2.0 and isinstance(config.optimizer.learning_rate, float)
    assert config.data.redraw_instructions is False
    assert config.data.path == "a folder=with equals"
    assert config.data.mixture == {"shapes-vqa": 2.0, "digits": 0.5}
    assert config.init_from == {"vit": "package:mini"}, "an empty value removes the entry"
    assert config.trainable == (("vit/.*", False), (".*", True))


def test_a_whole_table_replaces_the_one_of_the_file(good):
    texts = ["--data.mixture.old=2", '--data.mixture={"mine": 1, "ours": 0.5}', "--init_from={'vit': 'package:mini'}"]
    config = configuration.load(str(good), texts)
    assert config.data.mixture == {"mine": 1.0, "ours": 0.5}
    assert config.init_from == {"vit": "package:mini"}
    assert configuration.load(str(good), [*texts, "--data.mixture={}"]).data.mixture == {}


def test_the_variant_is_inherited_where_weights_are_named(good):
    assert configuration.load(str(good), ["--model.variant=inherit"]).model.variant == "inherit"
    with pytest.raises(errors.ConfigError, match=r"init_from\.all"):
        configuration.load(str(good), ["--model.variant=inherit", "--init_from.all="])


def test_every_check_of_the_configuration_is_a_field():
    assert set(config_lib.CHECKS) <= set(FIELDS)


PROGRAM = """
import json, sys, time
from m3it_jax.cli import main
slowest, codes = 0.0, set()
for text in json.load(sys.stdin):
    start = time.perf_counter()
    codes.add(main.main(["train", sys.argv[1], "--run-dir", sys.argv[2], text]))
    slowest = max(slowest, time.perf_counter() - start)
heavy = [name for name in ("jax", "tensorflow", "flax", "numpy") if name in sys.modules]
print(json.dumps({"slowest": slowest, "codes": sorted(codes), "heavy": heavy}))
"""


def test_program_refuses_each_before_jax_is_imported(good, tmp_path):
    run_dir = tmp_path / "run"
    texts = [text for text, _, _ in OVERRIDES if text.startswith("--")]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(good), str(run_dir)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)
    assert found["codes"] == [2]
    assert found["slowest"] < 2
    assert not [name for name in found["heavy"] if name != "numpy"], "an error is told before the heavy imports"
    assert len(result.stderr.splitlines()) == len(texts), "one line for each"
    assert "Traceback" not in result.stderr
    assert not run_dir.exists(), "nothing is written for a wrong configuration"
