"""What released code and transformers make of conversations -> tests/golden/conversations.json.

Run in the reference environment:
  python tests/reference/make_conversations.py LLAVA MINIGPT4
  python tests/reference/make_conversations.py --chat-template

LLAVA and MINIGPT4 are clones of haotian-liu/LLaVA and Vision-CAIR/MiniGPT-4 (c121f043 and d94738a7 in the stored file).
Their own functions are run, taken out of their files by name since the files import whole training stacks: LLaVA's
templates, `tokenizer_image_token` and `preprocess_v1`, which also says what its training counts; MiniGPT-4's templates.
`--chat-template` prints what transformers makes of the hub's chat template alone, for the test that compares with it.
"""

import ast
import json
import pathlib
import sys
import tempfile
import types

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[1] / "golden"
PICTURE = -200  # LLaVA, llava/constants.py: IMAGE_TOKEN_INDEX

# Turns as (question, answer, new pictures).
CONVERSATIONS = [
    [("What is in the picture?", "A red car.", 1)],
    [("What is it?", "A red car.", 1), ("Which colour has it?", "Red", 0)],
    [("Look.", "I see two.", 2), ("And here?", "It's a dog, isn't it?", 1), ("Why?", 'It barks: "wuff".', 0)],
    [("这是什么？", "一辆红色的车。", 1), ("什么颜色？", "红色", 0)],
    [("Two\nlines", "one two  three", 1), ("  spaces ", "x", 0), ("z", "Ende gut.", 0), ("q?", "a", 0)],
]

# tokenizer.json of llava-hf/llava-1.5-7b-hf.
PUBLISHED = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        ],
    },
    "pre_tokenizer": None,
}

# chat_template.json of llava-hf/llava-1.5-7b-hf.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def tokenizer_of(name: str) -> transformers.PreTrainedTokenizerBase:
    """Returns a stored small tokenizer."""
    return transformers.AutoTokenizer.from_pretrained(ROOT / "hf" / name)


def published() -> transformers.PreTrainedTokenizerFast:
    """Returns the small vocabulary of LLaVA with the settings of the hub's file for LLaVA-1.5.

    They put a space before the text behind each special token, which the small one, made by transformers 5, does not.
    """
    made = json.loads((ROOT / "hf/llava/tokenizer.json").read_text(encoding="utf-8")) | PUBLISHED
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(made), encoding="utf-8")
        names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path), **names)
    tokenizer.pad_token = tokenizer.unk_token  # train.py, for version v1
    tokenizer.legacy = True
    return tokenizer


def taken(path: pathlib.Path, names: tuple[str, ...], values: dict) -> types.SimpleNamespace:
    """Returns the named functions, classes and constants of a file; `values` are the names that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wanted = [
        node
        for node in tree.body
        if getattr(node, "name", None) in names
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in names)
    ]
    space = dict(values)
    exec(compile(ast.Module(wanted, []), str(path), "exec"), space)  # noqa: S102  (the reference's own code)
    return types.SimpleNamespace(**{name: space[name] for name in names})


def llava(clone: pathlib.Path) -> dict:
    """Returns ids and labels as LLaVA's training makes them; label -100 is not counted, id -200 is a picture."""
    talk = taken(
        clone / "llava/conversation.py",
        ("SeparatorStyle", "Conversation", "conv_vicuna_v1"),
        {name: __import__(module).__dict__[name] for module, name in (("enum", "Enum"), ("enum", "auto"))}
        | {"dataclasses": __import__("dataclasses"), "List": list, "Tuple": tuple},
    )
    tokenizer = published()
    reads = taken(
        clone / "llava/mm_utils.py", ("tokenizer_image_token",), {"IMAGE_TOKEN_INDEX": PICTURE, "torch": torch}
    )
    library = types.SimpleNamespace(default_conversation=talk.conv_vicuna_v1, SeparatorStyle=talk.SeparatorStyle)
    names = {"conversation_lib": library, "tokenizer_image_token": reads.tokenizer_image_token, "torch": torch}
    names |= {"transformers": transformers, "Dict": dict, "IGNORE_INDEX": -100, "IS_TOKENIZER_GREATER_THAN_0_14": True}
    train = taken(clone / "llava/train/train.py", ("preprocess_v1",), names)
    rows = []
    for turns in CONVERSATIONS:
        said = []
        for question, answer, pictures in turns:
            said.append({"from": "human", "value": "<image>\n" * pictures + question})
            said.append({"from": "gpt", "value": answer})
        made = train.preprocess_v1([said], tokenizer, has_image=True)
        rows.append({"ids": made["input_ids"][0].tolist(), "labels": made["labels"][0].tolist()})
    return {"tokenizer": PUBLISHED, "rows": rows}


def minigpt4(clone: pathlib.Path) -> dict:
    """Returns the ids of the prompt before the last answer, -200 for a picture, as MiniGPT-4's `Chat` makes them.

    The space that its later code has behind the last "Assistant:" is left out, as its first release does.
    """
    talk = taken(
        clone / "minigpt4/conversation/conversation.py",
        ("SeparatorStyle", "Conversation", "CONV_VISION_Vicuna0"),
        {name: __import__(module).__dict__[name] for module, name in (("enum", "Enum"), ("enum", "auto"))}
        | {"dataclasses": __import__("dataclasses"), "List": list, "Tuple": tuple, "Any": object},
    )
    tokenizer = tokenizer_of("llama")
    rows = []
    for turns in CONVERSATIONS:
        conversation = talk.CONV_VISION_Vicuna0.copy()
        for question, answer, pictures in turns:
            shown = " ".join(["<Img><ImageHere></Img>"] * pictures)
            conversation.append_message(conversation.roles[0], " ".join(filter(None, [shown, question])))
            conversation.append_message(conversation.roles[1], answer)
        conversation.messages[-1][1] = None
        segments = conversation.get_prompt().rstrip().split("<ImageHere>")
        ids: list[int] = []
        for number, segment in enumerate(segments):  # get_context_emb of minigpt4/models/minigpt_base.py
            ids += [PICTURE] * bool(number) + tokenizer(segment, add_special_tokens=number == 0).input_ids
        rows.append({"ids": ids})
    return {"rows": rows}


def blip2() -> dict:
    """Returns the ids of the prompt before the last answer in the words of LAVIS' notebook for BLIP-2 with OPT."""
    tokenizer = tokenizer_of("blip2_opt")
    rows = []
    for turns in CONVERSATIONS:
        before = "".join(f"Question: {question} Answer: {answer}. " for question, answer, _ in turns[:-1])
        rows.append({"ids": tokenizer(f"{before}Question: {turns[-1][0]} Answer:").input_ids})
    return {"rows": rows}


def ying_vlm() -> dict:
    """Returns the ids of each question in the words of YING-VLM's inference_example.py, and those of each answer.

    The released code asks one question; what a conversation looks like is a choice of ours (docs/prompts.md).
    """
    tokenizer = tokenizer_of("ying_vlm")

    def encoded(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids

    rows = []
    for turns in CONVERSATIONS:
        asked = [encoded(f"\n<human>:\n{question}\n\n<bot>:\n") for question, _, _ in turns]
        rows.append({"asked": asked, "said": [encoded(" ".join(answer.split("\n"))) for _, answer, _ in turns]})
    return {"rows": rows}


def chat_template() -> dict:
    """Returns text and ids of the prompt before the last answer by the hub's chat template for LLaVA.

    The template has a space where LLaVA's own has the end id, between an answer and the next turn; `ended_ids` are
    those with the end id there.
    """
    tokenizer = published()
    tokenizer.chat_template = CHAT_TEMPLATE
    rows = []
    for turns in CONVERSATIONS:
        messages = []
        for question, answer, pictures in turns:
            parts = [{"type": "image"}] * pictures + [{"type": "text", "text": question}]
            messages.append({"role": "user", "content": parts})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        text = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        ended = text.replace(" USER:", "</s>USER:")  # as transformers' page on LLaVA writes several turns
        rows.append({"text": text, "ids": tokenizer(text).input_ids, "ended_ids": tokenizer(ended).input_ids})
    return {"placeholder": tokenizer.convert_tokens_to_ids("<image>"), "rows": rows}


def main() -> None:
    """Writes the file, or prints what the chat template gives."""
    transformers.logging.set_verbosity_error()
    if sys.argv[1:] == ["--chat-template"]:
        sys.stdout.write(json.dumps({"conversations": CONVERSATIONS, **chat_template()}))
        return
    clones = [pathlib.Path(argument) for argument in sys.argv[1:]]
    golden = {
        "transformers": transformers.__version__,
        "conversations": CONVERSATIONS,
        "llava": llava(clones[0]),
        "llava_chat_template": chat_template(),
        "minigpt4": minigpt4(clones[1]),
        "blip2": blip2(),
        "ying_vlm": ying_vlm(),
    }
    (ROOT / "conversations.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
