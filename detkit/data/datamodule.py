"""The `data:` section of a config: data sets, augmentation and batching as a Lightning data module."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
from torch.utils.data import Dataset

from detkit.data.formats.coco_annotations import OnBad
from detkit.data.image_dataset import ImageDataset, check_same_categories
from detkit.data.loading import Loader, TrainingDataset, WithProposals
from detkit.data.old_flags import takes_old_flags
from detkit.data.packed.image_class import ImageClass
from detkit.data.packed.repeat_factors import repeat_factors
from detkit.data.samplers import EvaluationSampler, TrainingBatchSampler
from detkit.data.shapes import ShapesOptions, draw_shapes, folder_name
from detkit.data.sources import DataSource, SourceDataset, check_names, checked_lacks, loader_with_sources
from detkit.data.splits import Split, Splits
from detkit.data.transforms.augmentation import Augmentation
from detkit.data.transforms.eval_transform import EvalTransform, TransformedImages
from detkit.data.transforms.mixing import Mixing, check_mixing
from detkit.errors import InputError
from detkit.files.annotation_formats import Format
from detkit.proposals import Proposals
from detkit.structures import Category, Target

SHAPES_FOLDER = Path("runs/data")


class DataModule(lightning.LightningDataModule):
    """Training and evaluation batches of an annotated folder, or of the synthetic `Shapes`.

    A batch is ``(images, targets)``: a list of uint8 RGB ``(3, H, W)`` of any size and a list of `Target`. Give the
    trainer ``use_distributed_sampler=False``: the samplers here split over ranks.

    Args:
        root: a folder in COCO, VOC, YOLO, LabelMe or CVAT format (or YOLO's ``data.yaml``), with label maps, or with
            one subfolder per class, as ImageNet's; see ``docs/data.md``. null: generate `shapes` under ``runs/data``.
        format: the format of `root`, such as coco or yolo, or one of maps, such as cityscapes; null: detected.
        shapes: the data set that is generated if `root` is null.
        train_images: images folder of the training split, if it is not the one under `root`.
        train_annotations: annotation file of the training split, if it is not the one under `root`.
        val_images: images folder of the validation split.
        val_annotations: annotation file of the validation split.
        test_images: images folder of the test split.
        test_annotations: annotation file of the test split.
        train_split: name of the training split in `root`, such as VOC's ``trainval``.
        val_split: name of the validation split in `root`.
        class_names: for VOC, LabelMe, CVAT and maps, the classes in the order of their labels; null: from the folder.
        image_class: how an image with objects gets a class: ``only`` if all its objects have the same one, ``largest``
            for that of the largest object; null: it gets none.
        eval_split: the split that is evaluated, during training and after.
        batch_size: images per process and training step.
        eval_batch_size: images per process and evaluation step; null: `batch_size`.
        num_workers: worker processes per loader; 0 loads in the main process.
        mixing: transforms that combine several training images, applied in order before `augmentation`.
        mixing_epochs: number of epochs with `mixing`, counted from the first; null: all.
        augmentation: augmentation of training images; null: none.
        aspect_ratio_grouping: put portrait and landscape images in separate batches, to save padding.
        reads: annotation fields to read in addition to those that the model needs, such as masks, keypoints, label_map,
            panoptic_map and camera. Boxes, labels, areas, crowd regions and difficulty are always read.
        on_bad_image: "error" stops at an unreadable image; "skip" decodes every file once at the start and leaves
            unreadable images out of training and evaluation, with a warning each.
        on_bad_box: "error" stops at boxes without area or outside their image; "skip" leaves them out with a warning.
        seed: seed of order and augmentation.
        sources: additional images. A learner gets a batch of each source at each step.
        eval_transform: a function that changes the pixels of evaluated images, such as a corruption. It takes the
            image, uint8 RGB ``(H, W, 3)``, and a generator that depends on `seed` and the image's index. It must not
            move objects.
        dataset: a data set class, instead of paths: an `ImageDataset`, called with the split and any given `root`.
        proposals: computes regions in each augmented image, for a model that needs them; null: none.
        val_fraction: the share of the training images that is held out for validation where `root` has no validation
            split; file names decide which. null: none.
        lacks: fields that the data does not have, such as panoptic_map: its images teach nothing about them.
        repeat_threshold: images with a class that fewer than this share of the images hold are drawn more often, see
            ``docs/data.md``; null: each image once an epoch.
        excluded_images: file names, as in the annotations, of images that are left out of all splits.

    Attributes:
        skip_batches: the number of batches that the next `train_dataloader` skips in its first epoch, for a run that is
            resumed within an epoch.

    Raises:
        InputError: a value is out of range; later, a split or file is missing or wrong.
    """

    @takes_old_flags(22)
    def __init__(
        self,
        root: Path | None = None,
        format: Format | None = None,
        shapes: ShapesOptions = ShapesOptions(),  # noqa: B008 (frozen)
        train_images: Path | None = None,
        train_annotations: Path | None = None,
        val_images: Path | None = None,
        val_annotations: Path | None = None,
        test_images: Path | None = None,
        test_annotations: Path | None = None,
        train_split: str = "train",
        val_split: str = "val",
        class_names: list[str] | None = None,
        image_class: ImageClass | None = None,
        eval_split: Literal["val", "test"] = "val",
        batch_size: int = 2,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        mixing: list[Mixing] | None = None,
        mixing_epochs: int | None = None,
        augmentation: Augmentation | None = Augmentation(),  # noqa: B008 (holds no state between calls)
        aspect_ratio_grouping: bool = True,
        reads: list[str] | None = None,
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
        seed: int = 0,
        sources: Sequence[DataSource] | None = None,
        eval_transform: EvalTransform | None = None,
        dataset: Callable[[str], ImageDataset] | None = None,
        proposals: Proposals | None = None,
        val_fraction: float | None = None,
        repeat_threshold: float | None = None,
        lacks: list[str] | None = None,
        excluded_images: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.eval_batch_size = batch_size if eval_batch_size is None else eval_batch_size
        sizes = {"batch_size": (batch_size, 1), "eval_batch_size": (self.eval_batch_size, 1)}
        for name, (value, least) in (sizes | {"num_workers": (num_workers, 0)}).items():
            if value < least:
                raise InputError(f"data.{name} must be at least {least}, got {value}")
        for name, share in {"val_fraction": val_fraction, "repeat_threshold": repeat_threshold}.items():
            if share is not None and not 0 < share < 1:
                raise InputError(f"data.{name} must be between 0 and 1, got {share}")
        self.root = None if root is None else Path(root)
        self.format = format
        self.split_names: dict[Split, str] = {"train": train_split, "val": val_split, "test": "test"}
        self.class_names = class_names
        self.image_class = image_class
        self.shapes = shapes
        self.given_paths: dict[Split, tuple[Path | None, Path | None]] = {
            "train": (train_images, train_annotations),
            "val": (val_images, val_annotations),
            "test": (test_images, test_annotations),
        }
        self.eval_split = eval_split
        self.batch_size, self.num_workers = batch_size, num_workers
        self.mixing, self.mixing_epochs = mixing or [], mixing_epochs
        self.augmentation, self.aspect_ratio_grouping = augmentation, aspect_ratio_grouping
        self.reads = frozenset(reads or ()).union(*(stage.reads for stage in self.mixing))
        self.on_bad_image, self.on_bad_box = on_bad_image, on_bad_box
        self.seed = seed
        self.sources = list(sources or [])
        check_names(self.sources)
        self.eval_transform = eval_transform
        self.skip_batches = 0
        self.make_dataset, self.proposals = dataset, proposals
        self.val_fraction, self.repeat_threshold = val_fraction, repeat_threshold
        self.lacks, self.excluded_images = checked_lacks(lacks), excluded_images or []
        self._datasets: dict[Split, ImageDataset] = {}
        self._sources: list[tuple[DataSource, SourceDataset]] = []

    @property
    def splits(self) -> Splits:
        """Where the data is and how to open it."""
        names, paths, held_out = self.split_names, self.given_paths, self.val_fraction
        return Splits(self.make_dataset, self.root, self.format, names, paths, self.class_names, self._drawn, held_out)

    def _drawn(self) -> Path:
        return draw_shapes(SHAPES_FOLDER / folder_name(self.shapes), self.shapes)

    @property
    def categories(self) -> list[Category]:
        """The classes of the training split, sorted by id; the position is the label.

        From a COCO file only they are read, unless the split is open already.
        """
        if "train" not in self._datasets:
            categories = self.splits.categories()
            if categories:
                return categories
        return self.train_dataset.categories

    @property
    def num_classes(self) -> int:
        """The number of classes of the training split."""
        return len(self.categories)

    @property
    def train_dataset(self) -> ImageDataset:
        """The training split, without augmentation."""
        return self.dataset("train")

    @property
    def eval_dataset(self) -> ImageDataset:
        """The evaluated split: what `val_dataloader` iterates over."""
        return self.dataset(self.eval_split)

    def dataset(self, split: Split) -> ImageDataset:
        """A split; it is read at the first call.

        Raises:
            InputError: the split is missing or wrong.
        """
        if split not in self._datasets:
            dataset = self.splits.open(split, self._reading()).reading(self._fields_of_files)
            dataset = dataset.without_images(self.excluded_images)
            self._datasets[split] = dataset.with_image_labels(self.image_class) if self.image_class else dataset
        return self._datasets[split]

    def read_for(self, learned: Collection[str], required: Collection[str] = ()) -> None:
        """Add the fields that a model needs to `reads`; splits that are open already are opened again.

        Args:
            learned: the fields that the model learns from.
            required: the fields that it needs at inference too.

        Raises:
            InputError: targets have no such field, or mixed images cannot have it.
        """
        needed = frozenset(learned) | frozenset(required)
        if needed - self.reads:
            self.reads |= needed
            self._datasets.clear()
            self._sources.clear()
        check_mixing(self.mixing, needed | self.reads, Target.kinds())

    @property
    def _fields_of_files(self) -> frozenset[str]:
        return self.reads - self.lacks - ({"proposals"} if self.proposals is not None else set())

    def prepare_data(self) -> None:
        """Draw the `Shapes`, if they are the data. Lightning calls it on one process of each machine."""
        if self.splits.draws:
            self.splits.drawn()

    def setup(self, stage: str) -> None:
        """Read and check the splits of a stage: "fit", "validate", "test" or "predict".

        Raises:
            InputError: a split is missing or wrong, or training and validation have different classes.
        """
        if stage == "fit":
            check_same_categories(self.train_dataset, self.eval_dataset)
            check_mixing(self.mixing, self.reads, self.train_dataset.target_class.kinds())
            self.opened_sources()
        elif stage != "predict":
            self.dataset(self.eval_split)

    def train_dataloader(self) -> Loader:
        """Augmented batches in random order; order and augmentation depend on `seed` and the epoch alone."""
        dataset = TrainingDataset(self.train_dataset, self.augmentation, self.seed, self.mixing, self.mixing_epochs)
        sampler = TrainingBatchSampler(
            self.train_dataset.image_sizes,
            self.batch_size,
            self.seed,
            self.aspect_ratio_grouping,
            self.skip_batches,
            one_epoch=self._overfits,
            repeat_factors=repeat_factors(self.train_dataset, self.repeat_threshold),
        )
        if self.sources:
            sources = self.opened_sources()
            return loader_with_sources(dataset, sampler, sources, self.num_workers, self.proposals)
        return Loader(self._proposed(dataset), self.num_workers, batch_sampler=sampler)

    def val_dataloader(self) -> Loader:
        """The evaluated split with `eval_transform`, every image once over all processes."""
        return self.loader_of(self.eval_dataset)

    def loader_of(self, images: ImageDataset) -> Loader:
        """Images as `val_dataloader` gives those of the evaluated split, such as a part of these."""
        dataset = images if self.eval_transform is None else TransformedImages(images, self.eval_transform, self.seed)
        sampler = EvaluationSampler(len(dataset))
        return Loader(self._proposed(dataset), self.num_workers, batch_size=self.eval_batch_size, sampler=sampler)

    @property
    def _overfits(self) -> bool:
        """Whether Lightning's ``overfit_batches`` asks for the same batches in each epoch."""
        return getattr(self.trainer, "overfit_batches", 0) > 0  # which Lightning's class does not declare

    def _proposed(self, dataset: Dataset) -> Dataset:
        return dataset if self.proposals is None else WithProposals(dataset, self.proposals)

    def opened_sources(self) -> list[tuple[DataSource, SourceDataset]]:
        """The additional sources with their images, read at the first call.

        Raises:
            InputError: one is missing or wrong.
        """
        if not self._sources:
            names = [category.name for category in self.categories] if self.sources else []
            reading = self._reading() | {"reads": self._fields_of_files | self.lacks & self.reads}
            self._sources = [(source, source.open(names, self.image_class, reading)) for source in self.sources]
        return self._sources

    def _reading(self) -> dict[str, Any]:
        """Options of `open_split`."""
        return {"reads": self._fields_of_files, "on_bad_image": self.on_bad_image, "on_bad_box": self.on_bad_box}
