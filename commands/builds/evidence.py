"""The input of the checks of `tilth verify`: a build, the files that are there, and the hashes of their bytes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from commands.builds.build import Build
from commands.builds.dvc_yaml import StageSpec
from validators.problems import Problem

Verdict = tuple[dict[str, Any], list[Problem]]  # (counts, problems) of a check


@dataclass(frozen=True)
class Evidence:
    """files: {output: its files}. sources: {dependency that no stage builds: its files}.

    md5s: {file: md5 of its bytes} of all of these. absent: paths of a past commit whose bytes the cache does not have.
    """

    build: Build
    files: dict[str, list[str]]
    sources: dict[str, list[str]]
    md5s: dict[str, str | None] = field(repr=False)
    unknown_files: list[str]  # beside outputs; no stage built them
    absent: list[str]
    rev: str | None
    sample: int

    def listing(self, path: str) -> list[str]:
        return self.files[path]

    def absent_in(self, path: str) -> bool:
        """True where the bytes of a file or folder, or of a part of it, cannot be verified: the cache does not have them."""
        return any(
            f"{missing}/".startswith(f"{path}/") or f"{path}/".startswith(f"{missing}/") for missing in self.absent
        )

    @cached_property
    def graph(self) -> dict[str, StageSpec]:
        """dvc.yaml as params.yaml resolves it. Raises Problems where that fails."""
        from commands.builds.dvc_yaml import resolve_dvc_yaml

        return resolve_dvc_yaml()

    @property
    def uncached(self) -> set[str]:
        return {out for stage in self.graph.values() for out in stage["uncached"]}


Check = Callable[[Evidence], Verdict]
