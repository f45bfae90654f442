"""The names of the formats of statements, and the reading of a statement. Imports nothing heavy, for people who only check a statement."""

from typing import Any

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:x-tilth:dvc-repro:v1"
BUILDER = "urn:x-tilth:repository"
ROWS, ROOT_DIGEST = "rows", "rfc6962-sha256"


def subjects(statement: dict[str, Any]) -> dict[str, str]:
    """{name: sha256} of the files that a statement is about; empty where it is not a statement."""
    return digests(statement, "subject")


def byproducts(statement: dict[str, Any]) -> dict[str, str]:
    """{name: sha256} of the files that a training wrote beside its model, and of the tables that it read."""
    return digests(statement, "predicate", "runDetails", "byproducts")


def digests(statement: Any, *keys: str) -> dict[str, str]:
    try:
        for key in keys:
            statement = statement[key]
        return {entry["name"]: entry["digest"]["sha256"] for entry in statement}
    except (KeyError, TypeError):
        return {}
