"""`tilth provenance`: what every model is made of, in standard formats, for readers who do not run Tilth.

dvc.lock and all files that it names -> provenance/models/<step>.intoto.json, <step>.cdx.json, provenance/datasets/<dataset>.croissant.json

The same build gives the same bytes. Each file that the documents name is hashed first and compared with dvc.lock, so that they
state nothing about files that have changed since the build.
"""

from typing import Annotated

import typer

Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; exit with 1 if a document is not that of the build.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(check: Check = False, as_json: Json = False) -> None:
    """Write what each model and dataset is made of, for others to check: in-toto and SLSA, CycloneDX, Croissant."""
    from commands.builds.build import read_build
    from commands.statements.documents import documents
    from commands.statements.folder import text_of, write
    from validators.problems import Problem, Problems

    built = documents(read_build())
    if check:
        texts = {path: text_of(document) for path, document in built.items()}
        outdated = [
            path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
        ]
        if outdated:
            expected = "what the build gives"
            found = "is not the document of this build"
            raise Problems([Problem(str(path), found, expected, "tilth provenance") for path in outdated])
    for path, document in built.items():
        if not check:
            write(path, document)
        if not as_json:
            print(path)
    if as_json:
        import json

        print(json.dumps({"documents": [str(path) for path in built], "written": not check}, indent=2))
