"""The paper's evaluations (arXiv 2306.04387, Tables 4 to 6) and Winoground, which it holds out and does not report.

Eleven sets and the mean of the three about knowledge, which Figures 5 and 6 plot, are the twelve rows; Winoground is
the thirteenth.

command:   m3it eval runs/stage2 DATA --suite configs/eval_paper.py
hardware:  that of the model; `--limit 1000` takes the first thousand of each set
score:     arXiv 2306.04387, Tables 4 to 6, printed beside ours
"""

from m3it_jax.config import EvalRow, EvalSuite

# All by ROUGE-L against the stored answer, greedily, at most 128 new tokens, the stored instruction. The splits are
# not published: the test split where there is one, else the validation split.
_ROUGE = ("rouge_l",)
_KNOWLEDGE, _CHINESE, _VIDEO = (
    "Table 4: questions that need knowledge",
    "Table 5: Chinese, never trained on",
    "Table 6: video, never trained on",
)
BLIP2, MINIGPT4, INSTRUCTBLIP, YING_VLM = "BLIP2-Flan-T5-XXL", "MiniGPT4", "InstructBLIP", "Ying-VLM"


def _row(source: str, split: str, table: str, **more) -> EvalRow:
    return EvalRow(source, split=split, references="answer", postprocess="line", metrics=_ROUGE, table=table, **more)


def _knowledge(source: str, split: str, *figures: float) -> EvalRow:
    systems = (BLIP2, MINIGPT4, INSTRUCTBLIP, YING_VLM)
    return _row(source, split, _KNOWLEDGE, published=dict(zip(systems, figures, strict=True)))


def _chinese(source: str, split: str, *figures: float) -> EvalRow:
    systems = (MINIGPT4, INSTRUCTBLIP, YING_VLM)  # Flan-T5 has no Chinese
    return _row(source, split, _CHINESE, prompt="chinese", published=dict(zip(systems, figures, strict=True)))


def _video(source: str, *figures: float) -> EvalRow:
    systems = (BLIP2, INSTRUCTBLIP, YING_VLM)  # MiniGPT-4 takes no video
    return _row(source, "test", _VIDEO, published=dict(zip(systems, figures, strict=True)))


def get_suite() -> EvalSuite:
    """Returns the suite."""
    return EvalSuite(
        name="paper",
        rows=(
            _knowledge("okvqa", "validation", 9.1, 23.3, 7.1, 27.5),
            _knowledge("a-okvqa", "validation", 15.6, 21.8, 5.9, 24.5),
            _knowledge("viquae", "test", 9.7, 24.4, 7.3, 29.6),
            _chinese("flickr8k-cn", "test", 9.6, 5.2, 20.5),
            _chinese("fm-iqa", "validation", 20.1, 2.3, 33.3),
            _chinese("chinese-food", "test", 5.0, 1.0, 49.8),
            _video("msrvtt", 8.8, 14.3, 14.2),
            _video("ivqa", 11.1, 6.3, 23.5),
            _video("activitynet-qa", 8.9, 9.3, 21.9),
            _video("msrvtt-qa", 10.3, 4.0, 18.3),
            _video("msvd-qa", 13.2, 7.0, 21.4),
            EvalRow("winoground", table="Held out, not reported"),
        ),
        means={"mean of knowledge": ("okvqa", "a-okvqa", "viquae")},
        citation="arXiv 2306.04387",
    )
