from __future__ import annotations

import pytest

from moue.errors import OutputError
from moue.files import check_folder, whole_file


def test_a_file_takes_its_name_at_the_end(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with whole_file(target) as part:
        part.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (OSError(28, "No space left on device"), OutputError),
        (ValueError(), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failure_leaves_nothing(tmp_path, raised, seen):
    with pytest.raises(seen), whole_file(tmp_path / "a"):
        raise raised
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_files(tmp_path):
    check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="no folder"):
        check_folder(tmp_path / "none")
