import os
import shutil

from builds import restore, stamps


def texts(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_text() for path in folder.rglob("*")}


def test_what_a_test_changes_is_put_back_and_nothing_else_is_written(tmp_path):
    original, copy = tmp_path / "original", tmp_path / "copy"
    for name in ("same", "edited", "flipped", "gone", "folder/gone", "folder/link", "turned/file"):
        (original / name).parent.mkdir(parents=True, exist_ok=True)
        (original / name).write_text(name)
    shutil.copytree(original, copy)
    before, times = stamps(copy), (copy / "flipped").stat().st_mtime_ns
    (copy / "edited").write_text("longer than it was")
    (copy / "flipped").write_text("flopped")
    os.utime(copy / "flipped", ns=(times, times))
    (copy / "gone").unlink()
    shutil.rmtree(copy / "folder")
    (copy / "folder").symlink_to(original)
    shutil.rmtree(copy / "turned")
    (copy / "turned").write_text("a file")
    (copy / "new/folder").mkdir(parents=True)
    (copy / "new/folder/file").write_text("new")
    restore(original, copy, before)
    assert texts(copy) == texts(original) and not (copy / "folder").is_symlink()
    assert texts(original)["flipped"] == "flipped"
    same = (copy / "same").relative_to(copy)
    assert stamps(copy)[same] == before[same]
