"""Instance -> (prompt, response) text; the only place that knows how each family of models is asked.

Drawn for instruction "What is this?" and no inputs (`⏎` is a newline, `P` a picture, `<s>` and `</s>` the ids of begin
and end, which the row layout adds; what stands in a box is text of the record or of the model):

    ying_vlm         <Img>P</Img><s>⏎<human>:⏎[What is this?]⏎⏎<bot>:⏎            [a blue circle]⏎</s>
    blip2            P<s>Question: [What is this?] Answer:                        [a blue circle]⏎
    blip2_t5         P Question: [What is this?] Short answer:</s>                [a blue circle]</s>
    instructblip     P<s>[What is this?]                                          [a blue circle]</s>
    instructblip_t5  P[What is this?]</s>                                         [a blue circle]</s>
    minigpt4         <s>Give ... questions.###Human: <Img>P</Img> [What is this?]###Assistant:  [a blue circle]###
    llava            <s>A chat ... questions. USER: P⏎[What is this?] ASSISTANT:  [a blue circle]</s>
                     '------------------------- prompt -----------------------''--- response ---'

A conversation is one turn after another, each with its answer. The answer "a circle" and the question after it:

    ying_vlm         [a circle]⏎⏎<human>:⏎[Which colour?]⏎⏎<bot>:⏎
    blip2            [a circle]. Question: [Which colour?] Answer:
    blip2_t5         [a circle]. Question: [Which colour?] Short answer:
    instructblip*    [a circle]⏎[Which colour?]
    minigpt4         [a circle]###Human: [Which colour?]###Assistant:
    llava            [a circle]</s>USER: [Which colour?] ASSISTANT:
"""

import dataclasses
import re
from collections.abc import Mapping

from m3it_jax import schema

# Raised with every change of wording below: a model trained with one template must not be asked with another.
TEMPLATE_VERSION = 1

# A place in an instruction that a row fills, such as `[HYPO]` (M3IT.py of the released data set, e-SNLI-VE).
SLOT = re.compile(r"\[([A-Z][A-Z_]+)\]")

_LINE_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")


@dataclasses.dataclass(frozen=True)
class PromptFormat:
    """How one family of models is asked, and how it answers.

    Attributes:
      turn: Text of one turn; `{question}` is what is asked and, in formats with pictures inside, `{pictures}` the
        pictures of this turn.
      system: Text before the first turn.
      between: Text before every later turn, behind the answer of the turn before it.
      has_end_between: The end id stands between that answer and this text.
      picture_open: Text before each picture.
      picture_close: Text after each picture.
      has_pictures_inside: True: pictures stand where the turn says, as text goes on around them. False: all pictures
        stand before the begin id, each with its marks encoded on their own.
      has_texts_alone: The reference encodes the text behind a picture on its own, as if all text began there; elsewhere
        it stands behind a special token.
      inputs_separator: Text between the instruction and the inputs.
      keeps_empty_inputs: The separator stays when there are no inputs.
      has_begin_id: The text begins with the begin id.
      has_prompt_end_id: The prompt ends with the end id, as the encoder of an encoder-decoder model has it.
      answer_begin: Text between the prompt and the answer.
      answer_end: Text after the answer, which training counts.
      has_end_id: The end id follows that text.
      has_one_line: A newline ends an answer, so those inside a wanted answer become spaces.
      stops: Texts at which a generated answer is cut; generation ends there.
      speaker: What a model may write in front of its answer; only what follows its last occurrence is the answer.
      qformer_reads_prompt: The Q-Former reads the prompt's text beside the picture.
    """

    turn: str
    system: str = ""
    between: str = ""
    has_end_between: bool = False
    picture_open: str = ""
    picture_close: str = ""
    has_pictures_inside: bool = False
    has_texts_alone: bool = False
    inputs_separator: str = "\n"
    keeps_empty_inputs: bool = False
    has_begin_id: bool = True
    has_prompt_end_id: bool = False
    answer_begin: str = ""
    answer_end: str = ""
    has_end_id: bool = True
    has_one_line: bool = False
    stops: tuple[str, ...] = ()
    speaker: str = ""
    qformer_reads_prompt: bool = False

    def segments(self, turn: schema.Turn, *, is_first: bool = True, system: str = "") -> list[str]:
        """Returns the text of one turn up to its answer, cut at each picture that stands inside it.

        Args:
          turn: What is asked, and how many pictures are new in it.
          is_first: No turn stands before it.
          system: What was said before all turns; empty takes the format's own. Only the first turn shows it: in place
            of the format's own, or where a format has none, as a line before the instruction.

        Returns:
          One text more than there are pictures inside it; a single one if pictures stand before the begin id.
        """
        separator = self.inputs_separator if turn.inputs or self.keeps_empty_inputs else ""
        question = f"{turn.instruction}{separator}{turn.inputs}"
        before, _, after = self.turn.partition("{question}")
        begin = self.system if is_first else self.between
        if is_first and system:
            begin = system + self._system_end if self.system else ""
            question = question if self.system else f"{system}\n{question}"
        if not self.has_pictures_inside:
            return [f"{begin}{before}{question}{after}"]
        before, _, rest = before.partition("{pictures}")
        if not turn.new_pictures:
            return [f"{begin}{before}{rest}{question}{after}"]
        middle = [self.picture_close + self.picture_open] * (turn.new_pictures - 1)
        last = f"{self.picture_close}{rest}{question}{after}"
        return [f"{begin}{before}{self.picture_open}", *middle, last]

    @property
    def _system_end(self) -> str:
        """What stands behind a text said before all turns: what is between turns, or else a space (vicuna_v1)."""
        return self.between or " "

    def prompt(self, instruction: str, inputs: str) -> str:
        """Returns the text before the answer of a first turn without pictures."""
        return self.segments(schema.Turn(instruction, inputs))[0]

    def said(self, outputs: str) -> str:
        """Returns the text of an answer as it stands behind its prompt, without what ends it."""
        return f"{self.answer_begin}{one_line(outputs) if self.has_one_line else outputs.strip()}"

    def response(self, outputs: str) -> str:
        """Returns the wanted text after the prompt, as training counts it; the end id is the row layout's."""
        return self.said(outputs) + self.answer_end

    def cut(self, generated: str) -> str:
        """Returns what stands before the first stop in generated text."""
        for stop in self.stops:
            generated = generated.split(stop, 1)[0]
        return generated

    def answer(self, generated: str) -> str:
        """Returns the answer in generated text: what stands before the first stop, without its speaker's name."""
        cut = self.cut(generated)
        return (cut.rsplit(self.speaker, 1)[-1] if self.speaker else cut).strip()

    def settled(self, generated: str) -> str:
        """Returns the part of an unfinished answer that stays whatever follows: no stop may begin at its end."""
        cut = self.cut(generated)
        open_ends = (n for stop in self.stops for n in range(len(stop) - 1, 0, -1) if cut.endswith(stop[:n]))
        return cut[: len(cut) - max(open_ends, default=0)]


# YING-VLM inference_example.py (github.com/MMInstruction/YingVLM): its line of inputs stays when it is empty, its marks
# stand around each picture, the first newline ends the answer. The released code is for inference alone; that a wanted
# answer ends in a newline and the end id is our reading of it.
YING_VLM = PromptFormat(
    turn="\n<human>:\n{question}\n<bot>:\n",
    picture_open="<Img>",
    picture_close="</Img>",
    between="\n",
    keeps_empty_inputs=True,
    answer_end="\n",
    has_one_line=True,
    stops=("\n",),
)

# salesforce/LAVIS lavis/models/blip2_models/blip2_opt.py: pictures before the tokenizer's begin id, the newline is both
# the end of a training text and the id that ends generation. The wording of questions and of earlier turns is that of
# examples/blip2_instructed_generation.ipynb ("Question: {} Answer: {}." joined by spaces).
_BLIP2 = PromptFormat(
    turn="Question: {question} Answer:",
    between=". ",
    inputs_separator=" ",
    answer_begin=" ",
    answer_end="\n",
    has_end_id=False,
    has_one_line=True,
    stops=("\n",),
)

# .../blip2_t5.py and lavis/projects/blip2/eval/vqav2_zeroshot_flant5xl_eval.yaml (prompt "Question: {} Short answer:").
# The notebook above words longer answers as for OPT; the evaluation's wording is taken, since M3IT is evaluated.
_BLIP2_T5 = PromptFormat(
    turn="Question: {question} Short answer:",
    between=". ",
    inputs_separator=" ",
    has_begin_id=False,
    has_prompt_end_id=True,
)

# .../blip2_vicuna_instruct.py and blip2_t5_instruct.py: the instruction is the whole prompt, the Q-Former reads it too,
# a wanted answer ends with the end id. Nothing released has a second turn: CHOICE, a line for each.
_INSTRUCTBLIP = PromptFormat(turn="{question}", between="\n", answer_begin=" ", qformer_reads_prompt=True)

# Vision-CAIR/MiniGPT-4 minigpt4/conversation/conversation.py (CONV_VISION_Vicuna0) and Chat.answer in it. Its first
# release writes "Assistant:", later ones "Assistant: " and strip the prompt before they encode it: the same tokens.
# Several pictures: the code opens a Human turn for each; here they share one, as no model was trained with either.
# get_context_emb encodes the texts around pictures apart.
# The end "###" of a wanted answer is that of train_configs/minigpt4_stage2_finetune.yaml.
_MINIGPT4 = PromptFormat(
    turn="Human: {pictures}{question}###Assistant:",
    system="Give the following image: <Img>ImageContent</Img>. You will be able to see the image once I provide it to "
    "you. Please answer my questions.###",
    between="###",
    picture_open="<Img>",
    picture_close="</Img> ",
    has_pictures_inside=True,
    has_texts_alone=True,
    answer_begin=" ",
    answer_end="###",
    has_end_id=False,
    stops=("###",),
    speaker="Assistant:",
)

# haotian-liu/LLaVA llava/conversation.py (conv_vicuna_v1), which the model was trained with; the hub's card of
# llava-hf/llava-1.5-7b-hf leaves the sentence before the first turn out. The released code decides. Each picture is
# followed by a newline, and the end id stands between an answer and the next turn, as in both.
_LLAVA = PromptFormat(
    turn="USER: {pictures}{question} ASSISTANT:",
    system="A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions. ",
    has_end_between=True,
    picture_close="\n",
    has_pictures_inside=True,
    answer_begin=" ",
)

FORMATS: dict[str, PromptFormat] = {
    "ying_vlm": YING_VLM,
    "blip2": _BLIP2,
    "blip2_t5": _BLIP2_T5,
    "instructblip": _INSTRUCTBLIP,
    "instructblip_t5": dataclasses.replace(_INSTRUCTBLIP, answer_begin="", has_begin_id=False, has_prompt_end_id=True),
    "minigpt4": _MINIGPT4,
    "llava": _LLAVA,
}

# Formats of models that their authors trained to talk, with the turns before in view: LLaVA's 158,000 conversations
# (arXiv 2304.08485, section 3), and the `Chat` of MiniGPT-4's repository over Vicuna.
TALKING = (_LLAVA, _MINIGPT4)


def fill_slots(instruction: str, slots: Mapping[str, str]) -> str:
    """Returns an instruction with `[NAME]` replaced by `slots["NAME"]`; the texts put in are not searched again.

    Raises:
      KeyError: a slot has no text. Without any slot the instruction stays as it is.
    """
    return SLOT.sub(lambda found: slots[found[1]], instruction) if slots else instruction


def one_line(text: str) -> str:
    """Returns a text on one line, its line breaks and the blanks around them one space each."""
    return _LINE_BREAKS.sub(" ", text).strip()
