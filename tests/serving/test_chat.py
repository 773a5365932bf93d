import io

import tiny_assistant

from m3it_jax.generation.request import SamplingConfig
from m3it_jax.serving import chat
from m3it_jax.serving.conversation import Conversation


def talk(*lines):
    conversation = Conversation(tiny_assistant.make(), history=0, sampling=SamplingConfig(max_new_tokens=3))
    out, notes = io.StringIO(), io.StringIO()
    num_failed = chat.talk(conversation, [f"{line}\n" for line in lines], out=out, notes=notes)
    return num_failed, out.getvalue(), notes.getvalue(), conversation


def test_each_instruction_gives_one_line_and_commands_none(tmp_path):
    path = tmp_path / "my picture.png"
    tiny_assistant.picture().save(path)
    failed, out, notes, conversation = talk(f'/image "{path}"', "What colour?", "", "left or right", "/help")
    assert failed == 0
    assert out.count("\n") == 2
    assert "1 picture shown" in notes and "/video FILE" in notes
    assert conversation.num_pictures == 1


def test_a_video_is_eight_pictures_and_new_forgets_them(tmp_path):
    path = tmp_path / "film.gif"
    first, *others = (tiny_assistant.picture(number) for number in range(10))
    first.save(path, save_all=True, append_images=others)
    assert talk(f"/video {path}")[3].num_pictures == 8
    assert talk(f"/video {path}", "/new")[3].num_pictures == 0


def test_image_replaces_what_was_shown_and_add_adds(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        tiny_assistant.picture(number).save(path)
    shown = talk(f"/image {paths[0]} {paths[1]}", f"/image {paths[2]}", "/image gone.png")[3]
    assert [picture.name for picture in shown._pictures] == [str(paths[2])]
    shown = talk(f"/image {paths[0]}", f"/add {paths[2]}", "/add gone.png")[3]
    assert [picture.name for picture in shown._pictures] == [str(paths[0]), str(paths[2])]


def test_pictures_that_are_replaced_take_their_turns_along(tmp_path):
    path = tmp_path / "picture.png"
    tiny_assistant.picture().save(path)
    assert talk("What colour?")[3]._turns
    assert not talk("What colour?", f"/image {path}")[3]._turns
    assert talk("What colour?", f"/add {path}")[3]._turns


def test_a_stopped_answer_ends_its_line_and_is_no_turn():
    conversation = Conversation(tiny_assistant.make(), history=0, sampling=SamplingConfig(max_new_tokens=3))
    out = io.StringIO()
    stopped = iter([True, False, False, False, False])
    lines = ["What colour?\n", "left or right\n"]
    chat.talk(conversation, lines, out=out, notes=io.StringIO(), is_stopped=lambda: next(stopped))
    first, second = out.getvalue().splitlines()
    assert first == "" and second
    assert [turn.instruction for turn, _ in conversation._turns] == ["left or right"]


def test_mistakes_are_told_in_one_line_each_and_the_talk_goes_on():
    failed, out, notes, _ = talk("/image gone.png", "/image", "/dance", '/image "half', "What colour?")
    assert failed == 4
    assert len(notes.splitlines()) == 4 and "gone.png" in notes and "/dance" in notes
    assert out.count("\n") == 1


def test_quit_ends_the_talk():
    assert talk("/quit", "What colour?")[1] == ""


def test_a_line_that_is_no_utf8_and_a_video_that_is_too_large_do_not_end_the_talk(tmp_path):
    path = tmp_path / "film.gif"
    tiny_assistant.picture().save(path)
    data = bytearray(path.read_bytes())
    data[6:10] = b"\x20\x4e\x20\x4e"  # 20,000 x 20,000 pixels by its header
    path.write_bytes(data)
    failed, out, notes, _ = talk("caf\udce9?", f"/video {path}", "What colour?")
    assert failed == 2
    assert "no UTF-8" in notes and "film.gif" in notes and len(notes.splitlines()) == 2
    assert out.count("\n") == 1


def asked_row(**changes):
    row = {"source": "digits", "task": "vqa", "num_images": 1, "instruction": "Answer.", "inputs": "which digit?"}
    return row | changes


def test_the_banner_has_one_line_of_each_task_first_and_says_what_else_there_is():
    rows = [asked_row(source=f"vqa-{number}") for number in range(9)]
    rows.append(asked_row(source="film", task="video", num_images=8, inputs="which way?\nleft or right"))
    lines = chat.asked_in_training(rows).splitlines()
    assert [line for line in lines if "Answer. which way? left or right  (film, 8 pictures)" in line]
    assert len(lines) == 1 + 8 + 1 and "2 more: /examples" in lines[-1]
    assert "(vqa-0, 1 picture)" in lines[1]
    assert len(chat.asked_in_training(rows, most=10).splitlines()) == 11
    assert "does not say" in chat.asked_in_training([])


def test_examples_is_a_command():
    conversation = Conversation(tiny_assistant.make(), history=0, sampling=SamplingConfig(max_new_tokens=3))
    notes = io.StringIO()
    failed = chat.talk(conversation, ["/examples\n"], out=io.StringIO(), notes=notes, asked=[asked_row()])
    assert failed == 0 and "which digit?" in notes.getvalue()
