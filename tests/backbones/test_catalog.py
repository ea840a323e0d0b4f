"""The table of backbones, with torchvision's own numbers as the witness."""

import pytest
import torch
import torchvision

from detkit.backbones import catalog
from detkit.backbones.classifiers import OWN


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "googlenet", "resnet50", "densenet121", "mobilenet_v2"])
def test_parameters_multiply_adds_and_accuracy_are_torchvision_s(name):
    (family,) = [family for family, names in catalog.FAMILIES.items() if name in names]
    entry = catalog._entry(family, name)
    published = next(iter(torchvision.models.get_model_weights(name))).meta
    assert entry.parameters == published["num_params"]
    assert entry.multiply_adds / 1e9 == pytest.approx(published["_ops"], rel=0.01)
    assert entry.top1 == published["_metrics"]["ImageNet-1K"]["acc@1"]


def test_the_page_has_a_row_per_backbone_and_a_plot(tmp_path):
    (tmp_path / "images").mkdir()
    entries = [catalog._entry("ZFNet", "zfnet"), catalog._entry("MobileNet", "mobilenetv1_100")]
    catalog.write_page(entries, tmp_path / "page.md")
    rows = [line for line in (tmp_path / "page.md").read_text().splitlines() if line.startswith("| ") and "`" in line]
    expected = (
        "| ZFNet | `zfnet` | detkit | 224 | 62.4 | 1.17 | 3 | 4 8 16 | 96 256 256 | 61.6 | Zeiler & Fergus 2013 |"
    )
    assert rows[0] == expected
    assert len(rows) == 2
    assert (tmp_path / "images" / "backbones.png").stat().st_size > 5000


def test_every_backbone_of_the_families_is_there_and_has_an_accuracy():
    names = [name for of_family in catalog.FAMILIES.values() for name in of_family]
    assert set(OWN) <= set(names)
    assert len(names) == len(set(names)) == 39
    for name in names:
        top1, by = catalog._PUBLISHED.get(name) or catalog._top1_of_torchvision(name)
        assert 55 < top1 < 82
        assert by
    assert set(catalog._PUBLISHED) <= set(names)


def test_darknet19_is_a_classifier():
    from detkit.backbones import classifier

    logits = classifier("darknet19", 4).eval()(torch.rand(2, 3, 64, 96))
    assert logits.shape == (2, 4)
