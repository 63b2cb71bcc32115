"""Several members and several views of an image predict as one model, whole and streamed alike."""

import numpy as np
import pytest

from rescrnet.ensemble import IDENTITY, Ensemble, View, load, tempered, views_for
from rescrnet.errors import ModelError, UsageError
from rescrnet.inference.array import predict_array
from rescrnet.inference.plane import fits_whole, model_fingerprint, predict_plane
from rescrnet.inference.resources import Resources, Sequential
from rescrnet.inference.stream import Tiling
from tests.support.pictures import Canvas, Picture, model_of, picture

SMALL = Tiling(tile=(32, 16), rows=5, strip=8, segment=16, block=8)
EVERY = views_for(model_of().card)


def other(seed=1, **settings):
    """A model like :func:`model_of`, with weights and scaling of its own."""
    model = model_of(**settings)
    rng = np.random.default_rng(seed)
    for parameter in model.network.parameters():
        parameter.data.mul_(float(rng.uniform(0.5, 1.5)))
    scaling = model.card.intensity.model_copy(update={"offset": (0.4,) * model.card.in_channels})
    model.card = model.card.model_copy(update={"intensity": scaling})
    return model


ENSEMBLES = {
    "two members": ([model_of(), other()], [IDENTITY], 1.0),
    "flips and quarter turns": ([model_of()], EVERY, 1.0),
    "both, softened": ([model_of(space_to_depth=2, image_statistics=0.5), other(m=0)], EVERY[-3:], 1.7),
}


@pytest.mark.parametrize("arguments", ENSEMBLES.values(), ids=ENSEMBLES)
@pytest.mark.parametrize("shape", [(37, 18), (1, 19)])
def test_streamed_prediction_of_an_ensemble_equals_the_whole_one(arguments, shape):
    model, image = Ensemble(*arguments), picture(*shape)
    mask, probabilities, done = Canvas(*shape), Canvas(*shape, 3), []
    resources = Resources(tiling=SMALL)
    predict_plane(model, Picture(image), mask, probabilities, resources=resources, advance=done.append)
    expected = model.predict(image)
    np.testing.assert_allclose(np.moveaxis(probabilities.array, -1, 0), expected, atol=1e-5)
    np.testing.assert_array_equal(mask.array, expected.argmax(0))
    assert sum(done) == pytest.approx(shape[0] * shape[1])
    assert expected.std() > 0.004


def test_members_are_averaged():
    one, two, image = model_of(), other(), picture(20, 30)
    expected = (one.predict(image) + two.predict(image)) / 2
    np.testing.assert_allclose(Ensemble([one, two]).predict(image), expected, atol=1e-6)


def test_the_prediction_of_a_turned_image_is_the_turned_prediction():
    model, image = Ensemble([model_of()], EVERY), picture(20, 30)
    turned = np.rot90(image)
    np.testing.assert_allclose(model.predict(turned), np.rot90(model.predict(image), axes=(1, 2)), atol=1e-5)
    alone = model_of()
    assert np.abs(alone.predict(turned) - np.rot90(alone.predict(image), axes=(1, 2))).max() > 0.01


@pytest.mark.parametrize("view", EVERY)
def test_a_view_is_undone(view):
    array = np.arange(30).reshape(1, 5, 6)
    seen = view.apply(array, 1)
    assert seen.shape[1:] == view.shape((5, 6))
    np.testing.assert_array_equal(view.undo(seen, 1), array)


def test_there_are_eight_views_and_the_last_is_the_image_itself():
    array = np.arange(9).reshape(3, 3)
    assert len({view.apply(array).tobytes() for view in EVERY}) == 8
    assert EVERY[-1] == IDENTITY == View()


def test_quarter_turns_are_left_out_where_they_would_distort():
    card = model_of().card
    assert len(views_for(card.model_copy(update={"pixel_size": (0.5, 0.1)}))) == 4
    assert len(views_for(card.model_copy(update={"resize": (32, 16)}))) == 4
    assert len(views_for(card.model_copy(update={"resize": (32, 32), "pixel_size": (0.5, 0.5)}))) == 8


def test_a_temperature_keeps_the_order_of_the_classes():
    probabilities = np.random.default_rng(0).dirichlet([0.3] * 4, (50, 60)).astype(np.float32).transpose(2, 0, 1)
    for temperature in (0.3, 0.9, 1.1, 4.0):
        warmer = tempered(probabilities, temperature)
        np.testing.assert_array_equal(warmer.argmax(0), probabilities.argmax(0))
        np.testing.assert_allclose(warmer.sum(0), 1, atol=1e-5)
    assert tempered(probabilities, 4.0).max(0).mean() < probabilities.max(0).mean() < warmer.max(0).mean() + 1


class StoppedError(Exception):
    pass


def test_an_interrupted_prediction_goes_on_and_adds_nothing_twice(tmp_path):
    model, image = Ensemble([model_of(), other(), other(2)], [View(flip_x=True), IDENTITY]), picture(45, 31)
    whole = model.predict(image)

    class Stopping(Sequential):
        left = 0

        def run(self, stream, tasks):
            for task in super().run(stream, tasks):
                self.left -= 1
                if self.left < 0:
                    raise StoppedError
                yield task

    probabilities, mask, executor, stops = Canvas(45, 31, 3), Canvas(45, 31), Stopping(), 0
    while True:
        executor.left = 23
        try:
            resources = Resources(tiling=SMALL, scratch=tmp_path / "scratch", executor=executor)
            predict_plane(model, Picture(image), mask, probabilities, resources=resources)
            break
        except StoppedError:
            stops += 1
    assert stops > 5
    np.testing.assert_allclose(np.moveaxis(probabilities.array, -1, 0), whole, atol=1e-5)
    assert not (tmp_path / "scratch").exists()


def test_an_ensemble_that_does_not_fit_with_its_sum_is_done_part_by_part():
    one, shape = model_of(), (2000, 2000)
    both = Ensemble([one, other()])
    resources = next(
        Resources(memory=memory, program=0)
        for memory in range(10**8, 10**10, 10**7)
        if fits_whole(one, shape, Resources(memory=memory, program=0), "image")
    )
    assert not fits_whole(both, shape, resources, "image")
    assert fits_whole(both, shape, Resources(memory=10**11, program=0), "image")


def test_an_ensemble_predicts_stacks():
    both, image = (
        Ensemble([model_of(), other()]),
        np.stack([picture(20, 30, seed=seed)[..., 0] for seed in (0, 1)]),
    )
    masks = predict_array(both, image, axes="zyx", resources=Resources(tiling=SMALL))
    np.testing.assert_array_equal(masks, [both.predict(plane).argmax(0) for plane in image])


def test_members_that_see_the_whole_image_at_once_work_too():
    pytest.importorskip("monai")
    model, image = Ensemble([model_of(architecture="unet"), model_of()], EVERY), picture(40, 50)
    mask = predict_array(model, image)
    np.testing.assert_array_equal(mask, model.predict(image).argmax(0))
    with pytest.raises(UsageError, match="sees the whole image at once"):
        predict_array(model, image, resources=Resources(memory=10**5, program=0))


def test_what_decides_a_result_is_in_the_fingerprint():
    one, two = model_of(), other()
    ensembles = [
        Ensemble([one]),
        Ensemble([one, two]),
        Ensemble([two, one]),
        Ensemble([one, two], EVERY),
        Ensemble([one, two], temperature=1.5),
    ]
    assert len({model_fingerprint(model) for model in [one, *ensembles]}) == 6


def saved(path, **changes):
    model = changes.pop("model", None) or model_of(**{k: v for k, v in changes.items() if k in ("channels", "classes")})
    card = {key: value for key, value in changes.items() if key not in ("channels", "classes")}
    model.card = model.card.model_copy(update=card)
    path.mkdir(parents=True)
    model.save(path / "best.safetensors")
    return model


def test_a_folder_of_run_folders_is_one_model(tmp_path):
    one, two = saved(tmp_path / "a"), saved(tmp_path / "b", model=other())
    saved(tmp_path / ".c.partial")
    model, image = load(tmp_path), picture(20, 30)
    np.testing.assert_allclose(model.predict(image), (one.predict(image) + two.predict(image)) / 2, atol=1e-6)


def test_flips_are_asked_for_when_a_model_is_loaded(tmp_path):
    one = saved(tmp_path / "run")
    image = picture(20, 30)
    model = load(tmp_path / "run", test_time_augmentation=True)
    np.testing.assert_array_equal(model.predict(image), Ensemble([one], EVERY).predict(image))
    assert load(tmp_path / "run").predict(image).tolist() == one.predict(image).tolist()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"channels": 3}, "channels"),
        ({"classes": 2}, "classes"),
        ({"pixel_size": (0.5, 0.5)}, "a pixel size of"),
        ({"resize": (32, 32)}, "resized"),
        ({"axes": "CYX"}, "axes"),
    ],
)
def test_members_that_do_not_agree_are_refused_in_one_line_that_names_both(tmp_path, change, named):
    saved(tmp_path / "seed-0")
    saved(tmp_path / "seed-1", **change)
    with pytest.raises(ModelError, match=rf"seed-1.*{named}.*seed-0.*members of one model agree") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_members_of_other_scalings_in_kind_are_refused(tmp_path):
    saved(tmp_path / "seed-0")
    saved(tmp_path / "seed-1", intensity=model_of().card.intensity.model_copy(update={"method": "percentile"}))
    with pytest.raises(ModelError, match="intensity scaling"):
        load(tmp_path)


def test_pixel_sizes_that_are_nearly_the_same_are_no_reason_to_refuse(tmp_path):
    saved(tmp_path / "seed-0", pixel_size=(0.5, 0.5))
    saved(tmp_path / "seed-1", pixel_size=(0.51, 0.5))
    assert len(load(tmp_path).members) == 2


def test_an_ensemble_is_not_saved_as_one_file(tmp_path):
    with pytest.raises(ModelError, match="2 members"):
        Ensemble([model_of(), other()]).save(tmp_path / "model.safetensors")
