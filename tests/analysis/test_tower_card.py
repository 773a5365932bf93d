"""The card of packed towers tells every run that a part went through, and refuses what is not finished."""

import json
import pathlib

import numpy as np
import pytest

from m3it_jax import checkpointing, errors
from m3it_jax.analysis import tower_card


def make_run(folder: pathlib.Path, config: str, *, init_from: dict[str, str] | None = None, **changes) -> pathlib.Path:
    step = changes.get("step", 40)
    (folder / "checkpoints" / str(step) / "params").mkdir(parents=True)
    resolved = {
        "num_steps": 40,
        "seed": 3,
        "model": {"variant": changes.get("variant", "tiny")},
        "data": {"split": "train", "mixture": {"b": 1.0, "a": 2.0}},
        "init_from": init_from or {},
    }
    lines = [
        {"step": 20, "validation/loss": 2.0},
        {"step": 20, "train/loss": 1.0},
        {"step": 40, "validation/loss": 0.5},
    ]
    perf = [{"step": step, "perf/step_s": seconds} for step, seconds in ((10, 9.0), (25, 0.25), (40, 0.5))]
    (folder / "config.json").write_text(json.dumps(resolved))
    (folder / "env.json").write_text(json.dumps({"command": ["m3it", "train", config, "--run-dir", str(folder)]}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "perf.jsonl").write_text("".join(json.dumps(line) + "\n" for line in perf))
    (folder / "tokenizer.model").write_bytes(b"pieces")
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch) -> dict[str, pathlib.Path]:
    monkeypatch.setattr(
        checkpointing, "load_part", lambda source, part: {f"{part}/kernel": np.full((2, 2), 1.5, np.float32)}
    )
    vit = make_run(tmp_path / "vit", "configs/mini/vit.py")
    first = make_run(tmp_path / "first", "configs/mini/qformer.py", init_from={"vit": str(vit)})
    starts = {"vit": str(vit), "qformer": str(first)}
    second = make_run(tmp_path / "second", "configs/mini/qformer_captions.py", init_from=starts)
    return {"vit": vit, "qformer": second, "decoder": make_run(tmp_path / "decoder", "configs/mini/decoder.py")}


def test_a_part_tells_all_its_runs_in_their_order(runs, tmp_path) -> None:
    card = tower_card.pack(runs, tmp_path / "out")
    told = [run["config"] for run in card["parts"]["qformer"]["runs"]]
    assert told == ["configs/mini/qformer.py", "configs/mini/qformer_captions.py"]
    assert card == json.loads((tmp_path / "out" / "card.json").read_text())
    run = card["parts"]["vit"]["runs"][0]
    assert (run["steps"], run["seed"], run["split"], run["sources"]) == (40, 3, "train", ["a", "b"])
    assert run["seconds"] == 40 * 0.5  # a slow minute counts little
    assert run["validation"] == {"validation/loss": 0.5}  # the last one


def test_the_page_names_no_folder_of_the_machine(runs, tmp_path) -> None:
    tower_card.pack(runs, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert str(tmp_path) not in page + (tmp_path / "out" / "card.json").read_text()
    assert page.index("configs/mini/qformer.py") < page.index("configs/mini/qformer_captions.py")
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == b"pieces"


def test_a_run_that_is_not_finished_is_refused_wherever_it_stands(runs, tmp_path) -> None:
    unfinished = make_run(tmp_path / "half", "configs/mini/qformer.py", step=20)
    last = make_run(tmp_path / "last", "configs/mini/qformer_captions.py", init_from={"qformer": str(unfinished)})
    with pytest.raises(errors.UserError, match="half: stands at step 20 of 40"):
        tower_card.pack({**runs, "qformer": last}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_starts_from_the_package_has_no_history_to_tell(runs, tmp_path) -> None:
    last = make_run(tmp_path / "last", "configs/mini/qformer_captions.py", init_from={"qformer": "package:mini"})
    with pytest.raises(errors.UserError, match="last: its qformer starts from package:mini and not from a run"):
        tower_card.pack({**runs, "qformer": last}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_of_different_variants_are_refused(runs, tmp_path) -> None:
    other = make_run(tmp_path / "other", "configs/mini/decoder.py", variant="mini")
    with pytest.raises(errors.UserError, match="different variants"):
        tower_card.pack({**runs, "decoder": other}, tmp_path / "out")
