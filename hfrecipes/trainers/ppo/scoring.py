"""What the policy and its reference say of completions, and what has to be equal in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hfrecipes.recipe.stops import RunStoppedError
from hfrecipes.trainers.ppo.drawn_scores import DrawnScores
from hfrecipes.trainers.ppo.loop import PPOLoop
from hfrecipes.trainers.ppo.policy import base_of
from hfrecipes.trainers.ppo.reference import Reference
from hfrecipes.trainers.ppo.rollout import Rollout, Texts, score_texts
from hfrecipes.trainers.ppo.sampling import Sampling
from hfrecipes.trainers.ppo.statistics import masked_mean

# Mean difference of log-probabilities that should be equal, in nats: rounding stays below, mistakes do not.
_FINE, _COARSE = 1e-3, 5e-2
# Largest difference at which scores that were taken down while drawing are those of training: no ratio of 1 ± 1e-4 is clipped,
# and its part in the measured divergence, half its square, is below what is logged.
_ROUNDING = 1e-4


class PPOScoring(PPOLoop):
    """Scores completions with the parts that its trainer is given.

    Attributes:
        sampling: How completions are drawn.
        reference: None where divergence costs nothing.
    """

    sampling: Sampling
    reference: Reference | None

    @property
    def policy(self) -> Any:
        """The model without what is wrapped around it."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def call_policy(self, **inputs: Any) -> Any:
        """Its forward pass without gradient, through what gathers its weights where these are split."""
        return (self.model_wrapped if self.is_deepspeed_enabled else self.model)(**inputs)

    # While tokens are drawn

    @contextlib.contextmanager
    def taking_down(self, uniforms: Tensor) -> Iterator[DrawnScores | None]:
        """Watches a rollout being drawn, and gives what takes scores down.

        None where that would not do: in half precision, whose rounding differs with a cache from that without; with
        `model.generate`, which tells nothing; and for models in parts, whose head cannot be called alone.

        Args:
            uniforms: `(rows, length)` of the completions.
        """
        split = self.is_deepspeed_enabled or self.is_fsdp_enabled
        if split or self._is_coarse or self.sampling.generate is not None:
            yield None
            return
        base = base_of(self.policy)
        drawn = DrawnScores(uniforms, base.ppo_value if self.args.value == "head" else None)
        with drawn.watching(base.get_output_embeddings()):
            yield drawn

    def own_scores(self, texts: Texts, drawn: DrawnScores | None) -> dict[str, Tensor]:
        """Log-probabilities, entropies and values of completions under the policy that drew them, `(rows, length)` by name.

        Args:
            texts: Of this process.
            drawn: What was taken down.
        """
        size = self.args.local_rollout_forward_batch_size
        if drawn is None:
            return score_texts(texts, size, self._score)
        own = drawn.of(texts.mask)
        if self._anywhere(not self._differ(texts, own["logps"]) <= _ROUNDING):
            return score_texts(texts, size, self._score)
        if "values" not in own:
            own |= score_texts(texts, size, lambda *batch: self._score(*batch, wanted="values"))
        return own

    def _differ(self, texts: Texts, logps: Tensor) -> float:
        """The largest difference from log-probabilities of the training's forward pass, in nats.

        Looked for where drawing with a cache is likeliest to go another way: in the longest row, where a window of attention
        may end, and behind the shortest prompt, which had the most padding before it.
        """
        rows = torch.stack([(texts.prompt_lengths + texts.lengths).argmax(), texts.prompt_lengths.argmin()])
        read = self._score(*texts.batch(rows), wanted="logps")["logps"]
        return float((read - logps[rows][texts.mask[rows]]).abs().max())

    # Without gradient

    def _score(self, ids: Tensor, places: Tensor, wanted: str = "all") -> dict[str, Tensor]:
        return self.call_policy(input_ids=ids, responses=places, temperature=self.args.temperature, wanted=wanted)

    def _score_by_reference(self, ids: Tensor, places: Tensor) -> dict[str, Tensor]:
        """Log-probabilities and entropies of places in ids, as `Texts.batch` gives them."""
        words = {"input_ids": ids, "responses": places, "temperature": self.args.temperature, "wanted": "logps"}
        return self.reference.score(self.policy, self.call_policy, **words)

    # What has to be equal

    @property
    def _is_coarse(self) -> bool:
        return self.accelerator.mixed_precision != "no" or self.policy.dtype != torch.float32

    @property
    def _tolerance(self) -> float:
        """Mean difference of log-probabilities that is rounding."""
        return _COARSE if self._is_coarse else _FINE

    def refuse_other_start(self, rollout: Rollout) -> None:
        """Raises where the policy is its own reference and the two do not agree.

        Raises:
            RunStoppedError: on every process.
        """
        if self.reference is None or not self.reference.is_start:
            return
        apart = float(masked_mean((rollout.logps - rollout.ref_logps).abs(), rollout.texts.mask))
        if apart > self._tolerance:
            fault = f"before the first step the policy and its reference differ by {apart:.3g} nats for each token"
            raise RunStoppedError(f"{fault}: the reference is not what the training begins with; give ref_model")
        # A second training with the same trainer begins elsewhere.
        self.reference.is_start = False

    def check_ratio(self, logps: Tensor, old_logps: Tensor) -> None:
        """Raises where a rollout's log-probabilities are not those of the training's forward pass.

        Raises:
            RunStoppedError: the loss would compare the policy with another one.
        """
        if not self.args.disable_dropout:
            return
        apart = float((logps.detach() - old_logps).abs().mean())
        if not apart <= self._tolerance:
            fault = (
                f"before anything was learnt from a rollout, log-probabilities differ from its own by {apart:.3g} nats"
            )
            raise RunStoppedError(f"{fault}: something in the model is random, or depends on the batch")
