"""pandera for polars alone: `from validators._pandera import pa`.

Where pandas is installed pandera imports it too, which nothing here uses: 0.65 s instead of 0.16. Without pandas it is
complete for polars (pip install 'pandera[polars]'), so it is imported as if there were none. A validator that wants
`pandera.pandas` as well imports that before this.
"""

import sys
from collections.abc import Sequence
from types import ModuleType


class NoPandas:
    """An import hook to which pandas is not installed."""

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
