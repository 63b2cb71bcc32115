"""Which compiled kernels are used, how they are made, and that what is damaged is not loaded."""

import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rescrnet.errors import UsageError
from rescrnet.ops import native

if not native.SOURCES.is_dir():
    pytest.skip("no source checkout", allow_module_level=True)
compiling = native._compiling()
TINY = '__attribute__((visibility("default"))) int processor_has(const char *variant) { return ANSWER; }\n'
CODE = compiling.Code("avx2", "native", "native", ("tiny",))


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.delenv(native.SETTING, raising=False)  # these tests ask for variants themselves
    yield
    for cached in (native._choice, native._library):
        cached.cache_clear()


@pytest.fixture
def checkout(monkeypatch, tmp_path):
    """A source checkout with one small file, whose function gives what a header says."""
    sources = tmp_path / "c"
    sources.mkdir()
    (sources / "pool.c").write_text("")
    (sources / "processor.c").write_text('#include "tiny.h"\n' + TINY)
    (sources / "tiny.c").write_text('#include "tiny.h"\n')
    machine = compiling.this_machine().machine
    monkeypatch.setattr(compiling, "SOURCES", sources)
    monkeypatch.setattr(native, "_is_checkout", lambda: True)
    monkeypatch.setattr(native, "_compiling", lambda: compiling)
    monkeypatch.setattr(native, "INSTALLED", tmp_path / "compiled")
    monkeypatch.setitem(compiling.CODES, machine, (CODE,))

    def answer(header=None):
        if header is not None:
            (sources / "tiny.h").write_text(header)
        native._library.cache_clear()
        library, said = native._library()
        return said if library is None else library.processor_has(b"")

    try:
        compiling.compiler()
    except compiling.CompilationError:
        pytest.skip("no compiler")
    return answer


def test_a_changed_source_or_header_is_compiled_anew_and_only_then(checkout, tmp_path):
    assert checkout("#define ANSWER 11") == 11
    (library,) = (tmp_path / "compiled").glob("kernels-*")
    made = library.stat().st_mtime_ns
    assert checkout() == 11
    assert library.stat().st_mtime_ns == made
    assert checkout("#define ANSWER 12") == 12
    assert len(list((tmp_path / "compiled").glob("kernels-*"))) == 1


@pytest.mark.parametrize("damage", ["cut", "emptied", "text", "index", "removed", "foreign index"])
def test_a_damaged_library_is_made_anew(checkout, tmp_path, damage):
    assert checkout("#define ANSWER 13") == 13
    (library,) = (tmp_path / "compiled").glob("kernels-*")
    index = tmp_path / "compiled" / compiling.INDEX
    # Written under a new name: the old content is loaded in this process.
    content = library.read_bytes()
    changed = {"cut": content[:4096], "emptied": b"", "text": b"no library"}.get(damage)
    if changed is not None:
        library.unlink()
        library.write_bytes(changed)
    elif damage == "removed":
        library.unlink()
    else:
        index.write_text("{" if damage == "index" else '["kernels.so"]')
    assert checkout() == 13
    assert native._installed()[0].read_bytes()[:100] == content[:100]


def test_a_wheel_whose_library_is_damaged_takes_the_plain_path_and_says_why(checkout, tmp_path, monkeypatch):
    assert checkout("#define ANSWER 14") == 14
    monkeypatch.setattr(native, "_is_checkout", lambda: False)
    assert checkout() == 14
    (library,) = (tmp_path / "compiled").glob("kernels-*")
    content = library.read_bytes()
    library.unlink()
    library.write_bytes(content[:-8])
    assert "is damaged; install rescrnet again" in checkout()
    assert not native.has_kernels()
    assert "is damaged" in native.choice().why


def test_a_foreign_library_takes_the_plain_path(tmp_path, monkeypatch):
    content = b"MZ no library of this system"
    monkeypatch.setattr(compiling, "compile_kernels", lambda target, command: content)
    for name, written in compiling.compiled_files(compiling.this_machine(), ["cc"]):
        (tmp_path / name).write_bytes(written)
    monkeypatch.setattr(native, "_is_checkout", lambda: False)
    monkeypatch.setattr(native, "INSTALLED", tmp_path)
    native._library.cache_clear()
    native._choice.cache_clear()
    assert native.choice().variant is None
    assert "no compiled kernels" in native.choice().why
    monkeypatch.setenv(native.SETTING, "avx2")
    with pytest.raises(UsageError, match="avx2 cannot be used: no compiled kernels"):
        native.choice()


def test_what_lies_beside_an_installed_package_is_not_run(tmp_path, monkeypatch):
    """Not even where the folder is called as in a checkout."""
    monkeypatch.setattr(native, "INSTALLED", tmp_path / "src" / "rescrnet" / "ops" / "compiled")
    monkeypatch.setattr(native, "SOURCES", tmp_path / "kernels")
    native.INSTALLED.mkdir(parents=True)
    native.SOURCES.mkdir()
    (native.SOURCES / "compiling.py").write_text("raise SystemExit")
    (native.INSTALLED / compiling.INDEX).write_text('{"installed": "pure"}')
    native._library.cache_clear()
    assert "this installation has none" in native._library()[1]


def test_what_cannot_be_compiled_takes_the_plain_path_and_leaves_nothing(checkout, tmp_path):
    assert "failed" in checkout("no C")
    assert list((tmp_path / "compiled").iterdir()) == []


def test_a_compiler_that_hangs_is_given_up(checkout, tmp_path, monkeypatch):
    hanging = tmp_path / "gcc"
    hanging.write_text("#!/bin/sh\nsleep 1000 &\nwait\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(compiling, "SECONDS", 1)
    assert "took more than 1 s" in checkout("#define ANSWER 15")


def test_a_checkout_that_cannot_be_written_takes_the_plain_path(checkout, tmp_path):
    (tmp_path / "compiled").write_text("in the way")
    assert "cannot be written" in checkout("#define ANSWER 16")


def test_without_a_compiler_there_are_none(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    assert "there is no C compiler" in checkout("#define ANSWER 17")


def test_no_cache_folder_is_looked_at(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert checkout("#define ANSWER 18") == 18
    assert not (tmp_path / "cache").exists()
    (library,) = (tmp_path / "compiled").glob("kernels-*")
    assert not library.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@pytest.mark.parametrize("asked", ["avx3", "AVX2", "1", " "])
def test_an_unknown_variant_is_one_line(asked, monkeypatch):
    monkeypatch.setenv(native.SETTING, asked)
    with pytest.raises(UsageError, match=r"^RESCRNET_NATIVE: '.*' is no variant; expected 0 or one of avx2, "):
        native.choice()


def test_a_variant_of_another_processor_is_one_line(monkeypatch):
    foreign = "neon" if compiling.this_machine().machine == "x86_64" else "avx2"
    monkeypatch.setenv(native.SETTING, foreign)
    with pytest.raises(UsageError, match=f"^RESCRNET_NATIVE: {foreign} cannot be used: .*; choose among 0"):
        native.choice()


def test_zero_switches_them_off(monkeypatch):
    monkeypatch.setenv(native.SETTING, "0")
    assert not native.has_kernels()
    assert native.choice().why == "switched off by RESCRNET_NATIVE=0"


needs_kernels = pytest.mark.skipif(not native.has_kernels(), reason="no compiled kernels")


@needs_kernels
@pytest.mark.parametrize("variant", native.VARIANTS)
def test_every_variant_that_can_run_is_used_when_it_is_asked_for(variant, monkeypatch):
    if not native._runs(native._library()[0], variant):
        pytest.skip("not on this processor")
    monkeypatch.setenv(native.SETTING, variant)
    assert native.choice().variant == variant
    assert native.has_kernels()
    assert native.has_kernels(torch.bfloat16) == variant.endswith("bf16")
    assert not native.has_kernels(torch.float64)


@needs_kernels
def test_the_best_variant_is_what_the_system_says_of_the_processor(monkeypatch):
    monkeypatch.delenv(native.SETTING, raising=False)
    if sys.platform != "linux" or compiling.this_machine().machine != "x86_64":
        pytest.skip("asks /proc/cpuinfo")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next(line.split() for line in lines if line.startswith("flags"))
    expected = "avx512-bf16" if "avx512_bf16" in flags else "avx512" if "avx512vl" in flags else "avx2"
    assert native.choice().variant == expected


@needs_kernels
def test_arguments_beyond_the_bounds_are_refused_by_the_kernels_themselves():
    size = ctypes.c_ssize_t
    out, factors = torch.zeros(32), torch.zeros(16)
    pointers = [native.pointer(tensor) for tensor in (out, out, factors, factors, factors)]
    native.call("pixel_add", torch.float32, *pointers, size(2), size(16))
    for pixels, channels in ((2, 17), (0, 16), (-1, 16), (2**62, 16), (2**40, 2**40), (2, -16)):
        with pytest.raises(RuntimeError, match="beyond the bounds"):
            native.call("pixel_add", torch.float32, *pointers, size(pixels), size(channels))


@needs_kernels
def test_numbers_too_small_for_all_their_digits_count_as_zero_in_the_kernels_alone():
    # With them a forward pass took 88 times as long: an image of such values, or what lay in memory before.
    out, tiny, one, none = torch.zeros(32), torch.full((32,), 1e-39), torch.ones(16), torch.zeros(16)
    pointers = [native.pointer(tensor) for tensor in (out, tiny, one, one, none)]
    native.call("pixel_add", torch.float32, *pointers, ctypes.c_ssize_t(2), ctypes.c_ssize_t(16))
    assert out.count_nonzero() == 0
    assert (tiny * 0.5).count_nonzero() == 32


AT_THE_SAME_TIME = """
import os, threading, torch
from rescrnet.ops.separable import Affine, Separable
torch.manual_seed(0)
layer = Separable((torch.randn(5, 5, 16),), torch.randn(1, 16, 16), torch.randn(1, 16), (2,), True)
x, affine = torch.randn(1, 150, 150, 16), Affine(torch.randn(16), torch.randn(16))  # large: buffers of our own
torch.get_num_threads = lambda: 4  # ours alone: OpenMP's do not survive a fork

def gradient():
    image, _, weights = layer.backward(layer.forward(x, affine, 0.1), x, affine, 0.1)
    return torch.cat([image.flatten(), weights.depthwise[0].flatten()])

expected = gradient()
found = []
threads = [threading.Thread(target=lambda: found.extend(gradient() for _ in range(5))) for _ in range(3)]
"""


@needs_kernels
def test_several_models_at_once_and_forked_children_give_the_same():
    program = """
[t.start() for t in threads]
child = os.fork()  # while others have the pool
if child == 0:
    os._exit(0 if all(torch.equal(gradient(), expected) for _ in range(3)) else 1)
[t.join() for t in threads]
status = os.waitpid(child, 0)[1]
assert status == 0, status
assert len(found) == 15 and all(torch.equal(one, expected) for one in found)
"""
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    command = [sys.executable, "-W", "ignore", "-c", AT_THE_SAME_TIME + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@needs_kernels
def test_threads_sleep_when_there_is_nothing_to_do():
    program = """
gradient()
import time
used, started = time.process_time(), time.perf_counter()
time.sleep(1)
print(time.process_time() - used)
"""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", AT_THE_SAME_TIME + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=True)
    assert float(done.stdout) < 0.1
