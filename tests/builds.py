"""Builds that tests work on: a whole one, which is put back after each test."""

import shutil


def stamps(folder):
    """{path: stamp} of all below a folder: another where anything of a file has changed since."""
    return {path.relative_to(folder): stamp(path) for path in folder.rglob("*")}


def stamp(path):
    stat = path.lstat()
    if is_folder(path):
        return (stat.st_mode,)  # what is in it has stamps of its own
    # the time of the inode can be set by nobody: a test may give a file back its size and its own time
    return stat.st_mode, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def put_back(original, folder, before):
    """Make a copy of `original` what it was when it had these stamps."""
    changed = [path for path, _ in stamps(folder).items() - before.items()]
    for path in sorted(changed, reverse=True):  # what is in a folder first
        shutil.rmtree(folder / path) if is_folder(folder / path) else (folder / path).unlink()
    for path in sorted(before.keys() - stamps(folder).keys()):
        if is_folder(original / path):
            (folder / path).mkdir()
        else:
            shutil.copy2(original / path, folder / path, follow_symlinks=False)


def is_folder(path):
    return path.is_dir() and not path.is_symlink()
