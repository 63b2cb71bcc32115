"""Nothing that a name holds is obeyed: by a terminal, a page, or a reader of XML."""

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import tifffile

from rescrnet.reporting.render import render  # noqa: F401 - imported before the children are made
from tests.attack.commands import command, forked
from tests.support.configs import SMALLEST
from tests.support.folders import labelled, noise, save, stripes

ESCAPE = "\x1b]0;owned\x07\x1b[31m\u202eTXET\u2066\x9b2J"
SHOWN = r"\x1b]0;owned\x07\x1b[31m\u202eTXET\u2066\x9b2J"
OPTIONS = [word for key, value in SMALLEST.items() for word in ("--set", f"{key}={value}")]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def hostile(text):
    """What of a text a terminal would obey."""
    return [c for c in text if ord(c) < 32 and c not in "\n\t\r"] + [c for c in text if c in "\u202e\u2066\x9b\x7f"]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """A dataset whose folder, classes and files have such names, and a model of it."""
    folder = tmp_path_factory.mktemp("n") / f"data {ESCAPE}"
    data = labelled(folder, [f"{i}{ESCAPE}" for i in range(4)], noise((40, 48)), stripes(0, 128, 255, shape=(40, 48)))
    for seed, image in enumerate((data / "images").iterdir()):
        save(image, noise((40, 48), seed=seed))
    names = [f"a{ESCAPE}", "b</script><script>", "c[/bold]\0"]
    lines = [
        f"- {{name: {name!r}, value: {v}}}".replace("'", '"') for name, v in zip(names, (0, 128, 255), strict=True)
    ]
    (data / "dataset.yaml").write_text("classes:\n" + "\n".join(lines).replace(r"\x1b", r"\e"), encoding="utf-8")
    outcome = forked(command("train", data, "--out", folder.parent / f"run {ESCAPE}", *OPTIONS), within=60)
    assert (outcome.code, outcome.fault) == (0, ""), outcome.text
    return data, folder.parent / f"run {ESCAPE}", outcome.text


def commands(data, run, out):
    image = next((data / "images").iterdir())
    return {
        "check": ("check", data),
        "check-html": ("check", data, "--html", out / "p.html"),
        "fix": ("check", data, "--fix", out / "f"),
        "train-again": ("train", data, "--out", run),
        "set": ("train", data, "--out", out / "r", "--set", f"network.{ESCAPE}=1"),
        "config": ("train", data, "--out", out / "r", "--config", out / ESCAPE),
        "info": ("info", run),
        "predict": ("predict", run, image, "--out", out / f"o{ESCAPE}", "--format", "tiff"),
        "predict-again": ("predict", run, image, "--out", data),
        "format": ("predict", run, image, "--out", out / "o", "--format", ESCAPE),
        "missing": ("predict", run, out / ESCAPE, "--out", out / "o"),
        "memory": ("predict", run, image, "--out", out / "o", "--memory", ESCAPE),
        "keras": ("import-keras", out / ESCAPE, "--out", out / "m"),
        "evaluate": ("evaluate", run, data, "--out", out / "e"),
        "report": ("report", run),
        "unknown": (ESCAPE,),
    }


@pytest.mark.parametrize("name", [
    "check", "check-html", "fix", "train-again", "set", "config", "info", "predict", "predict-again", "format", "missing",  # noqa: E501
    "memory", "keras", "evaluate", "report", "unknown"])  # fmt: skip
def test_a_terminal_is_shown_names_and_obeys_none(named, tmp_path, name):
    data, run, trained = named
    outcome = forked(command(*commands(data, run, tmp_path)[name]), within=60)
    assert not outcome.fault, outcome.text
    assert hostile(outcome.text) == []
    assert hostile(trained) == []


def test_what_is_shown_says_what_is_there(named):
    _, run, _ = named
    assert SHOWN in forked(command("info", run)).text


def test_a_page_turns_no_text_around(named, tmp_path):
    data, run, _ = named
    for arguments, page in (
        (("report", run), run / "report.html"),
        (("check", data, "--html", tmp_path / "p.html"), tmp_path / "p.html"),
    ):
        assert not forked(command(*arguments), within=60).fault
        text = page.read_text(encoding="utf-8")
        assert hostile(text) == []
        assert r"\u202eTXET" in text
        assert "</script><script>" not in text


def test_the_names_of_classes_are_valid_xml(named, tmp_path):
    data, run, _ = named
    image = next((data / "images").iterdir())
    assert not forked(
        command("predict", run, image, "--out", tmp_path / "o", "--format", "tiff", "--probabilities")
    ).fault
    for path in (tmp_path / "o").glob("*.ome.tif"):
        with tifffile.TiffFile(path) as file:
            names = ElementTree.fromstring(file.ome_metadata)
        assert any(r"\x1b" in (element.text or "") + str(element.attrib) for element in names.iter())


@pytest.mark.parametrize("arguments", [("check", "DATA"), ("--version",), ("info", "RUN"), ("--help",)])
def test_an_output_that_is_full_is_one_line(named, arguments):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("there is no /dev/full here")
    call = [str({"DATA": named[0], "RUN": named[1]}.get(word, word)) for word in arguments]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "rescrnet", *call], stdout=full, stderr=subprocess.PIPE, check=False
        )
    said = done.stderr.decode()
    assert "Exception ignored" not in said
    assert "Traceback" not in said
    assert done.returncode == 1
    assert said.splitlines()[-1].startswith("rescrnet: ")


def test_a_reader_that_has_enough_is_no_error(named):
    script = f"'{sys.executable}' -m rescrnet --help | head -1"
    said = subprocess.run(["sh", "-c", script], capture_output=True, check=False).stderr.decode()
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_a_server_that_never_answers_is_given_up(tmp_path):
    pytest.importorskip("distributed")
    import socket

    from rescrnet.errors import UsageError
    from rescrnet.inference.cluster import cluster

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(UsageError, match=r"no scheduler answers there \(nothing in 1 s\)"):
            cluster(address=f"tcp://127.0.0.1:{server.getsockname()[1]}", patience=1).__enter__()


def test_a_scheduler_over_tls_is_reached(tmp_path):
    pytest.importorskip("distributed")
    import dask

    tls = pytest.importorskip("distributed.security")
    pytest.importorskip("cryptography")
    from distributed import LocalCluster

    from rescrnet.inference.cluster import cluster

    security = tls.Security.temporary()
    with LocalCluster(n_workers=0, security=security, processes=False, dashboard_address=":0") as scheduler:
        settings = {f"distributed.comm.tls.{key}": str(path) for key, path in written(security, tmp_path).items()}
        with dask.config.set(settings), cluster(address=scheduler.scheduler_address) as running:
            assert running.client.status == "running"


def written(security, folder):
    """The certificate of temporary security as files, by the keys that Dask has for them."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_text(security.tls_ca_file)
    key.write_text(security.tls_client_key)
    return {"ca-file": certificate, "client.cert": certificate, "client.key": key}
