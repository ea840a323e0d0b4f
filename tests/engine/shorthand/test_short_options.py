"""Short options stand for full ones; contradictions and sizes of images get one sentence."""

from pathlib import Path

import pytest

from detkit.engine.cli import main
from detkit.engine.shorthand.short_options import SHORT_OPTIONS, short_help, with_full_options
from detkit.errors import InputError

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        ("train", "--epochs 3", "--trainer.max_epochs=3"),
        ("train", "--epochs=3 --batch 8", "--trainer.max_epochs=3 --data.batch_size=8"),
        ("train", "--batch_size 8 --workers 2", "--data.batch_size=8 --data.num_workers=2"),
        ("train", "--lr 1e-3 --seed 1", "--optimizer.init_args.lr=1e-3 --seed 1"),
        ("train", "--data my/folder --overwrite", "--data.root=my/folder --overwrite"),
        ("train", "--data {root:my}", "--data {root:my}"),
        ("train", "--device cpu", "--trainer.accelerator=cpu"),
        ("train", "--device cuda", "--trainer.accelerator=gpu --trainer.devices=1"),
        ("train", "--device cuda:1", "--trainer.accelerator=gpu --trainer.devices=[1]"),
        ("train", "--device 0,1", "--trainer.accelerator=gpu --trainer.devices=[0,1]"),
        ("train", "--model FCOS --epochs 3 --epochs 4", "--model FCOS --trainer.max_epochs=3 --trainer.max_epochs=4"),
        ("predict", "--model a.ckpt --source b.png --conf 0.3", "--checkpoint=a.ckpt b.png --score_threshold=0.3"),
        ("predict", "--weights a.ckpt c.png --batch 2", "--checkpoint=a.ckpt c.png --batch_size=2"),
        ("predict", "--device 0", "--device=cuda:0"),
        ("predict", "--device cuda:1", "--device cuda:1"),
        ("eval", "--weights=a --data b --batch 2", "--checkpoint=a --data.root=b --data.batch_size=2"),
        ("train", "--epochs", "--epochs"),
        ("train", "--name=--epochs", "--name=--epochs"),
        ("train", "--epochs 3 --trainer.max_epochs 3", "--trainer.max_epochs=3 --trainer.max_epochs 3"),
    ],
)
def test_short_options(command, typed, meant):
    assert with_full_options(command, typed.split()) == meant.split()


def test_a_yolo_file_is_a_root_and_a_file_of_settings_is_not(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [a, b]\ntrain: images/train\n")
    (tmp_path / "settings.yaml").write_text("batch_size: 2\n")
    yolo, settings = str(tmp_path / "data.yaml"), str(tmp_path / "settings.yaml")
    assert with_full_options("train", ["--data", yolo]) == [f"--data.root={yolo}"]
    assert with_full_options("train", ["--data", settings]) == ["--data", settings]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("--epochs 3 --trainer.max_epochs 5", "--epochs 3 and --trainer.max_epochs 5 both set trainer.max_epochs"),
        ("--optimizer.lr=0.1 --lr 0.2", "--optimizer.lr 0.1 and --lr 0.2 both set optimizer.lr: leave one of them out"),
        ("--batch 2 --batch_size 4", "--batch 2 and --batch_size 4 both set data.batch_size"),
        ("--device tpu", "--device tpu: give auto, cpu, cuda, cuda:N"),
    ],
)
def test_contradictions_are_refused(typed, sentence):
    with pytest.raises(InputError, match=sentence):
        with_full_options("train", typed.split())


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("ssd300_voc07", "Square takes --model.preprocess.size 640;"),
        ("yolo_v3_spp_coco", "Letterbox takes --model.preprocess.size '[640, 640]';"),
        ("yolo_v3_coco", "Letterbox takes --model.preprocess Letterbox --model.preprocess.size '[640, 640]';"),
        (
            "resnet50_imagenet",
            "CenterCrop takes --model.preprocess CenterCrop --model.preprocess.size '[640, 640]' --m",
        ),
        (
            "faster_rcnn_resnet50_fpn_coco",
            "ShortestEdge takes --model.preprocess.min_size 640 --model.preprocess.max_size 1066;",  # 640 * 1333 / 800
        ),
    ],
)
@pytest.mark.parametrize("option", ["--imgsz", "--img"])
def test_a_size_of_images_gets_the_options_of_the_recipe(recipe, options, option):
    with pytest.raises(InputError) as caught:
        with_full_options("train", ["--config", str(CONFIGS / f"{recipe}.yaml"), option, "640"])
    assert f"{option} 640: this recipe's {options}" in str(caught.value)


def test_a_size_of_images_elsewhere():
    with pytest.raises(InputError, match="--imgsz: leave it out, the size of the images is the checkpoint's own"):
        with_full_options("predict", ["--imgsz", "640"])
    with pytest.raises(InputError, match=r"--imgsz 640: set the size in model\.preprocess"):
        with_full_options("train", ["--imgsz=640"])
    with pytest.raises(InputError, match="--conf is for predict"):
        with_full_options("eval", ["--conf", "0.3"])


def test_help_names_each_with_what_it_stands_for():
    for command, options in SHORT_OPTIONS.items():
        shown = short_help(command)
        for one in options:
            if one.stands_for not in one.names:
                assert f"{one.names[0]} {one.example}" in shown
                assert one.stands_for in shown


def test_they_reach_the_parser(capsys):
    with pytest.raises(SystemExit):
        main(["train", "ssd_shapes", "--epochs=7", "--batch", "3", "--lr=0.5", "--device", "cpu", "--print_config"])
    shown = capsys.readouterr().out
    for line in ("max_epochs: 7", "batch_size: 3", "lr: 0.5", "accelerator: cpu"):
        assert f" {line}\n" in shown


def test_wrong_values_are_named_by_the_full_option(detkit_command):
    status, said = detkit_command("train", "ssd_shapes", "--epochs", "many")
    assert status == 2
    assert "command line: trainer.max_epochs must be" in said
    assert "not many" in said
