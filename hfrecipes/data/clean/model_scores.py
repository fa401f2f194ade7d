"""Models of transformers that judge documents: loaded once for each process, and run over batches without padding's traces.

Weights are safetensors only, and no code that comes with a model is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfrecipes.data.hashing import sha256_of_files
from hfrecipes.recipe.problem import Problem, RecipeError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MAX_LENGTH = 512
# What of a folder decides on its scores; checkpoints of optimizers and notes beside them do not.
_SCORING_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
# Elements of one batch's logits: 256 MB of float32.
_LOGITS = 2**26
_MOST_TOKENS = 2**14
# Characters that one token is taken to have at most, so that megabytes are not tokenised for a few hundred tokens.
_CHARACTERS_PER_TOKEN = 32
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class NamedModel:
    """A model that a recipe names.

    Args:
        name_or_path: A folder or Hub id.
        revision: The commit of a Hub id.
        max_length: Tokens of a document that it reads.
        where: The place that names it, for problems.
    """

    name_or_path: str
    revision: str | None
    max_length: int
    where: str


def named_model(name_or_path: str | None, revision: str | None, max_length: int | None, where: str) -> NamedModel:
    """The model of a rule, with the length that is read where none is said.

    Raises:
        RecipeError: none is named.
    """
    if not name_or_path:
        raise RecipeError(Problem(where, "no model is named", "say name_or_path: a folder or a Hub id"))
    return NamedModel(name_or_path, revision, max_length or _MAX_LENGTH, where)


def model_fingerprint(named: NamedModel) -> str:
    """Changes with a model's files; for a Hub id with its commit, as far as it is named or in the local cache."""
    folder = Path(named.name_or_path)
    if folder.is_dir():
        files = sorted({path for pattern in _SCORING_FILES for path in folder.glob(pattern)})
        return sha256_of_files((path.name, path) for path in files)
    commit = _cached_commit(named.name_or_path, named.revision)
    return f"{named.name_or_path}@{commit or named.revision or 'main'}"


@lru_cache(maxsize=4)
def load_scorer(kind: str, named: NamedModel) -> tuple[PreTrainedModel, Any]:
    """A model and its tokenizer, ready to score on the GPU where there is one; kept for the process.

    Args:
        kind: The auto class of transformers, such as `AutoModelForCausalLM`.
        named: Which model.

    Raises:
        RecipeError: it cannot be loaded, lacks weights, or would have to run code of its own.
    """
    import torch
    import transformers

    _refuse_foreign_code(named)
    words = {"revision": named.revision, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(named.name_or_path, **words)
        model, found = getattr(transformers, kind).from_pretrained(
            named.name_or_path, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **words
        )
    except Exception as error:  # a damaged file, no network, code that would have to run: libraries raise anything
        reason = (" ".join(str(error).split()) or type(error).__name__)[:_REASON_CHARACTERS]
        fix = "check the folder, or the name and the network; weights have to be safetensors, without code of their own"
        raise RecipeError(Problem(named.where, f"{named.name_or_path}: cannot be loaded: {reason}", fix)) from error
    if missing := sorted(found["missing_keys"]):
        message = f"{named.name_or_path} lacks weights of {type(model).__name__}, which would be random: {missing[0]}"
        raise RecipeError(Problem(named.where, message, "name a model that was trained for this"))
    model.eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Ids of each text, with the special tokens the model was trained with, cut to `max_length`."""
    if not texts:
        return []
    cut = [text[: max_length * _CHARACTERS_PER_TOKEN] for text in texts]
    return tokenizer(cut, truncation=True, max_length=max_length, padding=False, verbose=False)["input_ids"]


def input_limit(model: PreTrainedModel, max_length: int) -> int:
    """`max_length`, or what the model has positions for where that is less."""
    positions = getattr(model.config, "max_position_embeddings", None)
    # RoBERTa's positions begin after the padding index.
    offset = (model.config.pad_token_id or 0) + 1 if "roberta" in str(model.config.model_type) else 0
    return min(max_length, positions - offset) if isinstance(positions, int) and positions > offset else max_length


def length_batches(lengths: Sequence[int], outputs: int) -> Iterator[list[int]]:
    """Positions of rows, longest first, so that a batch holds rows of like length and its logits stay within bounds.

    Args:
        lengths: Tokens of each row.
        outputs: Numbers that the model gives for each token.
    """
    most = min(_MOST_TOKENS, max(1, _LOGITS // outputs))
    order = iter(sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)))
    for first in order:
        yield [first, *islice(order, max(0, most // max(1, lengths[first]) - 1))]


def padded(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as one tensor, padded on the right, and the mask of what is no padding; both of shape (rows, longest)."""
    import torch

    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, (torch.arange(longest, device=device)[None, :] < lengths[:, None]).long()


def _refuse_foreign_code(named: NamedModel) -> None:
    """A folder whose config names code, or a kernel of a repository; the Hub's are refused by transformers."""
    file = Path(named.name_or_path) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError):
        return  # transformers says what is wrong with it
    kernel = any("/" in str(config.get(key) or "") for key in ("attn_implementation", "_attn_implementation"))
    if config.get("auto_map") or kernel:
        message = f"{named.name_or_path}: its config asks for code that is not part of transformers"
        raise RecipeError(Problem(named.where, message, "name a model of an architecture that transformers has"))


def _cached_commit(name: str, revision: str | None) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        file = try_to_load_from_cache(name, "config.json", revision=revision)
    except ValueError:  # no id of the Hub; loading says so
        return None
    return Path(file).parent.name if isinstance(file, str) else None
