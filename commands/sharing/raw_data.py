"""Compare raw data that DVC tracks with their .dvc files before a build uses them, and imports with their sources.

    changed_data(["data/raw/chat"])       # Problems of data that differ from their .dvc files
    changed_sources(["data/raw/chat"])    # lines on sources of `dvc import-url` that have changed; uses the network

DVC finds the changes: it hashes files whose time, size or inode has changed. `tilth verify` hashes all.
"""

import contextlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from stages.reading.unaccepted_changes import dvc_files, unaccepted_problems
from validators.problems import Problem

if TYPE_CHECKING:
    from commands.builds.dvc import DvcStage


def changed_data(places: Sequence[str]) -> list[Problem]:
    """A Problem for each .dvc file whose data changed or are missing, or which was rewritten and not accepted."""
    problems = [problem for place in places for problem in unaccepted_problems(place)]
    names = [name for name in dvc_file_names(places) if name not in {problem.where for problem in problems}]
    with open_stages(names) as found:
        for name, stage in found.items():
            problems += [stage] if isinstance(stage, Problem) else data_problems(name, stage)
    return list(dict.fromkeys(problems))


def dvc_file_names(places: Iterable[str]) -> list[str]:
    return sorted({file.as_posix() for place in places for file in dvc_files(place)})


@contextlib.contextmanager
def open_stages(names: list[str]) -> "Iterator[dict[str, DvcStage | Problem]]":
    """Yields {name: DVC's stage of a .dvc file, or its Problem}. Does not open DVC where there are no names."""
    from commands.builds.git import one_line

    if not names:
        yield {}
        return
    from commands.builds.dvc import DvcException, Repo, stage_of_file
    from commands.sharing.remotes import silence_dvc

    found = {}
    with silence_dvc(), Repo() as repo:
        for name in names:
            try:
                found[name] = stage_of_file(repo, name)
            except DvcException as error:
                found[name] = Problem(name, one_line(error), "what dvc add wrote", f"git checkout {name}")
        yield found


def data_problems(name: str, stage: "DvcStage") -> list[Problem]:
    """Problems of data that differ from their .dvc file."""
    out, file = stage.outs[0], shlex.quote(name)
    status = out.workspace_status().values()
    if "deleted" in status:
        hint = f"dvc pull {file}" if out.hash_info else f"dvc update {file}"
        return [Problem(str(out), "is missing", f"what {name} names", hint)]
    take = (
        f"dvc update {file} takes the data of its source"
        if stage.is_import
        else f"dvc add {shlex.quote(str(out))} takes the change"
    )
    hint = f"dvc checkout --force {file} undoes it; {take}, then git add {file}"
    return [Problem(str(out), "changed since DVC recorded it", f"the bytes that {name} names", hint) for _ in status]


def changed_sources(places: Iterable[str]) -> Iterator[str]:
    """Yields a line for each import whose source has changed, or could not be checked."""
    from commands.sharing.remotes import mask_secrets

    with open_stages(dvc_file_names(places)) as found:
        for name, stage in found.items():
            if isinstance(stage, Problem) or not stage.is_import:
                continue
            source = mask_secrets(stage.deps[0], stage.repo.config)
            try:
                status = stage.deps[0].workspace_status().values()
                if "deleted" in status:  # to DVC, a web server that does not answer means the same
                    yield f"{name}: its source {source} is gone, or its server does not answer"
                elif status:
                    yield f"{name}: its source {source} has changed: dvc update {name} takes the new data"
            except Exception as error:  # each kind of source has errors of its own
                why = mask_secrets(f"{type(error).__name__}: {error}", stage.repo.config)
                yield f"{name}: its source {source} could not be checked: {why}"
