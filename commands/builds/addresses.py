"""Addresses without what opens them: no user information, no values of their query strings; and where git keeps one with it.

without_credentials("403 for https://ada:pw@example.org/x?sig=5f0e")      # 403 for https://***@example.org/x?sig=***
in_git()                                                                  # a Problem for each file that carries one
"""

import re
from collections.abc import Iterator
from pathlib import Path

from validators.problems import Problem

SECRET = ("password", "secret", "token", "key", "passphrase", "credential", "sas", "connection_string", "kerb_ticket")
NO_SECRET = re.compile(r"ask_.*|.*(file|path|command|algorithm|kms_key_id)")  # a place, a name, or yes and no
SECRET_QUERY_WORDS = ("sig", "token", "key", "secret", "pass", "credential", "auth")
ADDRESS = re.compile(r"[a-z][\w+.-]*://[^\s'\"]+", re.IGNORECASE)
# up to the last @ before the path, as a password may hold one; past a slash where what should be the port is no number
USER = re.compile(r"://(?:[^/\s]*|[^/\s:@\[]+:(?!\d+(?:[/\s]|$))\S*)@")
OPTION = re.compile(r"^\s*(\w+)\s*=\s*(\S.*)$", re.MULTILINE)


def without_credentials(text: str) -> str:
    """A text with the user information of its addresses, and all that their query strings say, as `***`."""
    text = USER.sub("://***@", text)
    text = re.sub(r"(?<=[?&#;])([^\s=&?#;]+=)[^\s&#;]*", r"\1***", text)  # some errors tell `/path?sig=...` alone
    return re.sub(r"(://[^\s?]*\?)[^\s=&#;]+(?=[\s&#;]|$)", r"\1***", text)


def is_secret(option: str) -> bool:
    """Whether an option of a DVC remote holds a secret."""
    return any(word in option for word in SECRET) and not NO_SECRET.fullmatch(option)


def secrets_in(address: str) -> list[str]:
    """The password, or the user that is as long as a token, and the values of the query that open something."""
    _, _, rest = address.partition("://")
    authority, _, query = rest.partition("?")
    user, _, password = authority.split("/")[0].rpartition("@")[0].partition(":")
    found = [password or (user if len(user) >= 20 else "")]
    pairs = (part.partition("=") for part in re.split(r"[&;#]", query))
    found += [value for name, _, value in pairs if any(word in name.lower() for word in SECRET_QUERY_WORDS)]
    return [secret for secret in found if secret]


def credential_problems() -> list[Problem]:
    """A Problem for each .dvc file, dvc.yaml and .dvc/config in which an address or an option is a credential."""
    from commands.builds.git import git

    kept = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.dvc", "dvc.yaml", ".dvc/config")
    return [
        Problem(name, f"holds a credential, which is in git with it: {shown}", "", hint)
        for name in sorted(set((kept or b"").decode(errors="surrogateescape").split("\0")))
        if Path(name).is_file()
        for shown, hint in find_credentials(name, Path(name).read_text(encoding="utf-8", errors="replace"))
    ]


def find_credentials(name: str, text: str) -> Iterator[tuple[str, str]]:
    """(what to show of it, what to do) of each credential in a file."""
    change = "and make it void, as git's history keeps it"
    for address in dict.fromkeys(ADDRESS.findall(text)):
        if secrets_in(address):
            yield without_credentials(address), f"name a remote, whose credentials are in .dvc/config.local; {change}"
    if name.endswith("config"):
        for option, _ in OPTION.findall(text):
            if is_secret(option):
                yield option, f"dvc remote modify --local puts it into .dvc/config.local; take it out here, {change}"
