"""Every augmentation and mixing moves a map as it moves the mask of each of its values: nearest, nothing outside."""

from dataclasses import replace

import albumentations
import cv2
import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from detkit.data import Augmentation, CopyPaste, Expand, GridElastic, MinIoUCrop, Mosaic, ScaledCrop
from detkit.data.transforms.grid_elastic import grid_displacements
from detkit.data.transforms.mixing import mix
from detkit.errors import InputError
from detkit.structures import Target

AUGMENTATIONS = {
    "flips": Augmentation(0.5, 0.5),
    "crop": Augmentation(crop=1.0, crop_size=(0.3, 0.9)),
    "zoom": Augmentation(zoom=(0.4, 2.5), brightness=0.3),
    "scaled crop": ScaledCrop((40, 56), max_class_share=1.0, vertical_flip=0.5),
    "large scaled crop": ScaledCrop((120, 90), (0.5, 1.2), max_class_share=1.0),
    "grid elastic": Augmentation(transforms=[GridElastic(6, p=1)]),
    "elastic": Augmentation(transforms=[albumentations.ElasticTransform(alpha=30, sigma=5, p=1)]),
    "rotated": Augmentation(transforms=[albumentations.Affine(rotate=(-45, 45), shear=(-5, 5), p=1)]),
    "symmetries": Augmentation(transforms=[albumentations.D4(p=1)]),
    "ssd": Augmentation(transforms=[Expand(p=1), MinIoUCrop()], min_visibility=0),
}
MIXINGS = {
    "mosaic": Mosaic(),
    "mosaic of another size": Mosaic(size=(50, 70)),
    "copy-paste": CopyPaste(1.0, 0.7),
    "both": (Mosaic(), CopyPaste(1.0)),
}
VALUES = [0, 1, 5, 200]


def _sample(seed: int) -> tuple[np.ndarray, Target]:
    """Boxes and masks of two objects, and maps of blocks, some not annotated."""
    random = np.random.default_rng([7, seed])
    size = (48, 64)
    labels = random.choice([*VALUES, 255], (12, 16)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    instances = random.integers(0, 3, (12, 16)).repeat(4, 0).repeat(4, 1)
    panoptic = np.where(labels == 255, -1, labels.astype(int) * 65536 + instances)
    boxes = torch.tensor([[4.0, 4, 30, 30], [28, 10, 60, 44]])
    masks = torch.zeros(2, *size, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    target = Target(
        boxes,
        torch.tensor([0, 1]),
        masks=masks,
        label_map=torch.from_numpy(labels),
        panoptic_map=torch.from_numpy(panoptic.astype(np.int32)),
        pixel_weights=torch.from_numpy(np.where(labels == 255, 0, labels + 0.5).astype(np.float32)),
        image_id=seed,
    )
    return random.integers(0, 255, (*size, 3), dtype=np.uint8), target


def _marked(sample, value: int):
    """The sample with a map of 1 where the label is `value`, 0 where it is another."""
    image, target = sample
    labels = target.label_map
    return image, replace(target, label_map=torch.where(labels == 255, 255, (labels == value).to(torch.uint8)))


def _check(run, seed: int) -> Target:
    """`run(change)` gives the target of an augmented sample, of which `change` has changed the label map."""
    target = run(lambda sample: sample)
    moved = target.label_map
    for value in VALUES:
        mask = run(lambda sample, value=value: _marked(sample, value)).label_map
        assert torch.equal(moved == value, mask == 1), (seed, value)
        assert torch.equal(moved == 255, mask == 255), (seed, value)
    panoptic = target.panoptic_map
    assert panoptic.dtype == torch.int32
    assert torch.equal(torch.where(panoptic < 0, 255, panoptic // 65536).to(torch.uint8), moved)
    assert torch.equal(target.pixel_weights, torch.where(moved == 255, 0, moved + 0.5))
    return target


SEEDS = [0, 1, None]


def _seed(seed: int | None) -> int:
    return int(np.random.default_rng().integers(2**31)) if seed is None else seed


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation(name, seed):
    seed = _seed(seed)

    def run(change):
        image, target = change(_sample(seed))
        image, target = AUGMENTATIONS[name](image, target, np.random.default_rng(seed))
        assert image.shape[:2] == target.label_map.shape
        return target

    _check(run, seed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MIXINGS)
def test_mixing(name, seed):
    seed = _seed(seed)
    stages = MIXINGS[name] if isinstance(MIXINGS[name], tuple) else (MIXINGS[name],)

    def run(change):
        return mix(stages, 0, lambda index: change(_sample(seed + index)), 5, np.random.default_rng(seed))[1]

    target = _check(run, seed)
    whole = torch.cat([_sample(seed + index)[1].panoptic_map.flatten() for index in range(5)])
    assert (target.panoptic_map % 65536 * (target.panoptic_map >= 0)).max() <= 16  # two of each of eight images
    assert set((target.panoptic_map[target.panoptic_map >= 0] // 65536).tolist()) <= set(
        (whole[whole >= 0] // 65536).tolist()
    )


@pytest.mark.parametrize(
    "transform",
    [
        albumentations.Morphological(p=1),
        albumentations.Affine(rotate=(20, 30), mask_interpolation=cv2.INTER_LINEAR, p=1),
        albumentations.Rotate(fill_mask=255, p=1),
        albumentations.Perspective(fill_mask=(255,), p=1),
        albumentations.Resize(20, 30, area_for_downscale="image_mask", p=1),
    ],
    ids=lambda one: type(one).__name__,
)
def test_transforms_that_compute_with_classes_are_refused(transform):
    augmentation = Augmentation(0, transforms=[albumentations.OneOf([transform], p=1)])
    image, target = _sample(0)
    augmentation(image, Target(target.boxes, target.labels, masks=target.masks), np.random.default_rng(0))
    with pytest.raises(InputError, match=f"{type(transform).__name__} would give pixels of maps a class"):
        augmentation(image, target, np.random.default_rng(0))


class TestMirroredBorders:
    """Albumentations gives the points of a mirror image the number of the object, and the last one is far outside."""

    augmentation = Augmentation(
        0, transforms=[albumentations.Rotate((20, 30), border_mode=cv2.BORDER_REFLECT_101, p=1)]
    )

    def test_they_are_refused_where_there_are_objects(self):
        image, target = _sample(0)
        with pytest.raises(InputError, match="border of image 0 with the image, and so repeat its objects: set border"):
            self.augmentation(image, target, np.random.default_rng(0))

    def test_maps_alone_are_mirrored_like_the_image(self):
        _, target = _sample(0)
        labels = target.label_map
        image = np.where(labels == 255, 0, labels + 1).astype(np.uint8)[..., None].repeat(3, 2)
        image, target = self.augmentation(image, Target(label_map=labels), np.random.default_rng(0))
        assert image[0, 0].all()
        assert (target.label_map == torch.from_numpy(image[..., 0]) - 1).float().mean() > 0.6


class TestScaledCrop:
    def test_size_and_scale(self):
        random = np.random.default_rng(3)
        ramp = np.arange(200, dtype=np.uint8)[None].repeat(160, 0)
        image = ramp[..., None].repeat(3, 2)
        steps = []
        for _ in range(200):
            crop = ScaledCrop((60, 80), (0.5, 2.0), horizontal_flip=0)
            result, _ = crop(image, Target(image_id=1), random)
            assert result.shape == (60, 80, 3)
            steps.append((float(result[30, 60, 0]) - float(result[30, 20, 0])) / 40)
        assert min(steps) == pytest.approx(0.5, abs=0.05)
        assert max(steps) == pytest.approx(2, abs=0.1)
        assert np.median(steps) == pytest.approx(1, abs=0.2)

    def test_what_is_outside_has_the_mean_color_and_no_class(self):
        image, label_map = np.zeros((10, 10, 3), np.uint8), torch.zeros(10, 10, dtype=torch.uint8)
        crop = ScaledCrop((30, 40), (1, 1), max_class_share=1)
        image, target = crop(image, Target(label_map=label_map), np.random.default_rng(1))
        inside = (target.label_map == 0).numpy()
        assert inside.sum() == 100
        assert (target.label_map[torch.from_numpy(~inside)] == 255).all()
        assert (image[inside] == 0).all()
        assert (image[~inside] == np.array([124, 116, 104])).all()

    def test_crops_of_one_class_are_rejected(self):
        label_map = torch.zeros(100, 400, dtype=torch.uint8)
        label_map[:, 300:] = 1
        label_map[:20] = 255
        image = np.zeros((100, 400, 3), np.uint8)
        shares = {}
        for limit in (0.75, 1.0):
            crop, random = ScaledCrop((100, 120), (1, 1), limit), np.random.default_rng(2)
            maps = [crop(image, Target(label_map=label_map), random)[1].label_map for _ in range(150)]
            counts = np.array([np.bincount(one[one != 255], minlength=2) for one in maps])
            shares[limit] = (counts.max(axis=1) / counts.sum(axis=1) <= 0.75).mean()
        assert shares[1.0] < 0.5
        assert shares[0.75] > 0.8

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"size": (0, 5)}, "a size of at least 1 x 1"),
            ({"scale": (2.0, 1.0)}, "0.05 <= low <= high"),
            ({"max_class_share": 0.0}, "0 < max_class_share"),
        ],
    )
    def test_values_out_of_range(self, options, match):
        with pytest.raises(InputError, match=match):
            ScaledCrop(**options)


class TestGridElastic:
    def test_cubic_convolution_reproduces_quadratic_functions(self):
        """Between points away from the repeated ones, as Keys has shown; SciPy's spline agrees with the points."""
        points = np.arange(7.0) ** 2
        line = grid_displacements(points[None, None].repeat(7, 1), 7, 601)[0, 3]
        places = np.linspace(0, 6, 601)
        inner = (places >= 1) & (places <= 5)
        np.testing.assert_allclose(line[inner], places[inner] ** 2, atol=1e-12)
        np.testing.assert_allclose(line[::100], CubicSpline(np.arange(7), points)(np.arange(7)), atol=1e-12)

    def test_the_displacements_have_sigma_at_the_points(self):
        random = np.random.default_rng(5)
        transform = GridElastic(10.0, p=1)
        transform.set_random_state(random, __import__("random").Random(1))
        moved = []
        for _ in range(300):
            maps = transform.get_params_dependent_on_data({"shape": (50, 70, 3)}, {})
            x, y = maps["map_x"] - np.arange(70), maps["map_y"] - np.arange(50)[:, None]
            moved += [x[0, 0], y[0, 0], x[-1, -1], y[49, 69]]
        assert np.std(moved) == pytest.approx(10, rel=0.1)
        assert abs(np.mean(moved)) < 1

    def test_image_and_map_move_alike(self):
        labels = np.random.default_rng(2).integers(0, 4, (8, 8)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
        image = (labels * 60)[..., None].repeat(3, 2)
        augmentation = Augmentation(0, transforms=[GridElastic(8, p=1)])
        image, target = augmentation(image, Target(label_map=torch.from_numpy(labels)), np.random.default_rng(3))
        moved = target.label_map.numpy()
        inside = moved != 255
        assert 0.7 < inside.mean() < 1
        same = np.abs(image[..., 0].astype(int) - moved.astype(int) * 60) <= 30
        assert same[inside].mean() > 0.97

    def test_values_out_of_range(self):
        with pytest.raises(InputError, match="sigma at least 0 and grid at least 2"):
            GridElastic(sigma=-1)
