"""`m3it eval` at the command line: answers, scores, and what is refused."""

import dataclasses
import json
import pathlib

import pytest
import tiny_assistant

from m3it_jax import checkpointing
from m3it_jax.cli import main

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tiny_assistant.write_run(tmp_path_factory.mktemp("runs") / "run")


def words(run_folder, data, out, *more: str) -> list[str]:
    return ["eval", str(run_folder), "--data", str(data), "--out", str(out), "--limit", "4", *more]


def test_scores_stand_beside_their_controls_and_can_be_made_again(run_folder, one_source, tmp_path, capsys):
    out, again = tmp_path / "eval", tmp_path / "again.json"
    assert main.main(words(run_folder, one_source, out, "--controls", "--max-new-tokens", "3")) == 0
    assert "digit" in capsys.readouterr().out
    first = json.loads((out / "scores.json").read_text())
    assert set(first["subgroups"]) <= {"language", "length", "wording"}
    metric = first["tasks"]["digit"]["exact_match"]
    assert metric["n"] == 2 and set(metric["controls"]) == {"blank", "shuffled", "majority"}
    options = ("--controls", "--max-new-tokens", "3", "--rescore", "--json", str(again))
    assert main.main(words("no model is read", one_source, out, *options)) == 0
    assert json.loads(again.read_text()) == first


def test_a_dry_run_counts_and_writes_nothing(run_folder, one_source, tmp_path, capsys):
    assert main.main(words(run_folder, one_source, tmp_path / "eval", "--dry-run", "--tasks", "digit")) == 0
    assert "2 records in 1 variants, 0 answers" in capsys.readouterr().out
    assert not (tmp_path / "eval").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--tasks", "digitt"), 2, "digit-parity"),
        (("--split", "train2"), 2, "train2"),
        (("--max-new-tokens", "0"), 2, "0"),
        (("--rescore",), 1, "no answer to score"),
    ],
)
def test_mistakes_are_named(run_folder, one_source, tmp_path, capsys, exit_code, more, code, message):
    assert exit_code(words(run_folder, one_source, tmp_path / "eval", *more)) == code
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_no_data_folder_is_one_line(run_folder, tmp_path, capsys):
    assert main.main(words(run_folder, tmp_path / "gone", tmp_path / "eval")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "gone" in line


def test_scoring_again_refuses_other_data_and_another_split(run_folder, one_source, tmp_path, capsys):
    out = tmp_path / "eval"
    assert main.main(words(run_folder, one_source, out, "--max-new-tokens", "1")) == 0
    capsys.readouterr()
    assert main.main(words(run_folder, one_source, out, "--rescore", "--split", "validation")) == 1
    assert "another data" in capsys.readouterr().err
    lock = json.loads((out / "lock.json").read_text())
    lock["data"]["fingerprint"] = "other"
    (out / "lock.json").write_text(json.dumps(lock))
    assert main.main(words(run_folder, one_source, out, "--rescore")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "another data" in line


def test_more_questions_later_leave_the_controls_of_fewer_out(run_folder, one_source, tmp_path, capsys):
    out = tmp_path / "eval"
    options = ("--max-new-tokens", "1", "--tasks", "digit")
    assert main.main([*words(run_folder, one_source, out, *options, "--controls"), "--limit", "1"]) == 0
    assert main.main(words(run_folder, one_source, out, *options)) == 0
    assert "digit: left out, for want of answers: blank (1)" in capsys.readouterr().out
    assert json.loads((out / "scores.json").read_text())["tasks"]["digit"]["exact_match"]["controls"] == {}


def test_a_file_in_the_place_of_the_folder_is_one_line(run_folder, one_source, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main.main(words(run_folder, one_source, tmp_path / "file")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written" in line


def test_json_that_cannot_be_written_is_told_before_the_work(run_folder, one_source, tmp_path, capsys):
    assert main.main(words(run_folder, one_source, tmp_path / "eval", "--json", str(tmp_path))) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is a folder" in line and not (tmp_path / "eval").exists()


def test_the_parameters_are_restored_once(run_folder, one_source, tmp_path, monkeypatch):
    restored = []
    restore = checkpointing.restore_params
    monkeypatch.setattr(checkpointing, "restore_params", lambda path: restored.append(path) or restore(path))
    assert main.main(words(run_folder, one_source, tmp_path / "eval", "--max-new-tokens", "1")) == 0
    assert len(restored) == 1


@pytest.fixture(scope="module")
def knowledge(tiny, tmp_path_factory):
    """Twelve questions of okvqa's validation split, ten of whose references are those of single people."""
    rows = [
        dataclasses.replace(
            tiny.instance("ones", number),
            id=f"okvqa-{number}",
            source="okvqa",
            task="knowledge_vqa",
            meta={"group": f"g{number}", "references": ["red"] * 6 + ["blue"] * 4},
        )
        for number in range(12)
    ]
    return tiny.write_folder(tmp_path_factory.mktemp("knowledge"), {"okvqa": rows}).path


def test_a_suite_prints_the_papers_figures_beside_ours_and_is_scored_again_from_its_lock(
    run_folder, knowledge, tmp_path, capsys
):
    suite, out = str(CONFIGS / "eval_paper.py"), tmp_path / "eval"
    command = words(run_folder, knowledge, out, "--max-new-tokens", "2")
    assert main.main([*command, "--suite", suite]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("okvqa") and "27.5" in line]
    assert "9.1" in line and "(rougeL, 4)" in line
    assert "needs the public weights and data: a-okvqa, viquae, flickr8k-cn" in printed
    first = json.loads((out / "scores.json").read_text())
    assert set(first["tasks"]["okvqa"]) == {"rougeL"} and first["suite"]["rows"][0]["n"] == 4
    assert main.main([*command, "--rescore"]) == 0
    again = json.loads((out / "scores.json").read_text())
    assert again["tasks"] == first["tasks"]
    assert main.main(words(run_folder, knowledge, out, "--split", "validation")) == 1
    assert "another data" in capsys.readouterr().err


def test_without_a_suite_a_source_is_scored_by_its_own_metric(run_folder, knowledge, tmp_path):
    out = tmp_path / "eval"
    assert main.main(words(run_folder, knowledge, out, "--max-new-tokens", "2", "--split", "validation")) == 0
    assert next(iter(json.loads((out / "scores.json").read_text())["tasks"]["okvqa"])) == "vqa_accuracy"


def test_a_suite_beside_a_split_and_a_suite_without_its_sources_are_refused(run_folder, one_source, tmp_path, capsys):
    suite = ("--suite", str(CONFIGS / "eval_paper.py"))
    assert main.main(words(run_folder, one_source, tmp_path / "eval", *suite, "--split", "test")) == 2
    assert "--split" in capsys.readouterr().err
    assert main.main(words(run_folder, one_source, tmp_path / "eval", *suite)) == 1
    assert "none of the suite's sources" in capsys.readouterr().err.splitlines()[-1]
