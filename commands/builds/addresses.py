"""Addresses without credentials (user information, values of the query string), and the files in git that hold a credential.

without_credentials("403 for https://ada:pw@example.org/x?sig=5f0e")      # 403 for https://***@example.org/x?sig=***
credential_problems()                                                     # a Problem for each such file
"""

import re
from collections.abc import Iterator
from pathlib import Path

from validators.problems import Problem

SECRET = ("password", "secret", "token", "key", "passphrase", "credential", "sas", "connection_string", "kerb_ticket")
NO_SECRET = re.compile(r"ask_.*|.*(file|path|command|algorithm|kms_key_id)")  # a path, a name or a flag
SECRET_QUERY_WORDS = ("sig", "token", "key", "secret", "pass", "credential", "auth")
ADDRESS = re.compile(r"[a-z][\w+.-]*://[^\s'\"]+", re.IGNORECASE)
# up to the last @ before the path: a password may contain one. Past a slash, where the port would not be a number
USER = re.compile(r"://(?:[^/\s]*|[^/\s:@\[]+:(?!\d+(?:[/\s]|$))\S*)@")
OPTION = re.compile(r"^\s*(\w+)\s*=\s*(\S.*)$", re.MULTILINE)


def without_credentials(text: str) -> str:
    """A text with `***` for the user information of its addresses and for the values of their query strings."""
    text = USER.sub("://***@", text)
    text = re.sub(r"(?<=[?&#;])([^\s=&?#;]+=)[^\s&#;]*", r"\1***", text)  # some errors show only `/path?sig=...`
    return re.sub(r"(://[^\s?]*\?)[^\s=&#;]+(?=[\s&#;]|$)", r"\1***", text)


def is_secret(option: str) -> bool:
    """Whether an option of a DVC remote holds a secret."""
    return any(word in option for word in SECRET) and not NO_SECRET.fullmatch(option)


def secrets_in(address: str) -> list[str]:
    """The secrets of an address: its password, or a user as long as a token, and the secret values of its query."""
    _, _, rest = address.partition("://")
    authority, _, query = rest.partition("?")
    user, _, password = authority.split("/")[0].rpartition("@")[0].partition(":")
    found = [password or (user if len(user) >= 20 else "")]
    pairs = (part.partition("=") for part in re.split(r"[&;#]", query))
    found += [value for name, _, value in pairs if any(word in name.lower() for word in SECRET_QUERY_WORDS)]
    return [secret for secret in found if secret]


def credential_problems() -> list[Problem]:
    """A Problem for each credential in an address or an option of .dvc files, dvc.yaml and .dvc/config."""
    from commands.builds.git import git

    names = git(
        "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.dvc", "dvc.yaml", ".dvc/config"
    )
    return [
        Problem(name, f"holds a credential, and git keeps this file: {shown}", "", hint)
        for name in sorted(set((names or b"").decode(errors="surrogateescape").split("\0")))
        if Path(name).is_file()
        for shown, hint in find_credentials(name, Path(name).read_text(encoding="utf-8", errors="replace"))
    ]


def find_credentials(name: str, text: str) -> Iterator[tuple[str, str]]:
    """Yields (its safe text, what to do) of each credential in a file."""
    revoke = "and revoke it: git's history keeps it"
    for address in dict.fromkeys(ADDRESS.findall(text)):
        if secrets_in(address):
            yield without_credentials(address), f"name a remote with its credentials in .dvc/config.local, {revoke}"
    if name.endswith("config"):
        for option, _ in OPTION.findall(text):
            if is_secret(option):
                yield option, f"dvc remote modify --local puts it into .dvc/config.local; remove it here, {revoke}"
