"""List the prompts that `eval:` keeps out of training: those of all rows of the files that it names, in every dataset.

data/ingested/<d>/ of datasets with `eval:` -> data/pinned.txt: their split keys, one a line, sorted, below a title

    # split keys of the prompts that `eval:` of datasets keeps out of training
    9a1c0e...

The title is there as DVC warns, at each stage, of a dependency without a byte.

A prompt stays on one side in every dataset: `curate` of each of them holds out the rows with a key of this list. Each
row gives two keys, with its system turn and without, so that a dataset finds its own, whatever its `split_on`. What is left
of removed datasets in data/ingested/ is deleted.
"""

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from stages.core.params import read_params
from stages.dedup.pinned_keys import INGESTED_FOLDER, source_files, split_keys_of
from stages.dedup.split import PINNED_FILE, is_pinned, pinned_text
from stages.reading.files import pattern_problems
from validators.problems import Problems


def main() -> None:
    datasets, keys, problems = read_params("pin")["datasets"], set(), []
    delete_removed(datasets)
    for name, dataset in datasets.items():
        if dataset["eval"]:
            sources = source_files(name)
            problems += pattern_problems(f"datasets.{name}.eval", dataset["eval"], sources, dataset["raw"])
            pinned = [source for source in sources if is_pinned(source, dataset)]
            keys |= split_keys_of(name, pinned, dataset["kind"])
            print(f"pin {name}: {len(pinned):,} of {len(sources):,} files are for evaluation alone")
    if problems:
        raise Problems(problems)
    write(PINNED_FILE, keys)


def delete_removed(datasets: Collection[str]) -> None:
    """Delete the rows of datasets that params.yaml no longer has: a clone has none, and would run this stage again."""
    for folder in sorted(INGESTED_FOLDER.iterdir()):
        if folder.is_dir() and folder.name not in datasets and folder.suffix != ".partial":
            print(f"pin: {folder} belongs to no dataset of params.yaml, deleted")
            shutil.rmtree(folder)


def write(path: Path, keys: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(pinned_text(keys), encoding="utf-8", newline="\n")
    os.replace(partial, path)
