"""List the prompts that `eval:` keeps out of training: those of all rows of the files that it names, for every dataset.

data/ingested/<d>/ of datasets with `eval:` -> data/pinned.txt: their split keys, one a line, sorted, below a title

    # split keys of the prompts that `eval:` of datasets keeps out of training
    9a1c0e...

The file has a title because DVC warns, at each stage, about an empty dependency.

A prompt stays on one side in every dataset: `curate` of each of them holds out the rows with a key of this list. Each
row gives two keys, with its system turn and without, so that the list serves every `split_on`. The stage also deletes the folders
of removed datasets in data/ingested/.
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
    """Delete the rows of datasets that params.yaml no longer has: a clone does not have them, and would run this stage again."""
    for folder in sorted(INGESTED_FOLDER.iterdir()):
        if folder.is_dir() and folder.name not in datasets and folder.suffix != ".partial":
            print(f"pin: {folder} belongs to no dataset of params.yaml, deleted")
            shutil.rmtree(folder)


def write(path: Path, keys: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(pinned_text(keys), encoding="utf-8", newline="\n")
    os.replace(partial, path)
