import pytest

from m3it_jax.dataset_building.publishers import raw, video, video_questions
from m3it_jax.dataset_building.specification import Rejected, RowError, SourceSpec

SPEC = SourceSpec("toys", "video", "en", "video/question", lambda *_: iter(()), {})
ROWS = [(f"q[{number}]", {"video": f"v{number // 5}", "question": number}) for number in range(200)]


def chosen(seed: int = 0, rows=ROWS) -> list[tuple[str, dict]]:
    return list(video_questions.one_each(rows, SPEC, "train", seed=seed, field="video"))


def test_one_question_of_each_video_at_random():
    rows = chosen()
    assert [row["video"] for _, row in rows] == [f"v{number}" for number in range(40)]
    places = [row["question"] % 5 for _, row in rows]
    assert set(places) == set(range(5))
    assert rows == chosen() != chosen(seed=1)


def test_a_damaged_row_stands_for_itself():
    bad = Rejected("q[1]", "not-json", "is no JSON")
    assert bad in chosen(rows=[bad, *ROWS])
    assert ("q[9]", 7) in chosen(rows=[("q[9]", 7), *ROWS])


def test_a_video_is_found_whatever_its_container(tmp_path):
    folder = raw.RawFolder(SPEC, {"toys": tmp_path})
    (tmp_path / "a.webm").touch()
    (tmp_path / "b.avi").touch()
    assert video_questions.fetched(folder, ("a",)) == video.VideoFile((tmp_path,), "a.webm")
    assert video_questions.fetched(folder, ("none", "b"), (1.0, 2.0)) == video.VideoFile((tmp_path,), "b.avi", (1, 2))
    with pytest.raises(RowError, match="there is no c nor d") as caught:
        video_questions.fetched(folder, ("c", "d"))
    assert caught.value.reason == "picture-missing"
    with pytest.raises(RowError) as caught:
        video_questions.fetched(folder, ("../x",))
    assert caught.value.reason == "path-outside"


def draft(question="what?", answers=("ball",)):
    clip = video.VideoFile((), "a.mp4")
    return video_questions.draft(
        SPEC, clip, question=question, answers=answers, group="a", origin="1", origin_split="val"
    )


def test_the_answer_given_most_often_is_wanted_and_all_are_right():
    found = draft(answers=("a ball", "ball ", "", "ball", "sphere"))
    assert found.outputs == "ball" and found.references == ("ball", "a ball", "sphere")
    assert draft(answers=("x", "y")).references == ("x", "y")


@pytest.mark.parametrize(
    ("fields", "reason"), [({"question": " "}, "empty-question"), ({"answers": ("", " ")}, "empty-answer")]
)
def test_empty_texts_are_told(fields, reason):
    with pytest.raises(RowError) as caught:
        draft(**fields)
    assert caught.value.reason == reason
