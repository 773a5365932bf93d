"""The page in a real browser: what it sends, shows and refuses, by keyboard, narrow, dark, and from right to left."""

import json
import os
import pathlib
import threading

import chromium_driver
import pages_in_chromium
import pytest
import tiny_assistant
import tiny_server

HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script> </script>"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    asked = [
        {"source": "a", "task": "vqa", "num_images": 1, "instruction": "What colour is the circle?", "inputs": HOSTILE},
        {"source": "b", "task": "chinese", "num_images": 1, "instruction": "这是什么颜色？", "inputs": ""},
    ]
    templates = {"captioning": ("Describe the picture.", "صف الصورة"), "vqa": ("Answer the question.", HOSTILE)}
    about = {"variant": "tiny", "step": 7, "parameters": 81_700_000, "device": "cpu"}
    with tiny_server.running(
        key=None, asked=tuple(asked), templates=templates, about=about, most_bytes=4 << 20
    ) as made:
        yield made


@pytest.fixture(scope="module")
def chromium():
    if not pages_in_chromium.browser():
        pytest.skip("needs chromium on PATH: apt-get install chromium")
    with chromium_driver.browser() as made:
        yield made


@pytest.fixture
def page(server, chromium):
    chromium.requests.clear()
    chromium.problems.clear()
    chromium.open(server.url)
    chromium.wait("document.getElementById('model').textContent === 'tiny'")
    yield chromium
    assert all(one.startswith((server.url, "data:", "blob:")) for one in chromium.requests), chromium.requests
    assert chromium.run("document.title") != "broken"


@pytest.fixture
def picture(tmp_path) -> pathlib.Path:
    path = tmp_path / (HOSTILE.replace("/", "") + ".png")
    path = path if len(path.name) < 200 else tmp_path / "picture.png"
    path.write_bytes(tiny_assistant.png(5))
    return path


ANSWERED = "document.querySelectorAll('.turn.assistant').length === {} && !document.querySelector('.going')"


def _ask(page, text: str, number: int) -> str:
    page.run("document.getElementById('question').focus()")
    page.type(text)
    page.key("Enter", text="\r")
    page.wait(ANSWERED.format(number))
    return page.run("[...document.querySelectorAll('.turn.assistant .text')].at(-1).textContent")


def _set(page, name: str, value: object) -> None:
    page.run(f"document.getElementById('{name}').value = {json.dumps(value)}")


def test_a_picture_a_question_and_a_follow_up(page, server, picture):
    page.choose("#files", picture)
    page.wait("document.querySelectorAll('#tray img').length === 1")
    assert page.run("document.getElementById('count').textContent") == "1 picture"
    _set(page, "max-tokens", 12)
    said = _ask(page, "What colour?", 1)
    assistant = tiny_assistant.make()
    wanted = assistant.generate("What colour?", images=[tiny_assistant.png(5)], max_new_tokens=12)
    assert said == (wanted or "(no text)")
    again = _ask(page, "left or right", 2)
    turns = [{"instruction": "What colour?", "outputs": wanted, "new_pictures": 1}]
    if not page.run("document.getElementById('history').checked"):
        turns = []
    shown = {"images": [tiny_assistant.png(5)], "max_new_tokens": 12}
    assert again == assistant.generate("left or right", turns=turns, **shown)
    assert "tokens for" in page.run("[...document.querySelectorAll('.note')].at(-1).textContent")
    assert page.problems == []


def test_markup_stays_text(page):
    _set(page, "max-tokens", 3)
    _ask(page, HOSTILE, 1)
    assert page.run("document.querySelector('.turn.user .text').textContent") == HOSTILE
    assert page.run("document.querySelectorAll('main img, main script').length") == 0
    assert HOSTILE in page.run("document.getElementById('examples').textContent")
    assert page.run("document.title") == "tiny · m3it"


def test_an_answer_is_stopped_and_its_row_is_free(page, server):
    release = threading.Event()
    server.service.engine._inbox.put(release.wait)
    try:
        page.run("document.getElementById('question').focus()")
        page.type("What colour?")
        page.key("Enter", text="\r")
        page.wait("!document.getElementById('stop').hidden")
        page.key("Escape")
        page.wait(ANSWERED.format(1))
        assert "stopped" in page.run("document.querySelector('.assistant .note').textContent")
    finally:
        release.set()
    deadline_free = "fetch('metrics').then(r => r.text()).then(t => t.includes('m3it_answers_pending 0'))"
    page.wait(deadline_free)


def test_a_refusal_is_shown_and_the_question_comes_back(page, tmp_path):
    _ask_text = "word " * 900
    page.run("document.getElementById('question').focus()")
    page.type(_ask_text)
    page.key("Enter", text="\r")
    page.wait("document.getElementById('error').textContent.includes('maximum context length')")
    assert page.run("document.getElementById('question').value") == _ask_text.strip()
    assert page.run("document.querySelectorAll('.turn').length") == 0
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    page.choose("#files", broken)
    page.wait("document.getElementById('error').textContent.includes('broken.png')")


def test_other_formats_and_large_pictures_are_sent_as_png(page, tmp_path):
    from PIL import Image

    Image.new("RGB", (5000, 100), "green").save(tmp_path / "wide.bmp")
    Image.new("P", (30, 30)).save(tmp_path / "a.gif")
    page.choose("#files", tmp_path / "wide.bmp", tmp_path / "a.gif")
    page.wait("document.querySelectorAll('#tray img').length === 2")
    assert page.run("state.tray.every(one => one.url.startsWith('data:image/png;base64,'))")
    assert page.run("state.tray[0].width") == 2048
    _set(page, "max-tokens", 3)
    _ask(page, "What colour?", 1)
    assert page.run("document.getElementById('error').textContent") == ""


def test_all_of_it_by_keyboard(page):
    seen = []
    for _ in range(30):
        page.key("Tab")
        seen.append(page.run("document.activeElement.id || document.activeElement.tagName"))
    wanted = ["A", "new", "save", "log", "question", "files", "send", "task", "template", "use"]
    assert [one for one in seen if one in wanted][: len(wanted)] == wanted
    page.run("document.getElementById('template').focus()")
    page.run("document.getElementById('use').focus()")
    page.key("Enter", text="\r")
    assert page.run("document.activeElement.id") == "question"
    assert page.run("document.getElementById('question').value") == "Describe the picture."


def test_copied_programs_hold_the_request(page, picture):
    page.choose("#files", picture)
    page.wait("document.querySelectorAll('#tray img').length === 1")
    page.run("document.getElementById('question').focus()")
    page.type('What\'s "this"?')
    page.run("document.getElementById('copy-python').click()")
    page.wait("document.getElementById('code').value.includes('openai.OpenAI')")
    code = page.run("document.getElementById('code').value")
    compile(code, "copied.py", "exec")
    body = json.loads(code.split('r"""')[1].split('"""')[0])
    assert body["messages"][0]["content"][1]["text"] == 'What\'s "this"?'
    page.run("document.getElementById('copy-curl').click()")
    page.wait("document.getElementById('code').value.startsWith('curl ')")
    curl = page.run("document.getElementById('code').value")
    assert json.loads(curl.split("<<'JSON'\n")[1].removesuffix("\nJSON\n")) == body


@pytest.mark.parametrize(
    ("name", "width", "is_dark", "query"),
    [("wide", 1200, False, ""), ("dark", 1200, True, ""), ("phone", 320, False, ""), ("rtl", 1000, False, "?dir=rtl")],
)
def test_nothing_serious_is_found_and_nothing_scrolls_sideways(server, chromium, picture, name, width, is_dark, query):
    chromium.open(f"{server.url}/{query}", width=width, is_dark=is_dark)
    chromium.wait("document.getElementById('model').textContent === 'tiny'")
    chromium.choose("#files", picture)
    chromium.wait("document.querySelectorAll('#tray img').length === 1")
    _set(chromium, "max-tokens", 5)
    _ask(chromium, "What colour is the circle? صف الصورة", 1)
    chromium.choose("#files", picture)
    chromium.wait("document.querySelectorAll('#tray img').length === 1")
    chromium.run("document.querySelector('#tray figure button').click()")
    chromium.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert chromium.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    if os.environ.get("M3IT_SCREENSHOTS"):
        chromium.screenshot(pathlib.Path(os.environ["M3IT_SCREENSHOTS"]) / f"{name}.png")
    if not pages_in_chromium.axe():
        pytest.skip("needs M3IT_AXE=axe.min.js (npm pack axe-core)")
    chromium.command("Page.setBypassCSP", enabled=True)
    assert chromium.findings() == []
