"""`tilth provenance`: what every model is made of, in formats that others read, for those who do not run our commands.

dvc.lock and all that it names -> provenance/models/<step>.intoto.json, <step>.cdx.json, provenance/datasets/<dataset>.croissant.json

The documents are a function of the build: the same build gives the same bytes. Each file that they name is hashed and held against
dvc.lock first, so that nothing is stated of what was changed since.
"""

from typing import Annotated

import typer

Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; exit 1 where a document is not that of the build.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(check: Check = False, as_json: Json = False) -> None:
    """Write what each model and dataset is made of, for others to check: in-toto and SLSA, CycloneDX, Croissant."""
    from commands.builds.build import read_build
    from commands.statements.documents import documents
    from commands.statements.folder import text_of, write
    from validators.problems import Problem, Problems

    found = documents(read_build())
    if check:
        texts = {path: text_of(document) for path, document in found.items()}
        other = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
        if other:
            expected = "what the build gives"
            raise Problems([Problem(str(path), "is another document", expected, "tilth provenance") for path in other])
    for path, document in found.items():
        if not check:
            write(path, document)
        if not as_json:
            print(path)
    if as_json:
        import json

        print(json.dumps({"documents": [str(path) for path in found], "written": not check}, indent=2))
