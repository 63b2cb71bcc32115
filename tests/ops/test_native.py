"""Compiled kernels follow from everything that goes into them."""

import ctypes

import pytest

from rescrnet.ops import native

pytestmark = pytest.mark.skipif(native.kernels("pixels") is None, reason="no compiler")


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Compiles a source of its own, with a header beside it, and gives what its function writes."""
    monkeypatch.setattr(native, "SOURCES", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(header, *macros):
        (tmp_path / "tiny.h").write_text(header)
        (tmp_path / "tiny.c").write_text('#include "tiny.h"\nvoid answer(long *to) { *to = ANSWER; }\n')
        native.kernels.cache_clear()
        library, found = native.kernels("tiny", *macros), ctypes.c_long()
        if library is None:
            return None
        library.answer(ctypes.byref(found))
        return found.value

    yield run
    native.kernels.cache_clear()


def test_a_changed_header_or_macro_gives_another_library(answer, tmp_path):
    assert answer("#define ANSWER 1") == 1
    assert answer("#define ANSWER 2") == 2
    assert answer("#ifdef THREE\n#define ANSWER 3\n#else\n#define ANSWER 4\n#endif", "THREE") == 3
    assert answer("#ifdef THREE\n#define ANSWER 3\n#else\n#define ANSWER 4\n#endif") == 4
    assert len(list((tmp_path / "cache" / "rescrnet").iterdir())) == 4


def test_a_library_is_compiled_once(answer, tmp_path):
    assert answer("#define ANSWER 1") == 1
    (library,) = (tmp_path / "cache" / "rescrnet").iterdir()
    compiled = library.stat().st_mtime_ns
    assert answer("#define ANSWER 1") == 1
    assert library.stat().st_mtime_ns == compiled


def test_what_cannot_be_compiled_is_none(answer, tmp_path):
    assert answer("no C") is None
    assert list((tmp_path / "cache" / "rescrnet").iterdir()) == []


def test_none_are_made_where_they_are_switched_off(answer, monkeypatch):
    monkeypatch.setenv("RESCRNET_NATIVE", "0")
    assert answer("#define ANSWER 1") is None
