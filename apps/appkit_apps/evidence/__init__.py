"""Shows how good each bundle is: report, pictures, certificate, label audit, and two bundles side by side."""

from appkit_apps.evidence.page import build

__all__ = ["build"]
