"""Rerankers of causal language models against sentence-transformers' CrossEncoder."""

import json

import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules.transformer import Transformer
from sentence_transformers.cross_encoder.modules.logit_score import LogitScore

from inarch.tasks import CausalReranker, Reranker
from inarch.text import BytePairTokenizer

from .test_causal_lm import END, LETTERS

pytestmark = [pytest.mark.reference, pytest.mark.turns(2)]

START = "<|start|>"
VOCABULARY = {token: i for i, token in enumerate([*LETTERS, *"01234Ġ", "yes", "no", START, END])}
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role[0] }}"
    "{{ m.content if m.content is string else m.content[0].text }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>Answer{{ mood or '' }}{% endif %}"
)
QUERY = "whatCat"
DOCUMENTS = ["aDog", "", "theCatSat", "x" * 60, "Rain"]
PAIRS = [(QUERY, document) for document in DOCUMENTS]


@pytest.fixture
def folder(write):
    """`folder(family, template)`: a causal language model and its tokenizer."""

    def folder(family, template=None, **changes):
        end = {f"{name}_token_id": VOCABULARY[END] for name in ("bos", "eos", "pad")}
        kind = f"{family}ForCausalLM"
        sizes = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 48}
        made = write(kind, **sizes, **end, **changes).folder
        special = {"eos_token": END, "pad_token": END, "bos_token": START}
        BytePairTokenizer(VOCABULARY, [], special_tokens=special).save(made)
        path = made / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 48}))
        if template:
            (made / "chat_template.jinja").write_text(template)
        return made

    return folder


def compare(task, model):
    wanted = model.predict(PAIRS)
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(task.predict(PAIRS), wanted, rtol=2e-4, atol=2e-6)
    ours = task.rank(QUERY, DOCUMENTS, top_k=3)
    theirs = model.rank(QUERY, DOCUMENTS, top_k=3)
    assert [a["index"] for a in ours] == [a["corpus_id"] for a in theirs]


@pytest.mark.parametrize("family", ["Qwen3", "Gemma3", "Llama"])
def test_a_causal_language_model_gives_their_scores_of_yes_and_no(family, folder):
    made = folder(family)
    task = Reranker.from_preset(made)
    assert isinstance(task, CausalReranker)
    assert (task.true_token_id, task.false_token_id) == (VOCABULARY["yes"], VOCABULARY["no"])
    compare(task, CrossEncoder(str(made), device="cpu"))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("format", ["flat", "structured"])
@pytest.mark.parametrize("false", [VOCABULARY["no"], None])
def test_modules_messages_and_prompts_of_a_folder_of_theirs(tied, format, false, folder, tmp_path):
    made = folder("Qwen3", TEMPLATE, tie_word_embeddings=tied)
    by_forward = {"method": "forward", "method_output_name": "logits"}
    transformer = Transformer(
        str(made),
        transformer_task="text-generation",
        modality_config={"text": by_forward, "message": {**by_forward, "format": format}},
        module_output_name="causal_logits",
        processing_kwargs={"chat_template": {"add_generation_prompt": True, "mood": "Z"}},
    )
    model = CrossEncoder(
        modules=[transformer, LogitScore(VOCABULARY["yes"], false)],
        prompts={"web": "isItTrue"},
        default_prompt_name="web",
        device="cpu",
    )
    model.save_pretrained(str(tmp_path / "saved"))
    model = CrossEncoder(str(tmp_path / "saved"), device="cpu")
    task = Reranker.from_preset(tmp_path / "saved")
    assert task.preprocessor.message_format == format
    compare(task, model)
    task.save_to_preset(tmp_path / "back")
    compare(task, CrossEncoder(str(tmp_path / "back"), device="cpu"))
    compare(Reranker.from_preset(tmp_path / "back"), model)


def test_one_that_is_made_and_trained_here_gives_them_the_same(folder, tmp_path):
    made = folder("Qwen3", TEMPLATE)
    task = CausalReranker.from_preset(made, true_token_id=3, activation_fn="identity")
    task.preprocessor.message_format = "flat"
    task.preprocessor.template_variables = {"add_generation_prompt": True}
    task.preprocessor.sequence_length = 40
    task.fit(PAIRS, [1.0, 0.0, 1.0, 0.0, 0.0], epochs=2, verbose=0)
    task.save_to_preset(tmp_path / "out")
    compare(task, CrossEncoder(str(tmp_path / "out"), device="cpu"))
    again = Reranker.from_preset(tmp_path / "out")
    assert (again.true_token_id, again.false_token_id) == (3, None)
    compare(again, CrossEncoder(str(tmp_path / "out"), device="cpu"))
