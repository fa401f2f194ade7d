"""The data of an old configuration as sources: one data set, TRL's `datasets`, the handbook's mixer or mixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hfrecipes.recipe.port.training import mended

if TYPE_CHECKING:
    from hfrecipes.recipe.port.convert import Translation

Source = dict[str, Any]
# Builders of `datasets` that read local files, which are named by path here.
_FILE_BUILDERS = ("json", "csv", "parquet", "text")
# Columns that make an example; other names in a list of columns only spared memory.
_EXAMPLE_COLUMNS = ("text", "messages", "conversations", "prompt", "completion", "tools", "chat_template_kwargs")


def translate(work: Translation) -> None:
    """Fills `data.train` and, where it was measured on, `data.eval`."""
    train, evaluation = _sources(work)
    if not train and not work.problems:
        work.fault("", "names no data", "add dataset_name, or datasets:")
    section: dict[str, Any] = {"train": train}
    if evaluation and _is_measured(work):
        section["eval"] = evaluation
    elif evaluation:
        names = ", ".join(_told(source) for source in evaluation)
        work.left_out("data.eval", f"{names} was never measured on, since eval_strategy is no")
    if "eval" not in section:
        _drop_schedule(work)
    work.values["data"] = section


def _sources(work: Translation) -> tuple[list[Source], list[Source]]:
    named = [key for key in ("datasets", "dataset_mixture", "dataset_mixer", "dataset_name") if work.has(key)]
    if not named:
        train, evaluation = [], []
    elif named[0] in ("datasets", "dataset_mixture"):
        train, evaluation = _mixture(work, named[0])
    elif named[0] == "dataset_mixer":
        train, evaluation = _mixer(work)
    else:
        train, evaluation = _single(work)
    for key in (
        "dataset_name",
        "dataset_mixer",
        "dataset_mixture",
        "dataset_config",
        "dataset_configs",
        "dataset_splits",
    ):
        if work.has(key):
            work.drop(key, f"has no effect beside {named[0]}" if named else "names no data set")
    for key in ("dataset_train_split", "dataset_test_split", "test_split_size"):
        if work.has(key):
            work.drop(key, "the sources of the mixture say their splits")
    return train, evaluation


def _single(work: Translation) -> tuple[list[Source], list[Source]]:
    name, subset = work.take("dataset_name"), work.take("dataset_config")
    splits = [work.take(f"dataset_{role}_split", role) for role in ("train", "test")]
    # A data set that is not split is given back whole by its split's name, so both sides have one.
    train, evaluation = ([_source(name, subset, split)] for split in splits)
    work.translated("dataset_name", f"data.train.0: {_told(train[0])}")
    return train, evaluation


def _mixer(work: Translation) -> tuple[list[Source], list[Source]]:
    """alignment-handbook until 2025: `{name: share of its training split}`, `dataset_splits: [train_sft, test_sft]`."""
    mixer = work.take("dataset_mixer")
    splits = work.take("dataset_splits") or ["train", "test"]
    configs = work.take("dataset_configs") or []
    if not isinstance(mixer, dict):
        work.fault("dataset_mixer", f"dataset_mixer is {mixer!r}", "it maps names of data sets to shares")
        return [], []
    if configs and len(configs) != len(mixer):
        work.fault(
            "dataset_configs", f"dataset_configs names {len(configs)} for {len(mixer)} data sets", "name one each"
        )
        return [], []
    train: list[Source] = []
    evaluation: list[Source] = []
    for index, (name, share) in enumerate(mixer.items()):
        subset = configs[index] if configs else None
        for split in splits:
            if "train" in split:
                train.append(_source(name, subset, _share_of(work, "dataset_mixer", split, share)))
            elif "test" in split:
                # The handbook takes test splits whole, whatever the share.
                evaluation.append(_source(name, subset, split))
            else:
                work.fault(
                    "dataset_splits", f"the split {split!r} is neither for training nor for testing", "rename it"
                )
        work.translated("dataset_mixer", f"data.train: {name}, share {share}")
    return train, evaluation


def _mixture(work: Translation, key: str) -> tuple[list[Source], list[Source]]:
    """TRL's `datasets:` with `test_split_size`, and the handbook's `dataset_mixture: {datasets, seed, test_split_size}`."""
    given = work.take(key)
    entries = given.get("datasets") if isinstance(given, dict) else given
    size = given.get("test_split_size") if isinstance(given, dict) else work.take("test_split_size")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        work.fault(key, f"{key} lists no data sets", "write a list of {path: …, split: …}")
        return [], []
    if isinstance(given, dict):
        _refuse_others(work, key, given, ("datasets", "seed", "test_split_size"))
        if "seed" in given:
            work.translated(f"{key}.seed", "the order of the data follows from training.seed")
    sources = [source for index, entry in enumerate(entries) for source in _entry(work, key, index, entry)]
    if any(entry.get("fraction") is not None for entry in entries):
        fix = "say limit: for each source, once you know their sizes"
        work.fault(key, "fraction makes each size depend on the sizes of all the others", fix)
    work.translated(key, f"data.train: {len(sources)} source{'s' * (len(sources) > 1)}")
    return _hold_out(work, key, sources, mended(size, {"type": "number"}))


def _entry(work: Translation, key: str, index: int, entry: dict[str, Any]) -> Iterator[Source]:
    known = ("path", "id", "name", "config", "split", "columns", "weight", "fraction", "data_dir", "data_files")
    _refuse_others(work, f"{key}", entry, known)
    path = entry.get("path") or entry.get("id")
    split = _share_of(work, key, entry.get("split") or "train", entry.get("weight", 1))
    if not path:
        work.fault(key, f"{key}.{index} names no data set", "add path:")
        return
    columns = _columns(work, f"{key}.{index}", entry.get("columns"))
    files = entry.get("data_files")
    if files is not None or entry.get("data_dir") is not None:
        if path not in _FILE_BUILDERS or not isinstance(files, str | list) or entry.get("data_dir"):
            fix = "name the files themselves as path: in a source of the recipe"
            work.fault(key, f"{key}.{index} picks files of {path}, for which a source has no word", fix)
            return
        for file in [files] if isinstance(files, str) else files:
            yield {"path": file, **columns}
        return
    yield _source(path, entry.get("name") or entry.get("config"), split) | columns


def _columns(work: Translation, key: str, names: Any) -> Source:
    """A list of columns to keep decides the type of the rows where they fit more than one."""
    if not names:
        return {}
    kept = [name for name in names if name in _EXAMPLE_COLUMNS]
    work.translated(
        f"{key}.columns", f"columns: {', '.join(kept)}" if kept else "columns are chosen when data is prepared"
    )
    return {"columns": {name: name for name in kept}} if kept else {}


def _hold_out(work: Translation, key: str, sources: list[Source], size: Any) -> tuple[list[Source], list[Source]]:
    """`test_split_size` of a mixture: a share of each source, or rows at the end of a single one."""
    if size is None:
        return sources, []
    sliced = [source for source in sources if "split" not in source or "[" in source["split"]]
    share = isinstance(size, float) and 0 < size < 1
    if sliced or (not share and (len(sources) > 1 or not isinstance(size, int))):
        fix = "remove it, and name data.eval in the recipe"
        work.fault(key, f"test_split_size {size} cannot be taken from these sources", fix)
        return sources, []
    percent = max(1, round(100 * size)) if share else 0
    cut = f"{100 - percent}%" if share else f"-{size}"
    work.translated(
        "test_split_size", f"the last {f'{percent} %' if share else f'{size} rows'} of each source, not drawn at random"
    )
    train = [source | {"split": f"{source['split']}[:{cut}]"} for source in sources]
    return train, [source | {"split": f"{source['split']}[{cut}:]"} for source in sources]


def _share_of(work: Translation, key: str, split: str, share: Any) -> str:
    share = mended(share, {"type": "number"})
    if share is None or share == 1:
        return split
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1 or "[" in split:
        work.fault(key, f"the share {share!r} of {split}", "a share is above 0 and at most 1, of a whole split")
        return split
    percent = max(1, round(100 * share))
    work.translated(key, f"the share {share} is the first {percent} % of {split}")
    return f"{split}[:{percent}%]"


def _refuse_others(work: Translation, key: str, given: dict[str, Any], known: tuple[str, ...]) -> None:
    for word in given:
        if word not in known:
            work.fault(key, f"{key}: {word} is not a known key", f"it is one of {', '.join(known)}")


def _source(name: Any, subset: Any, split: Any) -> Source:
    local = isinstance(name, str) and name.startswith(("./", "../", "/", "~"))
    source: Source = {"path" if local else "name": name}
    if subset is not None and not local:
        source["subset"] = subset
    return source | {"split": split}


def _is_measured(work: Translation) -> bool:
    strategy = work.old.get("eval_strategy", work.old.get("evaluation_strategy", "no"))
    # YAML 1.1 reads an unquoted no as false; here it stays a word.
    return strategy not in ("no", False, None)


def _drop_schedule(work: Translation) -> None:
    for key in ("eval_strategy", "evaluation_strategy", "eval_steps", "eval_on_start", "eval_delay"):
        if work.has(key):
            work.drop(key, "there is nothing to measure on")


def _told(source: Source) -> str:
    return f"{source.get('name') or source['path']}/{source.get('split', 'all')}"
