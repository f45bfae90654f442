"""pandera for polars only: `from validators._pandera import pa`.

pandera imports pandas where it is installed: 0.65 s instead of 0.16, and nothing here uses it. pandera's polars part works
without pandas (pip install 'pandera[polars]'), so this module hides pandas during the import. A validator that also needs
`pandera.pandas` must import that first.
"""

import sys
from collections.abc import Sequence
from types import ModuleType


class NoPandas:
    """An import hook that makes pandas look not installed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)


sys.meta_path.insert(0, NoPandas)
try:
    import pandera.polars as pa
    from pandera.errors import SchemaErrors
finally:
    sys.meta_path.remove(NoPandas)

__all__ = ["SchemaErrors", "pa"]
