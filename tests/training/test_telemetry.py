"""What a run tells: means of sums, files that a resumed run continues, and lines that come seldom."""

import io
import json

import numpy as np
import pytest

from m3it_jax.training import telemetry


def test_means_are_sums_by_counts_and_sources_get_their_names() -> None:
    sums = {
        "train/loss": np.array([6.0, 4.0]),
        "train/nothing": np.array([0.0, 0.0]),
        "train/loss/source": np.array([[2.0, 1.0], [0.0, 0.0], [9.0, 2.0], [5.0, 1.0]]),
    }
    found = telemetry.means(sums, ["cats", "none", "dogs"])
    assert found == {"train/loss": 1.5, "train/loss/cats": 2.0, "train/loss/dogs": 4.5}


def test_lines_after_the_step_that_a_run_resumes_from_and_torn_ones_are_dropped(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    kept = '{"step": 2, "x": 1}\n{"step": 4}\n'
    path.write_text(kept + '{"step": 6}\n{"x": 1}\n[3]\nno json\n{"step": 1}', "utf-8")  # the last is torn
    lines = telemetry.JsonLines(path, last_step=4)
    lines.write(5, {"y": 0.5})
    assert path.read_text("utf-8") == kept + '{"step": 5, "y": 0.5}\n'  # before it is closed
    lines.close()
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_each_figure_goes_to_its_file(tmp_path) -> None:
    told = telemetry.Telemetry(tmp_path, start_step=0, num_steps=9, source_names=["a", "b"])
    told.write(3, {"train/loss": np.array([4.0, 2.0]), "train/loss/source": np.array([[1.0, 1.0], [3.0, 1.0]])}, 0.25)
    told.write_validation(3, {"train/loss": np.ones(2), "data/pad_share": np.array([1.0, 4.0])}, ["b"])
    told.write_validation(3, {"train/loss/source": np.array([[7.0, 1.0]])}, ["b"])
    told.write_perf(3, {"perf/step_s": 0.5})
    told.close()
    metrics, perf = (
        [json.loads(line) for line in (tmp_path / name).read_text("utf-8").splitlines()]
        for name in (telemetry.METRICS_FILE, telemetry.PERF_FILE)
    )
    assert metrics == [
        {"step": 3, "train/loss": 2.0, "train/loss/a": 1.0, "train/loss/b": 3.0, "train/learning_rate": 0.25},
        {"step": 3, "validation/loss": 1.0, "validation/pad_share": 0.25},
        {"step": 3, "validation/loss/b": 7.0},
    ]
    assert perf == [{"step": 3, "perf/step_s": 0.5}]
    assert list((tmp_path / "tb").iterdir())


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(telemetry.time, "monotonic", lambda: now[0])
    return now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_a_line_comes_each_five_seconds_and_at_the_end(clock) -> None:
    stream = io.StringIO()
    line = telemetry.ProgressLine(0, 100, stream)
    line.begin()
    for step, second in ((1, 60.0), (2, 64.9), (3, 65.0), (4, 69.9), (51, 90.0), (100, 91.0)):
        clock[0] = 100.0 + second
        line.show(step, {"train/loss": step / 2})
    line.close()
    assert stream.getvalue().splitlines() == [
        "step 1/100 loss 0.5000",
        "step 3/100 loss 1.5000, 4.0 min left",  # 97 steps at 2.5 s: what came before the first step does not count
        "step 51/100 loss 25.5000, 0.5 min left",
        "step 100/100 loss 50.0000",
    ]


@pytest.mark.parametrize(("seconds", "told"), [(2.9, ""), (3.0, "saving: 3 s\n"), (65.4, "saving: 65 s\n")])
def test_a_long_wait_is_told_afterwards(clock, seconds: float, told: str) -> None:
    stream = io.StringIO()
    with telemetry.ProgressLine(0, 9, stream).waiting("saving"):
        clock[0] += seconds
    assert stream.getvalue() == told


def test_a_terminal_shows_the_step_the_wait_and_how_long_it_has_been(clock) -> None:
    stream = Terminal()
    line = telemetry.ProgressLine(2, 10, stream)

    def shown() -> str:
        stream.seek(0)
        stream.truncate()
        line._rewrite()
        return stream.getvalue()

    assert shown() == "\r\x1b[Kstep 2/10"
    line.count(3)
    line.show(3, {"train/loss": 0.25})
    clock[0] += 5.0
    assert shown() == "\r\x1b[Kstep 3/10 loss 0.2500"
    clock[0] += 1.0
    assert shown() == "\r\x1b[Kstep 3/10 loss 0.2500, 6 s since the last step"
    line.count(5)
    assert shown() == "\r\x1b[Kstep 5/10 loss 0.2500, 0.2 min left"  # 2 steps took 6 s, 5 are left
    clock[0] += 6.0
    with line.waiting("validating"):
        clock[0] += 2.0
        assert shown() == "\r\x1b[Kstep 5/10 loss 0.2500, 0.6 min left, validating ... 2 s"
    clock[0] += 4.0
    assert "since" not in shown()  # counted anew
