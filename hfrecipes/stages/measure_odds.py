"""What a training by odds ratios has done, measured for the facts file: it has no reference, so that none is made up."""

from __future__ import annotations

from hfrecipes.stages.measure_preferences import PreferenceMeasurer
from hfrecipes.stages.measure_task import Entries

# Of what is measured beside the base; the others are of a reward that another loss implies.
_KEPT = ("pair_accuracy", "chosen_log_ratio")


class OddsMeasurer(PreferenceMeasurer):
    """As `PreferenceMeasurer`, without the reward that DPO is the optimum of."""

    def _beside_base(self, name: str, step: int) -> Entries:
        return [entry for entry in super()._beside_base(name, step) if entry["metric"] in _KEPT]
