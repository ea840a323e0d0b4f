"""The certificate of an exported file: whether it answers as its checkpoint does, and where they part."""

from detkit.trust.certificate.certificate import Certificate
from detkit.trust.certificate.certificate_findings import Finding
from detkit.trust.certificate.examined_file import Examination

__all__ = ["Certificate", "Examination", "Finding"]
