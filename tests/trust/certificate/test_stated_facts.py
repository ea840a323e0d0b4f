"""What a file says of itself."""

from pathlib import Path
from types import SimpleNamespace

from detkit.backbones import TimmBackbone
from detkit.models import Classifier
from detkit.trust.certificate.stated_facts import StatedFacts


def test_a_file_of_another_tool_is_known_by_its_missing_metadata():
    file = SimpleNamespace(
        path=Path("m.onnx"), facts={"author": "me"}, inputs=["images"], outputs=["probabilities"], precision="float32"
    )
    model = Classifier(TimmBackbone("test_resnet", stages=[4]), 3)
    (finding,) = [one for one in StatedFacts(file, model).findings() if one.subject == "metadata"]
    assert finding.sentence.startswith("the file has no metadata of `detkit export`")
    assert not finding.is_fault
