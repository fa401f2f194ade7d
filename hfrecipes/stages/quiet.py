"""The libraries' own bars, notes and warnings give way to ours."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """To be called before torch, transformers and trl are imported: some speak while they are."""
    # A kernel that is faster on a CPU, from a package that is not needed.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # TRL's configs turn it on by the old name themselves; transformers 6 renames it.
    warnings.filterwarnings("ignore", message=r".*gradient_checkpointing.* is deprecated", category=FutureWarning)
    warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU")

    from datasets.utils.logging import disable_progress_bar
    from datasets.utils.logging import set_verbosity_error as quiet_datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    quiet_datasets()
    disable_progress_bar()
