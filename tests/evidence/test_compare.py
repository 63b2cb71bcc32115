"""Methods on the same folds: our own, a forest, a user's, and what may be said of them."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import rescrnet
from rescrnet.datasets.synthetic import write_dataset
from rescrnet.errors import UsageError
from rescrnet.evidence.budget import Budget
from rescrnet.evidence.compare import compare
from rescrnet.evidence.folds import read_labelled
from rescrnet.evidence.methods import METHODS, Task, find_methods, predict
from rescrnet.evidence.networks import config_of, default_config
from rescrnet.evidence.progress import ExperimentProgress
from rescrnet.reporting.compare_page import write_page
from rescrnet.scoring.image_scores import ImageScores
from rescrnet.training.start import pretrained
from tests.support.configs import SMALLEST

USERS = '''
import numpy as np

def nearest(dataset, seed, budget):
    """The class whose mean intensity is nearest."""
    classes = len(dataset.classes)
    samples = dataset.train
    means = [np.mean([s.image[s.mask == c].mean() for s in samples if (s.mask == c).any()]) for c in range(classes)]

    def predictor(image):
        likely = np.stack([-50 * (image.mean(-1) - mean) ** 2 for mean in means])
        raised = np.exp(likely - likely.max(0))
        return raised / raised.sum(0)

    return predictor

def twin(dataset, seed, budget):
    return nearest(dataset, seed, budget)

def wrong(dataset, seed, budget):
    predictor = nearest(dataset, seed, budget)
    return lambda image: np.eye(len(dataset.classes))[(predictor(image).argmax(0) + 1) % 3].transpose(2, 0, 1)

def broken(dataset, seed, budget):
    return 1 / 0

def misshapen(dataset, seed, budget):
    return lambda image: image
'''
QUIET = ExperimentProgress()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "em"
    write_dataset("em", folder, train=6, val=2, size=(64, 80))
    return folder


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    file = tmp_path_factory.mktemp("methods") / "mine.py"
    file.write_text(USERS, encoding="utf-8")
    return file


def small():
    return rescrnet.configure("laptop", overrides=SMALLEST)


@pytest.fixture(scope="module")
def found(data, users, tmp_path_factory):
    methods = [f"{users}:nearest", f"{users}:twin", f"{users}:wrong", "res-cr-net"]
    out = tmp_path_factory.mktemp("out") / "compared"
    return compare(data, out, methods, small(), folds=4, seeds=1, updates=2, progress=QUIET)


def test_a_method_and_its_twin_are_equivalent_and_the_wrong_classes_are_worse(found):
    verdicts = {name: one["verdict"] for name, one in found.stats["differences"].items()}
    assert verdicts["twin"] == "equivalent"
    assert verdicts["wrong"] == "worse"


def test_the_ledger_has_every_training_in_turns(found):
    rows = list(csv.DictReader((found.out / "ledger.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["method"] for row in rows[:5]] == ["nearest", "twin", "wrong", "res-cr-net", "nearest"]
    assert len(rows) == 16
    ours = [row for row in rows if row["method"] == "res-cr-net"]
    assert all(row["updates"] == "2" and int(row["parameters"]) > 100 for row in ours)
    assert all(float(row["cpu_seconds"]) > 0 for row in ours)


def test_the_page_says_the_verdicts(found):
    page = write_page(found).read_text(encoding="utf-8")
    assert "<strong>equivalent</strong>" in page
    assert "nearest and twin are equivalent" not in page  # the reference is named last
    assert "twin and nearest are equivalent within 0.01" in page


def test_numbers_that_are_not_there_are_null(found):
    stats = json.loads((found.out / "stats.json").read_text(encoding="utf-8"))
    assert stats["methods"]["twin"]["scores"]["mean_iou"]["between_seeds"] is None


def test_another_source_of_a_users_method_is_another_plan(data, users, found, tmp_path):
    changed = tmp_path / "mine.py"
    changed.write_text(USERS + "\n# changed\n", encoding="utf-8")
    methods = [f"{changed}:nearest", f"{changed}:twin", f"{changed}:wrong", "res-cr-net"]
    with pytest.raises(UsageError, match="another plan: its methods are others"):
        compare(data, found.out, methods, small(), folds=4, seeds=1, updates=2, progress=QUIET, resume=True)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["res-cr-net", "magic"], "--methods magic: is unknown; expected res-cr-net"),
        (["prior", "prior"], "--methods prior: is given twice"),
        (["prior"], "--methods: names one method"),
        (["prior", "none.py:fit"], r"none\.py cannot be read"),
        (["prior", "FILE:missing"], "has no function 'missing'"),
        (["prior", "FILE:broken"], r"method 'broken': failed \(ZeroDivisionError: division by zero\)"),
        (
            ["prior", "FILE:misshapen"],
            r"method 'misshapen': predicted \(64, 80, 1\); expected probabilities \(3, 64, 80\)",
        ),
    ],
)
def test_methods_that_cannot_be_used(data, users, tmp_path, methods, message):
    methods = [method.replace("FILE", str(users)) for method in methods]
    with pytest.raises(UsageError, match=message):
        compare(data, tmp_path / "out", methods, small(), seconds=5, progress=QUIET)


def test_a_method_whose_library_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"method 'forest': needs sklearn, .*; pip install 'rescrnet\[compare\]'"):
        find_methods(["forest"])


def test_updates_that_are_no_whole_epochs(data, tmp_path):
    config = rescrnet.configure("laptop", overrides={**SMALLEST, "training.steps_per_epoch": 4})
    with pytest.raises(UsageError, match="--updates 6: an epoch has 4; expected a multiple of 4"):
        compare(data, tmp_path / "out", ["res-cr-net", "prior"], config, updates=6, progress=QUIET)


def scored(name, data, budget, stems=None, config=None):
    images = read_labelled(data)
    train, test = images.samples[:-2], images.samples[-2:]
    task = Task(images.part(s.stem for s in train), 0, budget, config or small(), data.parent / f"work-{name}")
    fitted = METHODS[name].fit(task)
    scores = [
        ImageScores.of(predict(METHODS[name], fitted, s.image, len(task.dataset.classes)), s.mask).image["mean_iou"]
        for s in test
    ]
    return float(np.mean(scores)), fitted


def test_a_forest_learns_and_its_strips_are_seamless(data, monkeypatch):
    pytest.importorskip("sklearn")
    from rescrnet.evidence import forest

    monkeypatch.setattr(forest, "TREES", 10)
    monkeypatch.setattr(forest, "_PIXELS", 6000)
    learnt, fitted = scored("forest", data, Budget())
    assert learnt > scored("prior", data, Budget())[0] + 0.2
    image = read_labelled(data).samples[-1].image
    whole = fitted.predict(image)
    monkeypatch.setattr(forest, "_STRIP", 10 * image.shape[1])
    np.testing.assert_allclose(fitted.predict(image), whole, atol=1e-6)


def test_shuffled_labels_score_near_the_class_prior(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    shuffled = tmp_path / "shuffled"
    write_dataset("em", shuffled, train=6, val=2, size=(64, 80))
    for file in shuffled.glob("*/masks/msk/*.png"):
        with Image.open(file) as opened:
            mask = np.array(opened)
        pixels = mask.reshape(-1, *mask.shape[2:])
        Image.fromarray(pixels[rng.permutation(len(pixels))].reshape(mask.shape)).save(file)
    from rescrnet.evidence import forest

    monkeypatch.setattr(forest, "TREES", 10)
    monkeypatch.setattr(forest, "_PIXELS", 6000)
    learnt, _ = scored("forest", shuffled, Budget())
    assert abs(learnt - scored("prior", shuffled, Budget())[0]) < 0.08


def test_dynunet_trains_and_predicts_any_size(data):
    pytest.importorskip("monai")
    _, fitted = scored("dynunet", data, Budget(updates=1))
    probabilities = fitted.predict(read_labelled(data).samples[0].image[:37, :51])
    assert probabilities.shape == (3, 37, 51)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    assert fitted.updates == 1


@pytest.mark.parametrize("name", ["fcn", "deeplab"])
def test_networks_of_torchvision_train_and_predict_any_size(data, name):
    pytest.importorskip("monai")
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision is not there, or does not fit this PyTorch: {error}")
    _, fitted = scored(name, data, Budget(updates=1))
    probabilities = fitted.predict(read_labelled(data).samples[0].image[:37, :51])
    assert probabilities.shape == (3, 37, 51)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    assert 4_000_000 < fitted.parameters < 12_000_000


@pytest.mark.parametrize(
    "error", [RuntimeError("operator torchvision::nms does not exist"), ImportError("no such file")]
)
def test_a_torchvision_that_does_not_fit_the_pytorch_is_one_line(monkeypatch, error):
    from rescrnet.evidence import torchvision_networks

    def broken(name):
        raise error

    monkeypatch.setattr(torchvision_networks, "import_module", broken)
    with pytest.raises(
        UsageError, match=r"method 'fcn': torchvision does not fit this PyTorch .*; install both"
    ) as found:
        torchvision_networks.build("fcn", 1, 2, 64)
    assert "\n" not in str(found.value)


def test_a_method_whose_library_is_missing_names_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"'deeplab': needs torchvision.*rescrnet\[deeplab\]"):
        find_methods(["deeplab"])


@pytest.mark.parametrize(("cpu", "said"), [(7.0, "got 23.3% of a processor"), (29.0, None)])
def test_the_page_says_when_the_machine_was_busy(data, users, tmp_path, cpu, said):
    from dataclasses import replace

    found = compare(data, tmp_path / "out", ["prior", f"{users}:nearest"], folds=2, seeds=1, seconds=1, progress=QUIET)
    methods = {
        name: {**one, "cost": {**one["cost"], "seconds": 30.0, "cpu_seconds": cpu}}
        for name, one in found.stats["methods"].items()
    }
    page = write_page(replace(found, stats={**found.stats, "methods": methods})).read_text(encoding="utf-8")
    assert ("busy with other work" in page) == bool(said)
    assert said is None or said in " ".join(page.split())


def noisy():
    """An image with an edge, and probabilities that know it roughly: YXC, (2, Y, X), and the truth."""
    rng = np.random.default_rng(0)
    truth = np.zeros((60, 80), int)
    truth[:, 40:] = 1
    image = (truth + rng.normal(0, 0.05, truth.shape)).astype(np.float32)[..., None]
    sure = np.clip(0.25 + 0.5 * np.roll(truth, 4, axis=1) + rng.normal(0, 0.15, truth.shape), 0.02, 0.98)
    return image, np.stack([1 - sure, sure]).astype(np.float32), truth


def test_a_random_field_moves_outlines_to_edges_of_the_image():
    pytest.importorskip("pydensecrf")
    from rescrnet.evidence.crf import refine

    image, probabilities, truth = noisy()
    refined = refine(image, probabilities)
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    assert (probabilities.argmax(0) == truth).mean() < 0.95
    assert (refined.argmax(0) == truth).mean() > 0.99


def test_any_method_may_have_a_random_field_behind_it(data, monkeypatch, tmp_path):
    from rescrnet.evidence import crf

    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    monkeypatch.setattr(crf, "refine", lambda image, probabilities: probabilities[::-1])
    found = find_methods(["prior", "prior+crf"])
    assert list(found) == ["prior", "prior+crf"]
    assert found["prior+crf"].identity != found["prior"].identity
    labelled = read_labelled(data)
    tasks = [Task(labelled.dataset, 0, Budget(), rescrnet.configure(), tmp_path) for _ in found]
    plain, refined = (
        method.fit(task).predict(labelled.samples[0].image) for method, task in zip(found.values(), tasks, strict=True)
    )
    np.testing.assert_array_equal(refined, plain[::-1])


def test_a_random_field_that_is_missing_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pydensecrf" else True)
    with pytest.raises(UsageError, match=r"'forest\+crf': needs pydensecrf.*rescrnet\[crf\]"):
        find_methods(["forest+crf"])
    with pytest.raises(UsageError, match=r"--methods x\+crf: is unknown"):
        find_methods(["x+crf"])


@pytest.mark.parametrize(("network", "start"), [("res-cr-net", "micrographs"), ("dense", "none"), ("unet", "none")])
def test_only_the_network_that_was_asked_for_has_a_head_start(network, start):
    config = config_of(default_config(), network, seed=1, budget=Budget(seconds=60))
    assert config.training.start == start
    assert (pretrained(config) is None) == (start == "none")
