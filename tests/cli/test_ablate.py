"""`m3it ablate`: which runs a study has, that it goes on, and the whole of a small one."""

import json
import pathlib

import pytest

from m3it_jax.cli import main

CONFIG = str(pathlib.Path(__file__).parents[2] / "configs" / "tiny.py")


def words(kind, folder, out, *more) -> list[str]:
    sizes = ["--data.max_text_len=80", "--data.max_response_len=40", "--num_steps=2", "--optimizer.warmup_steps=1"]
    return ["ablate", kind, CONFIG, "--run-dir", str(out), f"--data.path={folder.path}", *sizes, *more]


@pytest.fixture
def made(monkeypatch):
    """The commands that a study runs, instead of running them; an evaluation scores 10 for each source trained on."""
    commands = []

    def instead(argv):
        if argv[0] not in ("train", "eval"):
            return real(argv)
        commands.append(argv)
        if argv[0] == "eval":
            out = pathlib.Path(argv[argv.index("--out") + 1])
            out.mkdir(parents=True, exist_ok=True)
            value = 10.0 * len(commands)
            entry = {"tasks": {"t": {"rougeL": {"value": value}}}, "skills": {"t": {"metric": "rougeL"}}}
            (out / "scores.json").write_text(json.dumps(entry))
        return codes.pop(0) if codes else 0

    codes: list[int] = []
    real = main.main
    monkeypatch.setattr(main, "main", instead)
    return commands, codes, real


def test_tasks_are_nested_subsets_with_the_budget_of_all(made, folder, tmp_path, capsys):
    commands, _, run = made
    assert run(words("tasks", folder, tmp_path / "s", "--counts", "1", "2", "4", "--seeds", "0", "1")) == 0
    trained = [command for command in commands if command[0] == "train"]
    assert len(trained) == 6 and len(commands) == 12
    mixtures = [json.loads(next(w for w in command if w.startswith("--data.mixture"))[15:]) for command in trained]
    assert [len(mixture) for mixture in mixtures] == [1, 2, 4, 1, 2, 4]
    assert set(mixtures[0]) < set(mixtures[1]) < set(mixtures[2]) and mixtures[2]["ones"] == 40.0
    assert all("--num_steps=2" in command for command in trained)
    assert [next(w for w in command if w.startswith("--seed=")) for command in trained] == ["--seed=0"] * 3 + [
        "--seed=1"
    ] * 3
    study = json.loads((tmp_path / "s" / "ablation.json").read_text())
    assert [point["count"] for point in study["curve"]] == [1, 2, 4] and study["spread"] is not None
    assert (tmp_path / "s" / "curve.svg").read_text().startswith("<svg")
    assert "| 4 |" in capsys.readouterr().out


def test_instructions_are_fewer_in_a_folder_of_links_and_evaluation_reads_the_data(made, folder, tmp_path):
    commands, _, run = made
    more = ("--counts", "1", "--split", "validation", "--limit", "2", "--tasks", "captioning")
    assert run(words("instructions", folder, tmp_path / "s", *more)) == 0
    train, evaluate = commands
    few = tmp_path / "s" / "seed0" / "instructions1" / "data"
    assert f"--data.path={few}" in train and str(folder.path) in evaluate
    assert evaluate[-6:] == ["--tasks", "captioning", "--split", "validation", "--limit", "2"]
    assert {
        len(source["instructions"]) for source in json.loads((few / "m3it.json").read_text())["sources"].values()
    } == {1}


def test_no_task_is_the_model_that_training_begins_from(made, folder, tmp_path, capsys):
    commands, _, run = made
    assert run(words("tasks", folder, tmp_path / "s", "--dry-run")) == 0
    captured = capsys.readouterr()
    assert "without 0 tasks" in captured.err and "tasks4" in captured.out and "tasks0" not in captured.out
    assert run(words("tasks", folder, tmp_path / "s", "--counts", "0", "1", "--init_from.all=runs/one")) == 0
    assert [command[0] for command in commands] == ["eval", "train", "eval"] and commands[0][1] == "runs/one"


def test_a_run_that_stops_stops_the_study_with_its_code(made, folder, tmp_path):
    commands, codes, run = made
    codes += [0, 0, 130]
    assert run(words("tasks", folder, tmp_path / "s", "--counts", "1", "2")) == 130
    assert len(commands) == 3 and len(json.loads((tmp_path / "s" / "ablation.json").read_text())["points"]) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--counts", "5"), "--counts 5: must be from 0 to 4"),
        (("--counts", "0"), "--init_from.all"),
        (("--data.nope=3",), "data.nope"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(made, folder, tmp_path, capsys, more, message):
    _, _, run = made
    assert run(words("tasks", folder, tmp_path / "s", *more)) == 2
    assert message in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_small_study_trains_evaluates_and_goes_on_where_it_is(tiny, tmp_path, capsys):
    # Rows of one picture alone: both runs of the study are the same compiled programs.
    rows = {name: [tiny.instance(name, number) for number in range(8)] for name in ("ones", "more-ones")}
    folder = tiny.write_folder(tmp_path / "data", rows)
    command = words("tasks", folder, tmp_path / "s", "--counts", "1", "2", "--split", "validation", "--limit", "1")
    assert main.main(command) == 0
    first = json.loads((tmp_path / "s" / "ablation.json").read_text())
    assert [point["count"] for point in first["points"]] == [1, 2]
    assert all(0 <= point["mean"] <= 100 and point["scores"] for point in first["points"])
    assert main.main(command) == 0
    assert json.loads((tmp_path / "s" / "ablation.json").read_text()) == first
