import json

import pytest

from m3it_jax.checkpoint_conversion.folders import chat_templates

# chat_template.json of llava-hf/llava-1.5-7b-hf: it leaves out the sentence before the first turn.
OF_THE_HUB = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
ALIKE = (
    "{{ bos_token }}A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. {% for m in messages %}{% if m['role'] == 'user' %}"
    "USER: <image>\n{{ m['content'] }}{% else %}{{ ' ASSISTANT: ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
PLACES = {
    "chat_template.jinja": lambda text: text,
    "chat_template.json": lambda text: json.dumps({"chat_template": text}),
    "processor_config.json": lambda text: json.dumps({"chat_template": text, "num_query_tokens": 3}),
    "tokenizer_config.json": lambda text: json.dumps({"chat_template": [{"name": "default", "template": text}]}),
}


@pytest.mark.parametrize("name", PLACES)
def test_other_wording_is_told_wherever_it_stands(tmp_path, name):
    (tmp_path / name).write_text(PLACES[name](OF_THE_HUB))
    note = chat_templates.note(tmp_path, "llava")
    assert (
        note.startswith(f"{name}: its chat template words questions in another way than 'llava'") and "\n" not in note
    )
    (tmp_path / name).write_text(PLACES[name](ALIKE))
    assert chat_templates.note(tmp_path, "llava") == ""
    assert chat_templates.note(tmp_path, "ying_vlm") != ""


@pytest.mark.parametrize(
    "change",
    [
        ("USER:", "Human:"),
        ("helpful, ", ""),
        ("polite answers", "polite answers [INST]"),
        ("USER: ", "ASSISTANT: "),
    ],
)
def test_one_word_is_enough(tmp_path, change):
    (tmp_path / "chat_template.jinja").write_text(ALIKE.replace(*change))
    assert chat_templates.note(tmp_path, "llava")


def test_a_folder_without_one_has_nothing_to_tell(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": None}))
    assert chat_templates.note(tmp_path, "blip2") == ""
