"""What a run folder holds belongs to its checkpoints: free before the first one, held fast afterwards."""

import json
import pathlib

import pytest

from m3it_jax import errors, schema
from m3it_jax.config import Experiment
from m3it_jax.training import run_folder


def save_something(run_dir: pathlib.Path) -> None:
    (run_dir / "checkpoints" / "3").mkdir(parents=True)


def stored(run_dir: pathlib.Path) -> dict:
    return json.loads((run_dir / "config.json").read_text("utf-8"))


def test_a_refused_first_try_leaves_the_folder_free(tmp_path) -> None:
    run_folder.write_config(Experiment(trainable=(("vitt/.*", True),)), tmp_path)
    (tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp-0").mkdir(parents=True)  # a save that was cut off
    run_folder.write_config(Experiment(seed=1), tmp_path)
    assert stored(tmp_path)["seed"] == 1
    save_something(tmp_path)
    with pytest.raises(errors.ConfigError, match="seed=2: .* holds a run with 1"):
        run_folder.write_config(Experiment(seed=2), tmp_path)


def test_a_run_with_checkpoints_keeps_what_it_started_from(tmp_path) -> None:
    run_folder.write_config(Experiment(init_from={"vit": "runs/a"}), tmp_path)
    run_folder.write_config(Experiment(init_from={"vit": "runs/b"}), tmp_path)
    save_something(tmp_path)
    with pytest.raises(errors.ConfigError, match="init_from.vit='runs/c': .* holds a run with 'runs/b'"):
        run_folder.write_config(Experiment(init_from={"vit": "runs/c"}), tmp_path)
    assert stored(tmp_path)["init_from"] == {"vit": "runs/b"}


def test_where_the_data_lies_is_free_and_how_it_is_read_is_not(tmp_path) -> None:
    run_folder.write_config(Experiment(), tmp_path)
    save_something(tmp_path)
    moved = Experiment()
    moved.data.path, moved.data.tokenizer, moved.log.every = "elsewhere", "package:mini", 3
    run_folder.write_config(moved, tmp_path)
    assert stored(tmp_path)["data"]["path"] == "elsewhere"
    moved.data.max_images = 3
    with pytest.raises(errors.ConfigError, match="data.max_images=3"):
        run_folder.write_config(moved, tmp_path)


def test_the_tokenizer_is_that_of_the_checkpoints(tmp_path) -> None:
    first, second = tmp_path / "first.model", tmp_path / "second.model"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    run = tmp_path / "run"
    run.mkdir()
    run_folder.write_env(run, first)
    run_folder.write_env(run, second)
    assert (run / "tokenizer.model").read_bytes() == b"second"
    save_something(run)
    run_folder.write_env(run, second)
    with pytest.raises(errors.UserError, match=r"run/tokenizer\.model: differs from .*first\.model.* has checkpoints"):
        run_folder.write_env(run, first)
    assert (run / "tokenizer.model").read_bytes() == b"second"


def test_a_run_of_an_older_version_has_the_new_fields_as_they_behaved(tmp_path) -> None:
    run_folder.write_config(Experiment(), tmp_path)
    old = stored(tmp_path)
    del old["samples"], old["data"]["validation_share"], old["data"]["train_on_held_out"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    save_something(tmp_path)
    run_folder.write_config(Experiment(), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(old))
    changed = Experiment()
    changed.data.validation_share = 0.2
    with pytest.raises(errors.ConfigError, match=r"data\.validation_share=0\.2: .* holds a run with 0\.0"):
        run_folder.write_config(changed, tmp_path)


def test_asked_tells_the_first_question_and_the_turns(tmp_path) -> None:
    turns = [{"instruction": "What is it?", "outputs": "a car"}]
    fields = {"task": "vqa", "language": "en", "instruction": "Which colour?", "inputs": "", "outputs": "red"}
    records = [
        schema.Instance(id=source, source=source, images=(b"png",), meta=meta, **fields)
        for source, meta in (("talks", {"turns": turns}), ("ones", {}))
    ]
    run_folder.write_asked(records, tmp_path)
    rows = json.loads((tmp_path / "asked.json").read_text("utf-8"))
    assert [(row["instruction"], row["num_turns"]) for row in rows] == [("What is it?", 2), ("Which colour?", 1)]


def test_every_difference_is_found_on_whichever_side_a_name_stands():
    old = {"a": 1, "b": {"x": 1, "y": [2]}, "gone": {"z": 3}}
    new = {"a": 1, "b": {"x": 2, "y": [2], "new": None}, "later": 4}
    found = list(run_folder._differences(old, new, ""))
    assert found == [("b.x", 1, 2), ("gone", {"z": 3}, None), ("later", None, 4)]
    assert list(run_folder._differences(new, new, "")) == []


def test_a_run_and_what_it_started_from_may_move_together(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    start = Experiment(init_from={"all": str(before / "stage1")})
    (before / "stage2").mkdir(parents=True)
    run_folder.write_config(start, before / "stage2")
    save_something(before / "stage2")
    before.rename(after)
    run_folder.write_config(Experiment(init_from={"all": str(after / "stage1")}), after / "stage2")
    for other in (after / "stage0", tmp_path / "elsewhere" / "stage1", after):
        with pytest.raises(errors.ConfigError, match=r"init_from\.all=.*: .* holds a run with"):
            run_folder.write_config(Experiment(init_from={"all": str(other)}), after / "stage2")


def test_one_part_may_not_take_the_place_of_another_beside_the_run(tmp_path):
    (tmp_path / "run").mkdir()
    run_folder.write_config(Experiment(init_from={"vit": "runs/towers/vit"}), tmp_path / "run")
    save_something(tmp_path / "run")
    with pytest.raises(errors.ConfigError, match=r"init_from\.vit"):
        run_folder.write_config(Experiment(init_from={"vit": str(tmp_path / "other" / "vit")}), tmp_path / "run")
