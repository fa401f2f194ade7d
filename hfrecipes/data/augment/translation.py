"""Sentences through a sequence-to-sequence model of transformers: T5, Marian, mBART, NLLB, M2M100 and their like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfrecipes.data.clean.model_scores import NamedModel, load_scorer, named_model
from hfrecipes.recipe.augmentation import Translator
from hfrecipes.recipe.problem import Problem, RecipeError

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Search:
    """How a translation is chosen: the best of some beams, or a sample at a temperature."""

    num_beams: int = 4
    temperature: float | None = None
    max_new_tokens: int = 256


@dataclass(frozen=True)
class Direction:
    """A model for one direction.

    Args:
        model: Which model; safetensors only, no code of its own.
        source: The code of the language that it reads, where it wants one.
        target: The code of the language that it writes, where it wants one.
        prefix: What stands before each sentence.
    """

    model: NamedModel
    source: str | None
    target: str | None
    prefix: str

    def translate(self, sentences: Sequence[str], search: Search, seed: int | None = None) -> list[str]:
        """Each sentence in the other language.

        Without a temperature, equal sentences give equal translations each time. With one, the seed chooses; what torch's
        generators were about to give others is not touched.

        Raises:
            RecipeError: the model cannot be loaded, or does not know a language.
        """
        import torch

        model, tokenizer = load_scorer("AutoModelForSeq2SeqLM", self.model)
        if self.source is not None:
            # One model may serve both directions, so that its tokenizer is told each time.
            _language_id(tokenizer, self.source, self.model)
            tokenizer.src_lang = self.source
        words = _generation_words(search, self._first_token(tokenizer))
        order = sorted(range(len(sentences)), key=lambda place: (len(sentences[place]), place))
        translated = [""] * len(sentences)
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            if seed is not None:
                torch.manual_seed(seed)
            for begin in range(0, len(order), _BATCH):
                places = order[begin : begin + _BATCH]
                texts = [self.prefix + sentences[place] for place in places]
                inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
                accepted = {key: inputs[key] for key in ("input_ids", "attention_mask")}
                ids = model.generate(**accepted, **words)
                for place, text in zip(places, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
                    translated[place] = text.strip()
        return translated

    def _first_token(self, tokenizer: Any) -> int | None:
        """The id that tells the model which language to write."""
        return None if self.target is None else _language_id(tokenizer, self.target, self.model)


def direction(settings: Translator | None, find_file: Callable[[str], Path], where: str) -> Direction:
    """The model that a recipe names for one direction.

    Raises:
        RecipeError: none is named.
    """
    settings = settings or Translator()
    name = settings.name_or_path
    if name and find_file(name).is_dir():
        name = str(find_file(name))
    named = named_model(name, settings.revision, None, where)
    return Direction(named, settings.source, settings.target, settings.prefix or "")


def _generation_words(search: Search, first_token: int | None) -> dict[str, Any]:
    words: dict[str, Any] = {"max_new_tokens": search.max_new_tokens, "max_length": None}
    if search.temperature is None:
        words |= {"num_beams": search.num_beams, "do_sample": False}
    else:
        words |= {"num_beams": 1, "do_sample": True, "temperature": search.temperature, "top_k": 0}
    return words if first_token is None else {**words, "forced_bos_token_id": first_token}


def _language_id(tokenizer: Any, code: str, named: NamedModel) -> int:
    """The id of a language's token: `eng_Latn` and `en_XX` stand for themselves, M2M100 writes `__en__`."""
    vocabulary = tokenizer.get_vocab()
    for token in (code, f"__{code}__"):
        if token in vocabulary:
            return vocabulary[token]
    message = f"{named.name_or_path} knows no language {code!r}"
    raise RecipeError(Problem(named.where, message, "write the code as its model card does, such as eng_Latn"))
