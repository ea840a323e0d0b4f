"""The certificate of an exported file: whether it answers as its checkpoint does, and where they part."""

from detkit.trust.certificate.certificate import Certificate
from detkit.trust.certificate.examination import Examination
from detkit.trust.certificate.findings import Finding

__all__ = ["Certificate", "Examination", "Finding"]
