import io

from m3it_jax import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_track_yields_everything_in_order(capsys):
    assert list(progress.track(iter("abc"), label="letters")) == ["a", "b", "c"]
    assert "letters: 3" in capsys.readouterr().err


def test_plain_lines_come_seldom_and_tell_the_time_left(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with progress.Progress(50, "records", stream) as shown:
        for _ in range(20):
            shown.update()
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= 8
    assert "/50" in lines[1] and "s left" in lines[1]


def test_the_time_left_is_counted_from_the_first_work(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    shown = progress.Progress(101, "records", stream)
    now[0] = 100.0  # a long start-up
    shown.update_to(1)
    now[0] = 110.0
    shown.update_to(51)
    assert "about 10 s left" in stream.getvalue().splitlines()[-1]


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with progress.Progress(2, "records", stream) as shown:
        shown.update(2)
    assert "100%" in stream.getvalue()


def test_a_line_is_not_said_twice(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with progress.Progress(2, "records", stream) as shown:
        now[0] = 6.0
        shown.update(2)
    assert stream.getvalue().splitlines() == ["records: 2/2, 0.3/s, 6 s"]


def test_no_time_left_is_told_from_the_first_few_units(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    shown = progress.Progress(40_000, "records", stream)
    now[0] = 4.0
    shown.update_to(1)
    now[0] = 6.0
    shown.update_to(2)  # at this rate it would take a day
    assert "left" not in stream.getvalue()
    now[0] = 12.0
    shown.update_to(20_000)
    assert "about 8 s left" in stream.getvalue()


def test_waiting_lives_on_a_terminal_and_says_nothing_elsewhere(monkeypatch):
    monkeypatch.setattr(progress, "_BEAT", 0.01)
    stream = Terminal()
    with progress.Waiting("compiling", stream):
        progress.time.sleep(0.1)
    assert stream.getvalue().count("compiling ... 0 s") >= 3
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for stream, told in ((Terminal(), True), (io.StringIO(), False)):
        with progress.Waiting("compiling", stream):
            now[0] += 12.3
        assert ("compiling: 12 s\n" in stream.getvalue()) is told
    assert stream.getvalue() == ""
