"""Check out data of .dvc files that are missing from the workspace: no stage would make them again.

missing_outputs(plan, repo)      # outputs for `place_outputs`; whatever is in the workspace stays
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from commands.sharing.transfer import Plan
from validators.problems import Problem, Problems

if TYPE_CHECKING:
    from commands.builds.dvc import Output, Repo


def missing_outputs(plan: Plan, repo: "Repo", failed: Iterable[object] = ()) -> "list[Output]":
    """Outputs of .dvc files that are whole in the cache, or will be, and that the workspace does not have."""
    lost = plan.lost.keys() | set(failed)
    whole = {one.name for one in plan.workspace if not plan.objects[one] & lost}
    sources = (stage for stage in repo.index.stages if stage.is_data_source and stage.addressing in whole)
    return [out for stage in sources for out in stage.outs if out.hash_info and not os.path.lexists(out.fs_path)]


def place_outputs(outs: "list[Output]") -> None:
    """Place outputs as DVC does. Removes one that could not be placed whole: it would count as present."""
    from commands.builds.dvc import CheckoutError, TqdmCallback, remove

    if not outs:
        return
    with TqdmCallback(desc="checking out", unit="file", size=sum(out.get_files_number() for out in outs)) as progress:
        for out in outs:
            try:
                out.checkout(progress_callback=progress)
            except BaseException as error:
                remove(out.fs_path)
                if isinstance(error, (CheckoutError, OSError)):
                    why = " ".join(str(error).split())
                    raise Problems([Problem(str(out), why, "", "dvc checkout puts it there from the cache")]) from None
                raise
